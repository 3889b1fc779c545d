"""All checks, one after the other, the quick ones first."""

from __future__ import annotations

from collections.abc import Iterator

from chatlab.doctor import app_checks, machine_checks
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
        yield machine_checks.python()
        yield machine_checks.packages()
        yield machine_checks.memory()
        yield from machine_checks.disk(settings)
        store, owner = app_checks.store(settings)
        yield store
        yield machine_checks.port(settings, owner)
        yield machine_checks.reachability(settings)
        yield from self._models()

    def _models(self) -> Iterator[Finding]:
        machine = app_checks.model_host(self._settings)
        try:
            yield app_checks.base(machine)
            yield app_checks.adapters(self._settings, machine)
            yield app_checks.embedder()
            if not self._quick:
                yield machine_checks.engines()
                yield app_checks.trainer(self._settings, machine)
        finally:
            machine.close()
