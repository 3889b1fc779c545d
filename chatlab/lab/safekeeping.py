"""Backups of the store, shown, made and brought back; and what was removed, until it is deleted for good."""

from __future__ import annotations

from chatlab.adapters import Adapters
from chatlab.store import Backup, Store


class Safekeeping:
    """A backup holds conversations, demonstrations, preferences, votes, unseen prompts and choices.

    Not in it: documents, adapters and runs, which are files of their own beside the store.
    """

    def __init__(self, store: Store, adapters: Adapters) -> None:
        self._store = store
        self._adapters = adapters
        self.undoing = ""
        """The backup that undoes the last restore; empty where none was made since the app was opened."""

    def all(self) -> list[Backup]:
        """Newest first."""
        return self._store.backups.all()

    def make(self) -> Backup:
        """Raises DiskFull or StoreError."""
        return self._store.backups.make()

    def restore(self, name: str) -> Backup:
        """All or nothing; the backup of how it was just now, which undoes it.

        Raises NotFound, StoreCorrupt, DiskFull or StoreError.
        """
        before = self._store.backups.restore(name)
        self.undoing = before.name
        return before

    def undo(self) -> Backup:
        """Put back what the last restore replaced. Raises as `restore` does."""
        before = self._store.backups.restore(self.undoing)
        self.undoing = ""
        return before

    def trash(self) -> tuple[int, int]:
        """How many removed adapters there are, and their bytes."""
        return self._adapters.trash()

    def empty_trash(self) -> int:
        """Delete removed adapters for good; how many that was."""
        return self._adapters.empty_trash()
