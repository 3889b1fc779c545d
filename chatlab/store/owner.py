"""Who has a store open: a small file beside it, for whoever finds the store busy. The lock itself says only that."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

import orjson
import psutil

from chatlab.system.clock import now


@dataclass(frozen=True, slots=True)
class Owner:
    """The process that holds the lock."""

    pid: int
    address: str
    """Where it is reached; empty where it said nothing."""

    @property
    def lives(self) -> bool:
        try:
            return bool(psutil.Process(self.pid).status() != psutil.STATUS_ZOMBIE)
        except psutil.Error:
            return False


def read_owner(file: Path) -> Owner | None:
    """None where nothing readable is said, or where the file is none: a pipe in its place would be waited for."""
    try:
        if not file.is_file():
            return None
        told = orjson.loads(file.read_bytes())
        pid, address = told["pid"], told["address"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    sound = isinstance(pid, int) and 0 < pid < 1 << 31 and isinstance(address, str)
    return Owner(pid, address) if sound else None


def write_owner(file: Path, address: str) -> None:
    """Say that this process has the store open, in the place of whatever lies there. Nothing depends on it."""
    partial = file.with_name(f"{file.name}.tmp")
    with contextlib.suppress(OSError):
        partial.unlink(missing_ok=True)
        partial.write_bytes(orjson.dumps({"pid": os.getpid(), "address": address, "since": now()}))
        partial.replace(file)
