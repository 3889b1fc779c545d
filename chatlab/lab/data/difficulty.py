"""How hard the demonstrations are for the base: measured in the background, kept in the cache."""

from __future__ import annotations

from pathlib import Path

from chatlab.errors import ChatlabError
from chatlab.evaluation.difficulty import Difficulty, Ledger
from chatlab.evaluation.scoring import Progress, Scoring
from chatlab.lab.data.example_cache import ExampleCache
from chatlab.lab.models import ModelHost
from chatlab.models.base import Base
from chatlab.records import Message
from chatlab.store import Store


class Difficulties:
    """Difficulties of all that are approved or waiting, for the base that is chosen. A process of its own measures."""

    def __init__(self, store: Store, machine: ModelHost, cache: Path) -> None:
        self._store = store
        self._machine = machine
        self._cache = cache
        self._scoring = Scoring()
        self._ledgers: dict[str, Ledger] = {}
        self._examples = ExampleCache()

    def measure(self) -> int:
        """Begin to measure what is not known yet; how many that is.

        Raises BaseRefused for a base that cannot be trained, and what opening the base raises.
        """
        base = self._machine.base
        ledger = self._ledger(base)
        todo = self._unknown(ledger)
        self._scoring.start(self._machine.training_base(base).folder, ledger.file, todo)
        return len(todo)

    def progress(self) -> Progress:
        return self._scoring.progress()

    def cancel(self) -> None:
        """End the measurement; what it has found stays."""
        self._scoring.cancel()

    def wait(self, timeout: float = 600.0) -> Progress:
        """Until the measurement has ended."""
        return self._scoring.wait(timeout)

    def known(self) -> dict[int, Difficulty]:
        """Difficulties by id; empty where there is no base to have measured with."""
        try:
            known = self._ledger(self._machine.base).read()
        except ChatlabError:
            return {}
        found = ((i, known.get(key)) for i, (key, _) in self._contents().items())
        return {i: each for i, each in found if each is not None}

    def missing(self) -> int:
        """How many have not been measured, those left out that cannot be."""
        try:
            return len(self._unknown(self._ledger(self._machine.base)))
        except ChatlabError:
            return 0

    def _unknown(self, ledger: Ledger) -> list[tuple[str, tuple[Message, ...]]]:
        known = ledger.read()
        return [(key, said) for key, said in dict(self._contents().values()).items() if key not in known]

    def _contents(self) -> dict[int, tuple[str, tuple[Message, ...]]]:
        """Content hash and messages by id."""
        rows = self._store.demonstrations.rows()
        return {i: (self._examples.hash(i, d), d.messages) for i, d in rows if d.status != "discarded"}

    def _ledger(self, base: Base) -> Ledger:
        """What was measured with this base."""
        ledger = Ledger(self._cache, base.fingerprint, base.template.sha256)
        return self._ledgers.setdefault(ledger.file.name, ledger)
