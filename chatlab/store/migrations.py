"""The format of what is stored, and how an older one becomes a newer one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from chatlab.conversation import Conversation
from chatlab.errors import StoreError
from chatlab.former_names import FORMER_STATE, with_current_names
from chatlab.records import Demonstration, Preference, UnseenSet, Vote
from chatlab.store.journal import Document
from chatlab.store.snapshot import Snapshot, Tables
from chatlab.system.codec import renamed

Migration = Callable[[Tables], Tables]
"""Turns the tables of one format into those of the next. Documents are replaced, never altered."""

FORMAT = 2
"""2: fields have the names of today (see `chatlab.former_names`)."""
KINDS: Mapping[str, type[Any]] = {
    "conversations": Conversation,
    "demonstrations": Demonstration,
    "preferences": Preference,
    "votes": Vote,
    "unseen": UnseenSet,
}
"""What the tables hold."""


def rename_fields(tables: Tables) -> Tables:
    """Format 1 to 2. May be applied again, and then changes nothing."""
    changed = {
        name: {id: renamed(KINDS[name], document) for id, document in table.items()} if name in KINDS else table
        for name, table in tables.items()
    }
    if "state" in changed:
        changed["state"] = {id: _renamed_state(document) for id, document in changed["state"].items()}
    return changed


def _renamed_state(document: Document) -> Document:
    state = {FORMER_STATE.get(name, name): value for name, value in document.items()}
    if isinstance(drafts := state.get("drafts"), dict):
        state["drafts"] = {
            id: with_current_names("DraftWords", draft) if isinstance(draft, dict) else draft
            for id, draft in drafts.items()
        }
    return state


@dataclass(frozen=True, slots=True)
class Migrations:
    """What this version of Chatlab reads and writes."""

    format: int = FORMAT
    steps: Mapping[int, Migration] = field(default_factory=lambda: {1: rename_fields})
    """Format -> how its tables become those of the next."""

    def check(self, format: int) -> None:
        """Raises StoreError for a format that only a newer Chatlab knows."""
        if format > self.format:
            raise StoreError(
                f"This store was written by a newer Chatlab (format {format}; this one knows up to {self.format}).",
                "Update Chatlab. Nothing was changed.",
            )

    def migrate(self, snapshot: Snapshot, format: int) -> None:
        """Up to `format`, which is not above this version's."""
        self.check(snapshot.format)
        while snapshot.format < format:
            snapshot.tables = self.steps[snapshot.format](snapshot.tables)
            snapshot.format += 1
