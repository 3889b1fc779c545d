"""The format of what is stored, and how an older one becomes a newer one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from chatlab.errors import StoreError
from chatlab.store.snapshot import Snapshot, Tables

Migration = Callable[[Tables], Tables]
"""Turns the tables of one format into those of the next."""


@dataclass(frozen=True, slots=True)
class Migrations:
    """What this version of Chatlab reads and writes."""

    format: int = 1
    steps: Mapping[int, Migration] = field(default_factory=dict)
    """Format -> how its tables become those of the next. None yet."""

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
