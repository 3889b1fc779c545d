"""Temporary copies of files: an upload, a file made to be downloaded. Each lies in a folder of its own."""

from __future__ import annotations

import contextlib
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def new_folder() -> Iterator[Path]:
    """A folder for a copy, closed to other users of this machine; gone again where making the copy fails."""
    folder = Path(tempfile.mkdtemp(prefix="chatlab-"))
    try:
        yield folder
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def discard(copy: str | Path) -> None:
    """Remove a copy by its own name, and the folder that was made for it once nothing else is in it.

    Nothing happens where there is no such file, or where the name is a folder's, a link's or a device's.
    """
    if not copy:
        return
    file = Path(copy)
    with contextlib.suppress(OSError, ValueError):
        if stat.S_ISREG(file.lstat().st_mode):
            file.unlink()
            file.parent.rmdir()
