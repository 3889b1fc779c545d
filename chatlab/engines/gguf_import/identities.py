"""By which hash a GGUF file is known: that of what it means, or that of bytes by which it was known before."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Collection
from pathlib import Path

from chatlab.models.base import Base
from chatlab.models.fingerprint import fingerprint_of_file
from chatlab.models.gguf.header import read_header
from chatlab.models.gguf.meaning import meaning_of
from chatlab.models.included import SMOLLM2_SHA256
from chatlab.system.files import private_folder, write_whole

IDENTITIES = "identities.json"


class GgufIdentities:
    """Meaning -> the hash of bytes that a file with it is known by, kept in a file of the cache.

    Earlier versions named a base by its bytes: what they validated, what the package includes, and what an adapter
    names so goes on under that name, also once its metadata has changed.
    """

    def __init__(self, kept: Path, named: Callable[[], Collection[str]]) -> None:
        """`named` gives the fingerprints of the bases that adapters name."""
        self._kept = kept
        self._named = named

    def of(self, base: Base, meaning: str | None) -> str:
        """`meaning` is None for a file that an earlier version validated, which did not ask for it. Raises OSError."""
        gguf = base.gguf
        assert gguf is not None
        known = self._read()
        if meaning is None:
            if gguf.sha256 not in known.values():
                self._write(known | {meaning_of(gguf.file, read_header(gguf.file)): gguf.sha256})
            return gguf.sha256
        if meaning in known:
            return known[meaning]
        by_bytes = gguf.sha256 == SMOLLM2_SHA256 or (
            (named := self._named()) and fingerprint_of_file(gguf.sha256, base.template.source) in named
        )
        if by_bytes:
            self._write(known | {meaning: gguf.sha256})
        return gguf.sha256 if by_bytes else meaning

    def _read(self) -> dict[str, str]:
        try:
            known = json.loads(self._kept.read_bytes())
        except (OSError, ValueError):
            return {}
        return known if isinstance(known, dict) else {}

    def _write(self, known: dict[str, str]) -> None:
        """A cache that cannot be written only costs time."""
        with contextlib.suppress(OSError):
            private_folder(self._kept.parent)
            write_whole(self._kept, json.dumps(known).encode())
