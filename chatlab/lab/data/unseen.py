"""The unseen prompts: a person's own set, on which variants are compared and measured and nothing is ever trained."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from chatlab.errors import ChatlabError, InputError, UnseenRepeated
from chatlab.evaluation.unseen import FIRST, unseen
from chatlab.lab.data.prompts import LONGEST, MOST, check, sifted
from chatlab.quality.findings import quoted
from chatlab.quality.overlap import PromptOverlap
from chatlab.records import Demonstration, Message, UnseenSet
from chatlab.store import Store
from chatlab.system.clock import now

_THE_SET = 1
"""Its id in the store."""

Verdicts = dict[int, tuple[Demonstration, tuple[str, ...]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What became of the lines that somebody gave."""

    added: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()
    known: tuple[str, ...] = ()
    """Left out: a line before says the same."""
    aside: tuple[int, ...] = ()
    """Demonstrations that teach a new prompt and so wait now, unlearned."""


@dataclass(frozen=True, slots=True)
class _UndoStep:
    """What a change can be taken back to."""

    prompts: tuple[str, ...]
    aside: Mapping[int, tuple[Demonstration, Demonstration]] = field(default_factory=dict)
    """Demonstrations that were set aside with it: before and after."""


class Unseen:
    """Prompts in the person's order, no two the same. Whatever is changed is on the disk, and can be undone.

    A prompt and an approved demonstration never ask the same: whichever comes second is refused, unless told which of
    the two gives way.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.RLock()
        self._undo_steps: list[_UndoStep] = []
        self._repeats: tuple[tuple[str, ...], PromptOverlap] = ((), PromptOverlap(()))
        self._verdicts: Verdicts = {}

    def prompts(self) -> list[str]:
        """The set, in order; the first time the one that comes with the app, less what is taught already."""
        with self._lock:
            return list(self._prompts())

    @property
    def undoable(self) -> bool:
        return bool(self._undo_steps)

    # Changing the set.

    def add(self, lines: Sequence[str], anyway: bool = False) -> Change:
        """Each line a prompt, at the end of the set. Raises what `rewrite` raises, and InputError for nothing new."""
        with self._lock:
            before = self._prompts()
            new, known = sifted(lines, before)
            if not new:
                raise InputError(*_nothing_new(known))
            return replace(self.rewrite((*before, *new), anyway=anyway), known=known)

    def add_where_free(self, prompts: Sequence[str]) -> tuple[Change, dict[str, str]]:
        """Those that are new, short enough and taught by nothing, while there is room; and of the others, why not."""
        with self._lock:
            before = self._prompts()
            new, known = sifted(prompts, before)
            why = dict.fromkeys(known, "Another unseen prompt says the same.")
            why |= {prompt: f"It is longer than {LONGEST:,} characters." for prompt in new if len(prompt) > LONGEST}
            for i, asked in self._teaching([prompt for prompt in new if prompt not in why]).items():
                why |= dict.fromkeys(asked, f"It would not be unseen: demonstration {i} teaches it.")
            free = [prompt for prompt in new if prompt not in why]
            room = max(0, MOST - len(before))
            why |= dict.fromkeys(free[room:], f"There is room for {MOST} unseen prompts.")
            change = self.rewrite((*before, *free[:room])) if free[:room] else Change()
            return change, why

    def rewrite(self, lines: Sequence[str], before: Sequence[str] | None = None, anyway: bool = False) -> Change:
        """The whole set, a line each, in this order. `before` is the set as it was when it was read.

        Empty lines, and those that say what a line before them says, are passed over. Raises InputError where the
        set is another than `before` by now, or a line is too long, or they are too many; UnseenRepeated where an
        approved demonstration teaches a new one, unless `anyway` has those wait.
        """
        with self._lock:
            old = self._prompts()
            if before is not None and tuple(before) != old:
                raise InputError(
                    "The unseen prompts changed in another window.",
                    "Copy your text, discard the changes, and paste it again.",
                )
            new, known = sifted(lines)
            aside = self._replace_set(new, anyway)
            return Change(added=_missing(new, old), gone=_missing(old, new), known=known, aside=aside)

    def take_out(self, prompts: Iterable[str]) -> int:
        """How many of these were in the set, and no longer are."""
        with self._lock:
            gone, old = set(prompts), self._prompts()
            left = tuple(prompt for prompt in old if prompt not in gone)
            if left != old:
                self._replace_set(left)
            return len(old) - len(left)

    def undo(self) -> int:
        """Take the last change back; how many prompts the set has now.

        Raises UnseenRepeated where what would come back has been taught since.
        """
        with self._lock:
            if not self._undo_steps:
                raise InputError("There is nothing to undo.")
            step, old = self._undo_steps[-1], self._prompts()
            collection = self._store.demonstrations
            back = {i: was for i, (was, then) in step.aside.items() if i in collection and collection.get(i) == then}
            taught = self._teaching(_missing(step.prompts, old))
            if taught:
                raise _taught_already(taught, "Undo that first, or leave it as it is.")
            self._keep(step.prompts)
            collection.put_many(back)
            self._undo_steps.pop()
            return len(step.prompts)

    # Never trained on.

    def repeated(self, messages: Iterable[Message]) -> tuple[str, ...]:
        """Prompts of the set that the user asks in these messages, word for word or nearly."""
        return self._index().in_conversation(messages)

    def check(self, demonstrations: Iterable[Demonstration]) -> None:
        """Raises UnseenRepeated if one of them would be learned and asks what the set asks."""
        found = [prompt for d in demonstrations if d.status == "approved" for prompt in self.repeated(d.messages)]
        if not found:
            return
        prompts = tuple(dict.fromkeys(found))
        one = f"{quoted(prompts[0])} is one of your unseen prompts"
        said = one if len(prompts) == 1 else f"{one}, and so are {len(prompts) - 1} more"
        raise UnseenRepeated(
            f"{said}, which are never trained on.",
            "Drop it from the unseen prompts, or change your prompt.",
            prompts=prompts,
        )

    def waiting(self, demonstration: Demonstration) -> Demonstration:
        """The same, but waiting for a decision where it would teach a prompt of the set."""
        if demonstration.status != "approved" or not self.repeated(demonstration.messages):
            return demonstration
        return replace(demonstration, status="waiting", approved_by="")

    def repeating(self, rows: Iterable[tuple[int, Demonstration]]) -> list[int]:
        """Ids of those that ask what the set asks. Looked at once each, and again only after a change."""
        with self._lock:
            self._index()
            return [i for i, d in rows if self._verdict(i, d)]

    def _prompts(self) -> tuple[str, ...]:
        if _THE_SET not in self._store.unseen:
            self._begin()
        try:
            return self._store.unseen.get(_THE_SET).prompts
        except ChatlabError:  # on a full disk, or unreadable: what comes with the app will do until it is changed
            return tuple(unseen("", FIRST))

    def _begin(self) -> None:
        taught = PromptOverlap(unseen("", None))
        learned = (d for _, d in self._store.demonstrations.rows() if d.status == "approved")
        known = {prompt for d in learned for prompt in taught.in_conversation(d.messages)}
        free = tuple(prompt for prompt in unseen("", None) if prompt not in known)
        with contextlib.suppress(ChatlabError):
            self._keep(free[:FIRST])

    def _replace_set(self, prompts: tuple[str, ...], anyway: bool = False) -> tuple[int, ...]:
        """Ids of demonstrations that were set aside for it."""
        old = self._prompts()
        check(prompts)
        taught = self._teaching(_missing(prompts, old))
        if taught and not anyway:
            raise _taught_already(taught, "Add it and set them to waiting, or leave it out.")
        collection = self._store.demonstrations
        aside = {i: (collection.get(i), replace(collection.get(i), status="waiting", approved_by="")) for i in taught}
        collection.put_many({i: after for i, (_, after) in aside.items()})
        self._keep(prompts)
        self._undo_steps.append(_UndoStep(old, aside))
        return tuple(aside)

    def _keep(self, prompts: tuple[str, ...]) -> None:
        self._store.unseen.put(_THE_SET, UnseenSet(prompts=prompts, changed=now()))

    def _teaching(self, prompts: Sequence[str]) -> dict[int, tuple[str, ...]]:
        """Approved demonstrations by id, with those of the prompts that they ask."""
        wanted = PromptOverlap(prompts)
        rows = self._store.demonstrations.rows() if prompts else ()
        found = {i: wanted.in_conversation(d.messages) for i, d in rows if d.status == "approved"}
        return {i: asked for i, asked in found.items() if asked}

    def _index(self) -> PromptOverlap:
        with self._lock:
            prompts = self._prompts()
            if self._repeats[0] != prompts:
                self._repeats, self._verdicts = (prompts, PromptOverlap(prompts)), {}
            return self._repeats[1]

    def _verdict(self, id: int, demonstration: Demonstration) -> tuple[str, ...]:
        known = self._verdicts.get(id)
        if known is None or known[0] is not demonstration:
            found = self._repeats[1].in_conversation(demonstration.messages)
            known = self._verdicts[id] = (demonstration, found)
        return known[1]


def _missing(some: Sequence[str], others: Sequence[str]) -> tuple[str, ...]:
    there = set(others)
    return tuple(prompt for prompt in some if prompt not in there)


def _nothing_new(known: Sequence[str]) -> tuple[str, str]:
    if known:
        return f"{quoted(known[0])} is already an unseen prompt.", "Write a different prompt."
    return "There is nothing to add.", "Write one prompt per line."


def _taught_already(taught: Mapping[int, tuple[str, ...]], hint: str) -> UnseenRepeated:
    prompts = tuple(dict.fromkeys(prompt for asked in taught.values() for prompt in asked))
    first = next(iter(taught))
    others = f" and {len(taught) - 1} more" if len(taught) > 1 else ""
    verb = "contain" if others else "contains"
    return UnseenRepeated(
        f"{quoted(prompts[0])} is not unseen: demonstration {first}{others} {verb} it.",
        hint,
        prompts=prompts,
        demonstrations=tuple(taught),
    )
