"""The folder of backups: which copies lie there, and what one holds."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from chatlab.errors import StoreCorrupt
from chatlab.store.image import Damaged, Image, unseal

_NAME = re.compile(r"([0-9]{6,12})-([0-9]{4}-[0-9]{2}-[0-9]{2})T([0-9]{2})-([0-9]{2})-([0-9]{2})\.json")


@dataclass(frozen=True, slots=True, kw_only=True)
class Backup:
    """One copy. Its number, not its date, says which is newer: clocks jump."""

    name: str
    number: int
    created: str
    """ISO 8601, UTC."""
    bytes: int


def listed(folder: Path) -> list[Backup]:
    """The copies in a folder, newest first. What is no file of its own is no copy."""
    return sorted(_found(folder), key=lambda backup: (backup.number, backup.name), reverse=True)


def read_copy(file: Path) -> Image:
    """Raises StoreCorrupt unless all of it is as a backup has it."""
    try:
        image = unseal(file.read_bytes())
    except (OSError, Damaged) as error:
        raise StoreCorrupt(f"The backup {file.name} cannot be read: {error}.", "Choose another.") from error
    if image.unfit:
        raise StoreCorrupt(
            f"The backup {file.name} cannot be read: {image.unfit[0][:60]!r} is of no shape that a store has.",
            "Choose another.",
        )
    return image


def _found(folder: Path) -> Iterator[Backup]:
    for file in folder.iterdir() if folder.is_dir() else ():
        match = _NAME.fullmatch(file.name)
        if match and file.is_file() and not file.is_symlink():
            number, day, *time = match.groups()
            yield Backup(
                name=file.name, number=int(number), created=f"{day}T{':'.join(time)}+00:00", bytes=file.stat().st_size
            )
