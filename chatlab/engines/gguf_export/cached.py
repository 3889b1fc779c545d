"""GGUF files in the cache, each written once. Without torch: a base that is a GGUF answers before that is loaded."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from chatlab.errors import DiskFull, EngineError
from chatlab.system.files import DISK_FULL, sha256_of, write_whole

Precision = Literal["f32", "f16", "bf16", "q8_0"]


def kept(to: Path, write: Callable[[Path], None]) -> Path:
    """`to`, written by `write` unless a whole one is there; its hash lies beside it, so that a damaged one is seen."""
    digest = to.with_suffix(".sha256")
    if to.is_file() and digest.is_file() and digest.read_text() == sha256_of(to):
        return to
    write(to)
    with worded(digest):
        write_whole(digest, sha256_of(to).encode())
    return to


@contextmanager
def worded(file: Path) -> Iterator[None]:
    """DiskFull or EngineError in place of the system's own error."""
    try:
        yield
    except OSError as error:
        kind = DiskFull if error.errno in DISK_FULL else EngineError
        raise kind(
            f"{file.name} could not be written for llama.cpp: {error.strerror or error}.",
            "Free some space on the disk of the cache folder, then try again.",
        ) from error
