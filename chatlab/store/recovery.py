"""Opening: the newest readable snapshot, and every journal line after it."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from chatlab.errors import StoreCorrupt
from chatlab.store.disk import Disk, Files
from chatlab.store.journal import Contents, Line, read_journal
from chatlab.store.migrations import Migrations
from chatlab.store.shape import MOST
from chatlab.store.snapshot import Damaged, Snapshot, decode_snapshot, encode_snapshot, list_backups, read_backup

SPARE_IDS = 1000
"""Skipped after a loss, since ids given out in lost changes are not known."""


@dataclass(slots=True)
class Recovered:
    """The state of a store as it was found."""

    snapshot: Snapshot
    journal: Contents
    warnings: list[str] = field(default_factory=list)
    replayed: bool = False
    """The journal held changes that the snapshot does not."""
    repair: bool = False
    """The files are not as they should be: write a new snapshot at once."""


class Recovery:
    """One opening of a store's files. Reads; writes nothing but copies of what is damaged or in an older format."""

    def __init__(self, files: Files, disk: Disk, migrations: Migrations, salvage: bool = False) -> None:
        """With `salvage` a store of which no snapshot can be read begins from its newest backup, or from nothing."""
        self._files = files
        self._disk = disk
        self._migrations = migrations
        self._salvage = salvage
        self._warnings: list[str] = []
        self._damaged: list[Path] = []
        self._repair = False

    def run(self) -> Recovered:
        """Raises StoreCorrupt if no snapshot can be read and the journal is not whole, and leaves all files alone.

        Raises StoreError, and leaves them alone too, where a newer Chatlab wrote them.
        """
        journal = read_journal(self._files.journal)
        snapshot, from_snapshot = self._base(journal)
        starts_later = bool(journal.lines) and journal.lines[0].number > snapshot.seq + (
            journal.lines[0].format is None
        )
        old = Contents() if from_snapshot and not starts_later else read_journal(self._files.old_journal)
        lines = old.lines + journal.lines
        if not from_snapshot and self._damaged and not snapshot.seq and not _is_whole(lines):
            snapshot = self._from_copy(journal)
        self._migrations.check(max([snapshot.format, *(line.format or 0 for line in lines)]))
        self._set_aside(old, journal)
        self._say_unfit(snapshot, self._files.snapshot if from_snapshot else self._files.backup)
        before = snapshot.seq
        snapshot = self._replayed(snapshot, lines, len(old.damaged) + len(journal.damaged))
        if snapshot.format != self._migrations.format:
            self._keep_former(snapshot)
            self._migrations.migrate(snapshot, self._migrations.format)
            self._repair = True
        replayed = snapshot.seq > before
        if snapshot.seq >= MOST // 2:  # no count of changes comes near it: begin to count again
            snapshot.seq, self._repair = 1, True
        return Recovered(snapshot, journal, self._warnings, replayed, self._repair)

    def _base(self, journal: Contents) -> tuple[Snapshot, bool]:
        """The snapshot, else its backup, else nothing; and whether it was the snapshot."""
        files = self._files
        snapshot = self._read(files.snapshot)
        if snapshot and snapshot.unfit and not snapshot.foreign and self._reached_otherwise(snapshot, journal):
            self._damaged.append(files.snapshot)
            snapshot = None
        if snapshot:
            if snapshot.foreign:
                self._warnings.append(f"{files.snapshot.name} was written by another program; it was taken as it is.")
                self._repair = True
            return snapshot, True
        snapshot = self._read(files.backup)
        if snapshot and not self._damaged and not files.draft.exists():
            # With a draft beside it, a compaction was cut off between two renames, and nothing is amiss.
            self._warnings.append(f"{files.snapshot.name} was missing; the copy {files.backup.name} was read instead.")
        self._repair = bool(snapshot or self._damaged)
        return snapshot or self._empty(journal), False

    def _empty(self, journal: Contents) -> Snapshot:
        """The state before the first change, in the format of the first journal line that says one."""
        lines = read_journal(self._files.old_journal).lines + journal.lines
        return Snapshot(format=next((line.format for line in lines if line.format), self._migrations.format))

    def _keep_former(self, snapshot: Snapshot) -> None:
        """A copy in the format that the store leaves; one that is there already is never written over."""
        data = encode_snapshot(snapshot)
        places = (self._files.of_format(snapshot.format, number) for number in count(1))
        self._disk.write_whole(next(p for p in places if not p.exists() or p.read_bytes() == data), data)

    def _read(self, file: Path) -> Snapshot | None:
        try:
            if not file.exists():
                return None
            if not file.is_file():
                raise Damaged("it is no file")
            data = file.read_bytes()
            return decode_snapshot(data) if data else None
        except (Damaged, OSError) as error:
            if isinstance(error, OSError) and error.errno not in (errno.EIO, errno.ELOOP):
                raise
            self._damaged.append(file)
            return None

    def _reached_otherwise(self, snapshot: Snapshot, journal: Contents) -> bool:
        """Whether the backup and the journals lead to all that this snapshot should hold."""
        try:
            backup = decode_snapshot(self._files.backup.read_bytes())
        except (Damaged, OSError):
            return False
        there = {line.number for line in read_journal(self._files.old_journal).lines + journal.lines if not line.format}
        missing = snapshot.seq - backup.seq
        return not backup.unfit and sum(backup.seq < number <= snapshot.seq for number in there) >= missing

    def _from_copy(self, journal: Contents) -> Snapshot:
        """The newest backup that can be read, else nothing. Raises StoreCorrupt unless that is wanted."""
        files = self._files
        names = " and ".join(file.name for file in self._damaged)
        if not self._salvage:
            raise StoreCorrupt(
                f"The store in {files.folder} cannot be read: {names} damaged, and the journal alone is not enough.",
                f"Nothing was changed. Copy the newest file of its folder {files.backups.name} over "
                f"{files.snapshot.name}; or move away all files that begin with {files.name}. to start empty.",
            )
        for copy in list_backups(files.backups):
            with contextlib.suppress(StoreCorrupt):
                snapshot = read_backup(files.backups / copy.name)
                self._warnings.append(
                    f"{names} could not be read. The backup {copy.name} was put in their place, "
                    "and what the journal holds beyond it."
                )
                return snapshot
        self._warnings.append(f"{names} could not be read, and there is no backup. What the journal holds was kept.")
        return self._empty(journal)

    def _say_unfit(self, snapshot: Snapshot, file: Path) -> None:
        if not snapshot.unfit:
            return
        place = self._files.aside(file)
        self._disk.write_whole(place, file.read_bytes())
        names = ", ".join(name[:40] for name in snapshot.unfit[:3]) + (", ..." if len(snapshot.unfit) > 3 else "")
        self._warnings.append(
            f"{len(snapshot.unfit)} part(s) of {file.name} are of no shape that a store has and were left out "
            f"({names}); the file as it was is kept as {place.name}."
        )
        self._repair = True

    def _set_aside(self, *journals: Contents) -> None:
        for file in (self._files.journal, self._files.old_journal, self._files.draft):
            if os.path.lexists(file) and not file.is_file():
                place = self._files.aside(file)
                self._disk.replace(file, place)
                self._warnings.append(f"{file.name} was no file; it is kept as {place.name}.")
                self._repair = True
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

    def _replayed(self, snapshot: Snapshot, lines: Iterable[Line], damaged: int) -> Snapshot:
        missing = 0
        for line in lines:
            if line.format and line.format > snapshot.format:
                self._migrations.migrate(snapshot, line.format)
            expected = snapshot.seq + (line.format is None)
            if line.number < expected or (line.number == snapshot.seq and not line.changes):
                continue
            missing += line.number - expected
            snapshot.apply(line.changes)
            snapshot.seq = line.number
        if missing:
            self._warnings.append(f"{missing} change(s) to the store are lost.")
        if missing or damaged:
            self._repair = True
            for name in snapshot.next:
                snapshot.next[name] = min(snapshot.next[name] + SPARE_IDS, MOST)
        return snapshot


def _is_whole(lines: tuple[Line, ...]) -> bool:
    """Whether they begin with the first change of all."""
    return bool(lines) and lines[0].number <= (0 if lines[0].format else 1)
