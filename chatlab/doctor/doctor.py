"""The visit: one place after the other, the quick ones first."""

from __future__ import annotations

from collections.abc import Iterator

from chatlab.doctor import house, parts
from chatlab.doctor.finding import Finding
from chatlab.settings import Settings


class Doctor:
    """Reads and tries; changes nothing that the app keeps, so that it may be open meanwhile."""

    def __init__(self, settings: Settings, quick: bool = False) -> None:
        """`quick` leaves out what takes seconds: loading llama.cpp and starting a trainer."""
        self._settings = settings
        self._quick = quick

    def findings(self) -> Iterator[Finding]:
        """One after the other, as they are found."""
        settings = self._settings
        yield house.python()
        yield house.packages()
        yield house.memory()
        yield from house.disk(settings)
        store, owner = parts.store(settings)
        yield store
        yield house.port(settings, owner)
        yield house.doors(settings)
        yield from self._models()

    def _models(self) -> Iterator[Finding]:
        machine = parts.machine(self._settings)
        try:
            yield parts.base(machine)
            yield parts.adapters(self._settings, machine)
            yield parts.embedder()
            if not self._quick:
                yield house.engines()
                yield parts.trainer(self._settings, machine)
        finally:
            machine.close()
