"""A base in one GGUF file from elsewhere: which file it was that passed its trial."""

from __future__ import annotations

import stat
from dataclasses import dataclass
from pathlib import Path

from chatlab.errors import BaseMissing, BaseRefused

Stamp = tuple[int, ...]
"""Changes when the file does, or another takes its place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GgufFile:
    """A GGUF file that passed its trial."""

    file: Path
    stamp: Stamp
    sha256: str
    """Hex digest of the file."""
    identity: str = ""
    """Hex digest of what it means, or of the bytes that it is known by; empty for those of the file."""

    def unchanged(self) -> Path:
        """The file, if it is the one that was tried. Raises BaseMissing, BaseRefused."""
        try:
            now = stamp(self.file)
        except BaseMissing as gone:
            raise BaseMissing(
                f"{self.file.name} has gone since it was opened; another program may have deleted or renamed it.",
                "Fetch it again, or choose another model in Models.",
            ) from gone
        if now != self.stamp:
            raise BaseRefused(
                f"{self.file.name} has changed since it was checked.",
                "Choose it again in Models.",
            )
        return self.file


def stamp(file: Path) -> Stamp:
    """Cheap. Raises BaseMissing, or BaseRefused for what is no plain file."""
    try:
        status = file.lstat()
    except (OSError, ValueError) as error:
        raise BaseMissing(f"There is no base model at {file}.", "Name a GGUF file or a folder.") from error
    if stat.S_ISLNK(status.st_mode):
        raise BaseRefused(f"{file.name} is a link to a file.", f"Name the file itself: {file.parent / file.readlink()}")
    if not stat.S_ISREG(status.st_mode):
        raise BaseRefused(f"{file.name} is no file that can be read.", "Name a GGUF file or a folder.")
    return (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
