"""Backups: whole copies of the store beside it, one for each day that it was opened, and any made by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from chatlab.errors import NotFound
from chatlab.store.disk import as_chatlab_error
from chatlab.store.snapshot import Backup, Snapshot, Tables, encode_snapshot, list_backups, read_backup
from chatlab.store.storage import JournalStorage
from chatlab.system.clock import now
from chatlab.system.files import private_folder

Choice = Callable[[Tables, Tables], Tables]
"""Given the tables as they are and as they were: those that a restore leaves."""


class Backups:
    """The copies in one folder; each is a file that plain TinyDB opens."""

    def __init__(self, folder: Path, storage: JournalStorage, most: int = 10) -> None:
        """The oldest is deleted when there would be more than `most`."""
        self._folder = folder
        self._storage = storage
        self._most = most

    def all(self) -> list[Backup]:
        """Newest first."""
        return list_backups(self._folder)

    def make(self) -> Backup:
        """Copy the store as it is now. Raises DiskFull or StoreError, and then there is no new copy."""
        with self._storage.lock:
            number = max((backup.number for backup in self.all()), default=0) + 1
            data = encode_snapshot(self._storage.snapshot)
        file = self._folder / f"{number:06}-{now()[:19].replace(':', '-')}.json"
        try:
            private_folder(self._folder)
            self._storage.disk.publish(file, data)
            for old in (*(backup.name for backup in self.all()[self._most :]), *self._unfinished()):
                (self._folder / old).unlink()
        except OSError as error:
            raise as_chatlab_error(error, "make a backup") from error
        return self.all()[0]

    def make_daily(self) -> None:
        """Unless one was made today, by this clock, or there is nothing yet.

        Any of those kept counts, not the newest alone: a clock that jumps to and fro would push the others out.
        """
        if self._storage.snapshot.seq and now()[:10] not in {made.created[:10] for made in self.all()}:
            self.make()

    def restore(self, name: str, choice: Choice = lambda now, then: then) -> Backup:
        """Make the store what it was when this copy was made, or as much of it as `choice` takes.

        All or nothing; the copy of how it was just now. Ids given out since are not used again. Raises NotFound,
        StoreCorrupt, DiskFull or StoreError.
        """
        then = self._read(name).tables
        with self._storage.lock:  # what is said in between would be in neither
            before = self.make()
            self._storage.write(choice(self._storage.read(), then))
        return before

    def _unfinished(self) -> list[str]:
        """Names of files that a kill while copying left."""
        return [file.name for file in self._folder.glob(".*.json.tmp")]

    def _read(self, name: str) -> Snapshot:
        if name not in {backup.name for backup in self.all()}:
            raise NotFound(f"There is no backup {name!r}.", "Choose one from the list.")
        snapshot = read_backup(self._folder / name)
        self._storage.migrations.migrate(snapshot, self._storage.migrations.format)
        return snapshot
