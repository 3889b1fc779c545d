"""The few file operations that the store rests on, and the names of its files."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

from chatlab.errors import ChatlabError, DiskFull, StoreError
from chatlab.system.files import DISK_FULL, put_in_place


@dataclass(frozen=True, slots=True)
class Files:
    """Where each part of a store lies. All parts share one folder, so that renames stay on one file system."""

    folder: Path
    name: str = "chatlab"

    @property
    def snapshot(self) -> Path:
        """Everything up to some change, in TinyDB's own layout."""
        return self.folder / f"{self.name}.json"

    @property
    def backup(self) -> Path:
        """The snapshot before this one."""
        return self.folder / f"{self.name}.json.bak"

    @property
    def draft(self) -> Path:
        """The next snapshot while it is being written."""
        return self.folder / f"{self.name}.json.tmp"

    @property
    def journal(self) -> Path:
        """Changes since the snapshot."""
        return self.folder / f"{self.name}.journal"

    @property
    def old_journal(self) -> Path:
        """Changes from the backup to the snapshot."""
        return self.folder / f"{self.name}.journal.bak"

    @property
    def backups(self) -> Path:
        """A folder of whole copies."""
        return self.folder / "backups"

    @property
    def lock(self) -> Path:
        return self.folder / f"{self.name}.lock"

    @property
    def owner(self) -> Path:
        """Who holds the lock, for the message that a second process gives."""
        return self.folder / f"{self.name}.owner"

    def of_format(self, format: int, number: int = 1) -> Path:
        """The last snapshot before the store left an older format, for the `number`th time if an old one came back."""
        again = f"-{number}" if number > 1 else ""
        return self.folder / f"{self.name}.format{format}{again}.json"

    def aside(self, file: Path) -> Path:
        """A free name under which a damaged file is kept."""
        number = 1
        while (place := file.with_name(f"{file.name}.corrupt{number}")).exists():
            number += 1
        return place


class Disk:
    """Plain system calls. Tests hand in a disk that fails at a chosen one."""

    def open(self, file: Path, flags: int) -> int:
        return os.open(file, flags | getattr(os, "O_BINARY", 0), 0o600)

    def write(self, handle: int, data: bytes) -> None:
        """All of `data`, or an OSError after part of it."""
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(handle, rest) :]

    def sync(self, handle: int) -> None:
        os.fsync(handle)

    def truncate(self, handle: int, size: int) -> None:
        os.ftruncate(handle, size)

    def replace(self, source: Path, target: Path) -> None:
        put_in_place(source, target)

    def sync_folder(self, folder: Path) -> None:
        """Make renames last. Windows does so by itself and cannot open a folder."""
        if os.name == "nt":
            return
        handle = os.open(folder, os.O_RDONLY)
        try:
            self.sync(handle)
        finally:
            os.close(handle)

    def write_whole(self, file: Path, data: bytes) -> None:
        """A new file, on the disk when this returns; no file at all when it raises."""
        try:
            handle = self.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            try:
                self.write(handle, data)
                self.sync(handle)
            finally:
                os.close(handle)
        except OSError:
            with contextlib.suppress(OSError):
                file.unlink(missing_ok=True)
            raise

    def publish(self, file: Path, data: bytes) -> None:
        """Put `data` in the place of `file`, which is as it was if this raises."""
        draft = file.with_name(f".{file.name}.tmp")
        self.write_whole(draft, data)
        try:
            self.replace(draft, file)
        except OSError:
            draft.unlink(missing_ok=True)
            raise
        self.sync_folder(file.parent)


def as_chatlab_error(error: OSError, what: str) -> ChatlabError:
    """`what` names the thing that could not be done, as in "keep this change"."""
    if error.errno in DISK_FULL:
        return DiskFull(f"There is no room left on the disk to {what}.", "Free some space and try again.")
    reason = error.strerror or str(error)
    return StoreError(f"The disk would not {what}: {reason}.", "Check the disk and the folder's permissions.")
