"""Files and folders as the whole app makes and reads them: for their owner alone, and nothing taken for a file that is
none.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
import time
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO

DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""What the operating system says when a write did not fit."""

PRIVATE = 0o700
PRIVATE_FILE = 0o600
_OTHERS = 0o077


def private_folder(folder: Path) -> Path:
    """`folder`, with those above it that are missing; whatever is made is for its owner alone (0700).

    A folder that is there already is tightened, unless it is somebody else's, shared on purpose as `/tmp` is, or a
    person's home. The umask changes nothing. On Windows, where folders have no such mode, it is only made. Raises
    OSError.
    """
    for missing in reversed([place for place in (folder, *folder.parents) if not place.exists()]):
        missing.mkdir(mode=PRIVATE, exist_ok=True)
    tighten(folder)
    return folder


def tighten(folder: Path) -> None:
    """Take a folder of one's own away from everybody else. A file system without modes stays as it is."""
    if os.name == "nt":
        return
    status = folder.stat()
    shared = bool(status.st_mode & stat.S_ISVTX) or folder == Path.home()
    if status.st_mode & _OTHERS and status.st_uid == os.geteuid() and not shared:
        try:
            folder.chmod(PRIVATE)
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.EROFS):
                raise


def open_private(file: Path, flags: int) -> BinaryIO:
    """Open a file for writing, with flags of `os.open`; a new one is for its owner alone. Raises OSError."""
    return os.fdopen(os.open(file, flags | os.O_WRONLY | getattr(os, "O_BINARY", 0), PRIVATE_FILE), "wb")


def write_whole(file: Path, data: bytes) -> None:
    """Put `data` in the place of `file`: all of it, on the disk when this returns, or nothing has changed.

    Raises OSError.
    """
    with _in_place_of(file) as partial, partial.open("wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())  # else a power cut could leave a name without its bytes


@contextlib.contextmanager
def replacing(file: Path) -> Iterator[Path]:
    """Where to write what takes the place of `file` when the block ends: all of it, on the disk, or nothing changes.

    Raises OSError.
    """
    with _in_place_of(file) as partial:
        yield partial
        with partial.open("rb+") as stream:
            os.fsync(stream.fileno())


@contextlib.contextmanager
def _in_place_of(file: Path) -> Iterator[Path]:
    partial = file.with_name(f"{file.name}.partial")
    try:
        yield partial
        put_in_place(partial, file)
    except BaseException:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        raise


def put_in_place(source: Path, target: Path) -> None:
    """Rename `source` to `target`, which it replaces. Windows refuses that while somebody reads the target, a virus
    scanner for one; then it is tried again for a second. Raises OSError.
    """
    for _ in range(20 if os.name == "nt" else 0):
        with contextlib.suppress(PermissionError):
            source.replace(target)
            return
        time.sleep(0.05)
    source.replace(target)


def fsync_folder(folder: Path) -> None:
    """Make a rename or a new name in it outlive a power cut. Raises OSError."""
    if os.name == "nt":  # folders cannot be opened there, and need not be
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256_of(file: Path) -> str:
    """Hex digest of a file's bytes. Raises OSError."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def open_to_all(folder: Path) -> bool:
    """Whether somebody other than the owner may enter or list this folder."""
    return os.name != "nt" and bool(folder.stat().st_mode & _OTHERS)


def open_regular(file: Path) -> BufferedReader:
    """A regular file, open for reading. Links are not followed, and a pipe that nobody writes to is not waited for.

    Raises OSError.
    """
    flags = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    handle = os.open(file, flags)
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file", str(file))
        return os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise


def read_regular(file: Path, most: int) -> bytes:
    """All of a regular file that has at most `most` bytes. Raises OSError, also for a larger one."""
    with open_regular(file) as stream:
        data = stream.read(most + 1) if os.fstat(stream.fileno()).st_size <= most else None
    if data is None or len(data) > most:
        raise OSError(errno.EFBIG, f"it is larger than {most:,} bytes", str(file))
    return data
