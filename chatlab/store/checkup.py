"""A look at a store's files that changes none of them and takes no lock, so that the app may have it open."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from chatlab.errors import StoreCorrupt
from chatlab.store.disk import Disk, Files, as_chatlab_error
from chatlab.store.migrations import KINDS, Migrations
from chatlab.store.owner import read_owner
from chatlab.store.recovery import Recovered, Recovery
from chatlab.store.snapshot import list_backups
from chatlab.system.codec import from_document

TRIES = 3
"""An app at work may turn its journal over between two reads, which looks like a loss and is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkup:
    """What was found."""

    records: int
    unreadable: int
    warnings: tuple[str, ...]
    backups: int
    newest_backup: str
    """ISO 8601, UTC; empty where there is none."""
    format: int
    owner: str = ""
    """Who has it open, as "process 12 at http://..."; empty if nobody has."""


class ReadOnlyDisk(Disk):
    """What an opening would put right is left as it is."""

    def write_whole(self, file: Path, data: bytes) -> None:
        pass

    def replace(self, source: Path, target: Path) -> None:
        pass


def checkup(folder: Path) -> Checkup:
    """Raises StoreCorrupt or StoreError where the app could not open it either."""
    files = Files(folder)
    found = _read(files)
    for _ in range(TRIES if owner(files) else 0):
        if not found.warnings:
            break
        found = _read(files)
    copies = list_backups(files.backups)
    return Checkup(
        records=sum(len(found.snapshot.tables.get(name, ())) for name in KINDS),
        unreadable=_unreadable(found),
        warnings=tuple(found.warnings),
        backups=len(copies),
        newest_backup=copies[0].created if copies else "",
        format=found.snapshot.format,
        owner=owner(files),
    )


def owner(files: Files) -> str:
    """Who says it has the store open and is still alive."""
    said = read_owner(files.owner)
    return f"process {said.pid} at {said.address}" if said is not None and said.lives else ""


def _read(files: Files) -> Recovered:
    try:
        return Recovery(files, ReadOnlyDisk(), Migrations()).run()
    except OSError as error:
        raise as_chatlab_error(error, "read the store") from error
    except RecursionError as error:
        raise StoreCorrupt("The store is nested too deeply to be read.", "Restore a backup.") from error


def _unreadable(found: Recovered) -> int:
    wrong = 0
    for name, kind in KINDS.items():
        for document in found.snapshot.tables.get(name, {}).values():
            try:
                from_document(kind, document)
            except ValueError:
                wrong += 1
    return wrong
