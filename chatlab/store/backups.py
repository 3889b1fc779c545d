"""Backups: whole copies of the store beside it, one for each day that it was opened, and any made by hand."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from chatlab.clock import now
from chatlab.errors import NotFound, StoreCorrupt
from chatlab.store.disk import as_chatlab_error
from chatlab.store.image import Damaged, Image, seal, unseal
from chatlab.store.storage import JournalStorage
from chatlab.system.files import private_folder

_NAME = re.compile(r"(\d{6})-(\d{4}-\d\d-\d\d)T(\d\d)-(\d\d)-(\d\d)\.json")


@dataclass(frozen=True, slots=True, kw_only=True)
class Backup:
    """One copy. Its number, not its date, says which is newer: clocks jump."""

    name: str
    number: int
    created: str
    """ISO 8601, UTC."""
    bytes: int


class Backups:
    """The copies in one folder; each is a file that plain TinyDB opens."""

    def __init__(self, folder: Path, storage: JournalStorage, most: int = 10) -> None:
        """The oldest is deleted when there would be more than `most`."""
        self._folder = folder
        self._storage = storage
        self._most = most

    def all(self) -> list[Backup]:
        """Newest first."""
        return listed(self._folder)

    def make(self) -> Backup:
        """Copy the store as it is now. Raises DiskFull or StoreError, and then there is no new copy."""
        with self._storage.lock:
            number = max((backup.number for backup in self.all()), default=0) + 1
            data = seal(self._storage.image)
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
        """Unless one was made today, by this clock, or there is nothing yet."""
        made = self.all()
        if self._storage.image.seq and not (made and made[0].created[:10] == now()[:10]):
            self.make()

    def restore(self, name: str) -> Backup:
        """Make the store what it was when this copy was made; the copy of how it was just now.

        All or nothing. Ids given out since are not used again. Raises NotFound, StoreCorrupt, DiskFull or StoreError.
        """
        tables = self._read(name).tables
        before = self.make()
        self._storage.write(tables)
        return before

    def _unfinished(self) -> list[str]:
        """What a kill while copying left."""
        return [file.name for file in self._folder.glob(".*.json.tmp")]

    def _read(self, name: str) -> Image:
        if name not in {backup.name for backup in self.all()}:
            raise NotFound(f"There is no backup {name!r}.", "Choose one from the list.")
        try:
            image = unseal((self._folder / name).read_bytes())
        except (OSError, Damaged) as error:
            raise StoreCorrupt(f"The backup {name} cannot be read: {error}.", "Choose another.") from error
        self._storage.migrations.bring(image, self._storage.migrations.format)
        return image


def listed(folder: Path) -> list[Backup]:
    """The copies in a folder, newest first."""
    files = folder.iterdir() if folder.exists() else ()
    found = [_backup(file, match) for file in files if (match := _NAME.fullmatch(file.name))]
    return sorted(found, key=lambda backup: backup.number, reverse=True)


def _backup(file: Path, match: re.Match[str]) -> Backup:
    number, day, *time = match.groups()
    return Backup(
        name=file.name, number=int(number), created=f"{day}T{':'.join(time)}+00:00", bytes=file.stat().st_size
    )
