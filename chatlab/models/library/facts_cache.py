"""Facts of models, kept in the cache until a model's files change: a large GGUF's header takes a second to read."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import threading
from pathlib import Path

from chatlab.models.library.entry import ModelEntry, ModelFacts
from chatlab.models.library.facts import read_facts
from chatlab.system.codec import from_document, to_document
from chatlab.system.files import private_folder, read_regular, write_whole

REVISION = 4
"""Version of the facts. What an older one found is read anew."""
LARGEST = 1 << 16
MOST = 2000
"""Files that are kept; the oldest go first."""
MOST_NAMES = 1000
"""Names in a model's folder whose times are looked at."""


class FactsCache:
    """In `cache/models`. Can be deleted at any time."""

    def __init__(self, cache: Path) -> None:
        self._folder = cache / "models"
        self._lock = threading.Lock()
        self._known: dict[str, ModelFacts] = {}

    def of(self, entry: ModelEntry) -> ModelFacts:
        """Never raises: what is wrong with the model, or the cache, is only not kept."""
        key = _key(entry)
        with self._lock:
            known = self._known.get(key) or self._read(key)
        facts = known or read_facts(entry)
        with self._lock:
            self._known[key] = facts
        if known is None and facts.parameters:
            self._write(key, facts)
        return facts

    def _read(self, key: str) -> ModelFacts | None:
        try:
            return from_document(ModelFacts, json.loads(read_regular(self._folder / f"{key}.json", LARGEST)))
        except (OSError, ValueError, RecursionError):
            return None

    def _write(self, key: str, facts: ModelFacts) -> None:
        with contextlib.suppress(OSError):
            private_folder(self._folder)
            write_whole(self._folder / f"{key}.json", json.dumps(to_document(facts)).encode())
            self._sweep()

    def _sweep(self) -> None:
        files = sorted(self._folder.glob("*.json"), key=lambda file: file.stat().st_mtime)
        for file in files[: max(0, len(files) - MOST)]:
            file.unlink(missing_ok=True)


def _key(entry: ModelEntry) -> str:
    """Changes when a file of the model does, or when its list entry says something else of it."""
    told = [REVISION, str(entry.path), entry.source, entry.problem, entry.licence, _stamps(entry)]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:32]


def _stamps(entry: ModelEntry) -> list[tuple[str, int, int, int]]:
    """Name, bytes, inode and time of each file; those that cannot be looked at have none."""
    files = [entry.path, entry.path.with_suffix(".jinja")]
    if entry.kind == "folder":
        with contextlib.suppress(OSError):
            files = [Path(item) for item in sorted(os.scandir(entry.path), key=lambda item: item.name)][:MOST_NAMES]
    found = []
    for file in files:
        with contextlib.suppress(OSError):
            status = file.stat()
            found.append((file.name, status.st_size, status.st_ino, status.st_mtime_ns))
    return found
