"""Backups of the store, shown, made and brought back; and what was removed, until it is deleted for good."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from chatlab.adapters import Adapters
from chatlab.conversation import HOUSE
from chatlab.lab.chat import budgets
from chatlab.store import Backup, Document, Store, Tables

Table = Mapping[str, Document]


class StoreBackups:
    """A backup holds conversations, demonstrations, preferences, votes, unseen prompts and choices.

    Whoever restores one puts back their own conversations, and nobody else's. What all share is put back only by the
    house, the first of those who sign in, or whoever uses Chatlab where nobody does: it is everybody's work.

    Not in a backup: documents, adapters and runs, which are files of their own beside the store.
    """

    def __init__(self, store: Store, adapters: Adapters) -> None:
        self._store = store
        self._adapters = adapters
        self._undoing: dict[str, str] = {}
        """The backup that undoes the last restore of each person, since the app was opened."""

    def all(self) -> list[Backup]:
        """Newest first."""
        return self._store.backups.all()

    def make(self) -> Backup:
        """Raises DiskFull or StoreError."""
        return self._store.backups.make()

    def restore(self, name: str, owner: str = HOUSE) -> Backup:
        """Put back what is `owner`'s to put back, all or nothing; the backup of how it was just now, which undoes it.

        Raises NotFound, StoreCorrupt, DiskFull or StoreError.
        """
        before = self._store.backups.restore(name, partial(restored, owner))
        self._undoing[owner] = before.name
        return before

    def undo(self, owner: str = HOUSE) -> Backup:
        """Put back what the last restore of the same person replaced. Raises as `restore` does."""
        before = self._store.backups.restore(self._undoing.get(owner, ""), partial(restored, owner))
        del self._undoing[owner]
        return before

    def undoable(self, owner: str = HOUSE) -> bool:
        """Whether there is a restore of this person's to undo, and what it replaced is still kept."""
        return self._undoing.get(owner) in {backup.name for backup in self.all()}

    def trash(self) -> tuple[int, int]:
        """How many removed adapters there are, and their bytes."""
        return self._adapters.trash()

    def empty_trash(self) -> int:
        """Delete removed adapters for good; how many that was."""
        return self._adapters.empty_trash()


def restored(owner: str, now: Tables, then: Tables) -> Tables:
    """The tables after a restore: `then` for what is this person's, `now` for what is others'.

    Demonstrations that others' conversations refer to stay. So do conversations whose owner cannot be read.
    """
    others = {id: talk for id, talk in now.get("conversations", {}).items() if talk.get("owner", HOUSE) != owner}
    own = {id: talk for id, talk in then.get("conversations", {}).items() if talk.get("owner", HOUSE) == owner}
    conversations = {"conversations": {**own, **others}}
    if owner != HOUSE:
        return {**now, **conversations}
    there = now.get("demonstrations", {})
    needed = {id: there[id] for id in _kept_by(others) if id in there}
    return {
        **then,
        **conversations,
        "demonstrations": {**needed, **then.get("demonstrations", {})},
        "state": _choices(now.get("state", {}), then.get("state", {})),
    }


def _kept_by(conversations: Table) -> Iterator[str]:
    """Ids of the demonstrations that keep an answer of these. One that cannot be read refers to nothing."""
    for talk in conversations.values():
        turns = talk.get("turns")
        for turn in turns if isinstance(turns, list) else ():
            if isinstance(turn, dict) and "demonstration" in turn:
                yield str(turn["demonstration"])


def _choices(now: Table, then: Table) -> dict[str, Document]:
    """The state as it was, but for what each person chose for themselves."""
    was, others = _of_each(then), {name: own for name, own in _of_each(now).items() if name != HOUSE}
    chosen = {**others, **({HOUSE: was[HOUSE]} if HOUSE in was else {})}
    return {**then, "1": {**then.get("1", {}), budgets.KEY: chosen}} if chosen else dict(then)


def _of_each(state: Table) -> dict[str, Any]:
    known = state.get("1", {}).get(budgets.KEY)
    return known if isinstance(known, dict) else {}
