"""What is known of the models in the list, read in the background: headers of large files take their time."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from time import monotonic
from typing import Any

from chatlab.errors import ChatlabError
from chatlab.lab import Lab
from chatlab.models.library.entry import ModelEntry, ModelFacts
from chatlab.training.defaults import plan, read_throughput, settings_for

LINGER = 8.0
"""Seconds for which the list is drawn again after everything was read: pages look at different moments."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownModel:
    """One line of the list."""

    entry: ModelEntry
    facts: ModelFacts | None = None
    """None until its headers were read."""
    in_use: bool = False
    is_open: bool = False
    """Whether switching to it takes no time."""
    given: bool = False
    """Whether a person gave it a chat template, as it brings none."""
    seconds: float | None = None
    """Of a run on the approved demonstrations; None where there are none or its size is not known."""
    measured: bool = False
    """Whether `seconds` follows from how fast this machine trains this model, and not from its size alone."""


class KnownModels:
    """The list, with what has been found out so far."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._lock = threading.Lock()
        self._facts: dict[ModelEntry, ModelFacts] = {}
        self._given: set[ModelEntry] = set()
        self._looking = False
        self._until = 0.0

    @property
    def moving(self) -> bool:
        """Whether the list may have changed in the last seconds."""
        return self._looking or monotonic() < self._until

    @property
    def looking(self) -> bool:
        """Whether headers are still being read."""
        return self._looking

    def refresh(self) -> None:
        """Look at the disk again, in the background. `all` says what is known meanwhile."""
        with self._lock:
            if self._looking:
                return
            self._looking = True
        threading.Thread(target=self._look, name="models", daemon=True).start()

    def all(self) -> list[KnownModel]:
        """Every model in the list. Never waits for a header."""
        host = self._lab.machine
        is_open = {model.path for model in host.open_models}
        approved = len(self._lab.demonstrations.approved())
        return [
            KnownModel(
                entry=entry,
                facts=self._usable(entry),
                given=entry in self._given,
                in_use=entry.path == host.path and host.current.unchanged,  # else it can be opened anew
                is_open=entry.path in is_open,
                **self._time(entry, approved),
            )
            for entry in self._lab.library.entries()
        ]

    def _look(self) -> None:
        try:
            for entry in self._lab.library.entries(refresh=True):
                facts = self._facts[entry] = self._lab.library.facts(entry)
                if facts.lacks_template and self._lab.templates.of(entry.path):
                    self._given.add(entry)
        finally:
            self._until = monotonic() + LINGER
            self._looking = False

    def _usable(self, entry: ModelEntry) -> ModelFacts | None:
        """A model with a given template can be used like one that brings its own."""
        facts = self._facts.get(entry)
        return replace(facts, unusable="") if facts is not None and entry in self._given else facts

    def _time(self, entry: ModelEntry, approved: int) -> dict[str, Any]:
        """`seconds` and `measured` of a model."""
        facts, fingerprint = self._facts.get(entry), self._lab.switch.fingerprint_of(entry.path)
        if facts is None or not facts.parameters or not approved:
            return {}
        known = read_throughput(self._lab.settings.cache, fingerprint) if fingerprint else None
        try:
            settings = settings_for(approved, facts.parameters)
            seconds = plan(settings, approved, facts.parameters, throughput=known).seconds
        except ChatlabError:
            return {}
        return {"seconds": seconds, "measured": known is not None}
