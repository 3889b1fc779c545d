"""That the demonstrations were looked through, and what was found: kept, and true as long as they stay as they were."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass

from chatlab import __version__
from chatlab.errors import ChatlabError
from chatlab.lab.data.example_cache import ExampleCache
from chatlab.quality import Finding
from chatlab.records import Demonstration
from chatlab.store import Store

KEY = "audit"
"""Its name in the store's state."""
MOST = 1000
"""Findings that are kept by their keys; of more, only how many."""

Row = tuple[int, Demonstration]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredAudit:
    """What a look found, as it is kept."""

    at: str
    """Hash of what was looked at."""
    found: tuple[str, ...]
    """Keys of findings."""
    more: int
    """Findings beyond those."""


class AuditState:
    """The last look, by a hash of what was looked at: the demonstrations, the template's tokens and the checks."""

    def __init__(self, store: Store, examples: ExampleCache, control: Callable[[], Sequence[str]]) -> None:
        self._store = store
        self._examples = examples
        self._control = control

    def keep(self, rows: Sequence[Row], found: Sequence[Finding]) -> None:
        """What a look at `rows` found. If it cannot be kept, the demonstrations count as not looked through."""
        keys = [each.key for each in found]
        with suppress(ChatlabError):
            self._store.state.set(KEY, {"at": self._hash(rows), "found": keys[:MOST], "more": len(keys[MOST:])})

    def open(self, rows: Sequence[Row], dismissed: Collection[str]) -> int | None:
        """Findings that nobody has dealt with; None unless `rows` were looked through as they are."""
        kept = self._store.state.read(KEY, StoredAudit, None)
        if kept is None or kept.at != self._hash(rows):
            return None
        return sum(key not in dismissed for key in kept.found) + kept.more

    def _hash(self, rows: Sequence[Row]) -> str:
        whole = hashlib.sha256(json.dumps([__version__, list(self._control())]).encode())
        for id, d in rows:
            whole.update(json.dumps([id, d.status, d.tags, self._examples.digest(id, d)]).encode())
        return whole.hexdigest()
