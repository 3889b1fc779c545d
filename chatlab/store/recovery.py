"""Opening: the newest readable snapshot, and every journal line after it."""

from __future__ import annotations

import errno
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from chatlab.errors import StoreCorrupt
from chatlab.store.disk import Disk, Files
from chatlab.store.image import Damaged, Image, seal, unseal
from chatlab.store.journal import Contents, Line, read_journal
from chatlab.store.migrations import Migrations

SPARE_IDS = 1000
"""Skipped after a loss, since ids given out in lost changes are not known."""


@dataclass(slots=True)
class Recovered:
    """The state of a store as it was found."""

    image: Image
    journal: Contents
    warnings: list[str] = field(default_factory=list)
    replayed: bool = False
    """The journal held changes that the snapshot does not."""
    repair: bool = False
    """The files are not as they should be: write a new snapshot at once."""


class Recovery:
    """One opening of a store's files. Reads; writes nothing but copies of what is damaged or in an older format."""

    def __init__(self, files: Files, disk: Disk, migrations: Migrations) -> None:
        self._files = files
        self._disk = disk
        self._migrations = migrations
        self._warnings: list[str] = []
        self._damaged: list[Path] = []
        self._repair = False

    def run(self) -> Recovered:
        """Raises StoreCorrupt if no snapshot can be read and the journal is not whole, and leaves all files alone."""
        journal = read_journal(self._files.journal)
        image, from_snapshot = self._base()
        starts_later = bool(journal.lines) and journal.lines[0].number > image.seq + (journal.lines[0].format is None)
        old = Contents() if from_snapshot and not starts_later else read_journal(self._files.old_journal)
        if not from_snapshot and self._damaged and not image.seq:
            self._need_whole(old.lines + journal.lines)
        self._migrations.check(max([image.format, *(line.format or 0 for line in old.lines + journal.lines)]))
        self._set_aside(old, journal)
        before = image.seq
        image = self._replayed(image, old.lines + journal.lines, len(old.damaged) + len(journal.damaged))
        if image.format != self._migrations.format:
            self._disk.write_whole(self._files.of_format(image.format), seal(image))
            self._migrations.bring(image, self._migrations.format)
            self._repair = True
        return Recovered(image, journal, self._warnings, image.seq > before, self._repair)

    def _base(self) -> tuple[Image, bool]:
        """The snapshot, else its backup, else nothing; and whether it was the snapshot."""
        files = self._files
        if image := self._read(files.snapshot):
            if image.foreign:
                self._warnings.append(f"{files.snapshot.name} was written by another program; it was taken as it is.")
                self._repair = True
            return image, True
        image = self._read(files.backup)
        if image and not self._damaged and not files.draft.exists():
            # With a draft beside it, a compaction was cut off between two renames, and nothing is amiss.
            self._warnings.append(f"{files.snapshot.name} was missing; the copy {files.backup.name} was read instead.")
        self._repair = bool(image or self._damaged)
        return image or Image(format=self._migrations.format), False

    def _read(self, file: Path) -> Image | None:
        try:
            data = file.read_bytes()
            return unseal(data) if data else None
        except FileNotFoundError:
            return None
        except (Damaged, OSError) as error:
            if isinstance(error, OSError) and error.errno != errno.EIO:
                raise
            self._damaged.append(file)
            return None

    def _need_whole(self, lines: tuple[Line, ...]) -> None:
        if lines and lines[0].number <= (0 if lines[0].format else 1):
            return
        names = " and ".join(file.name for file in self._damaged)
        raise StoreCorrupt(
            f"The store in {self._files.folder} cannot be read: {names} damaged, and the journal alone is not enough.",
            f"Nothing was changed. Copy the newest file of its folder {self._files.backups.name} over "
            f"{self._files.snapshot.name}; or move away all files that begin with {self._files.name}. to start empty.",
        )

    def _set_aside(self, *journals: Contents) -> None:
        for file in self._damaged:
            place = self._files.aside(file)
            self._disk.replace(file, place)
            self._warnings.append(
                f"{file.name} was damaged. An older copy and the journal were read in its place; "
                f"the damaged file is kept as {place.name}."
            )
        damaged = [raw for journal in journals for raw in journal.damaged]
        if damaged:
            place = self._files.aside(self._files.journal)
            self._disk.write_whole(place, b"\n".join(damaged) + b"\n")
            self._warnings.append(
                f"{len(damaged)} damaged line(s) of the journal could not be read as they stand; "
                f"they are kept as {place.name}."
            )
            self._repair = True

    def _replayed(self, image: Image, lines: Iterable[Line], damaged: int) -> Image:
        missing = 0
        for line in lines:
            if line.format and line.format > image.format:
                self._migrations.bring(image, line.format)
            expected = image.seq + (line.format is None)
            if line.number < expected or (line.number == image.seq and not line.changes):
                continue
            missing += line.number - expected
            image.apply(line.changes)
            image.seq = line.number
        if missing:
            self._warnings.append(f"{missing} change(s) to the store are lost.")
        if missing or damaged:
            self._repair = True
            for name in image.next:
                image.next[name] += SPARE_IDS
        return image
