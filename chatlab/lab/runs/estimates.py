"""What a run would do and take, before it is begun."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from chatlab.errors import ChatlabError
from chatlab.lab.data.demonstrations import Demonstrations
from chatlab.lab.models import ModelHost
from chatlab.models.base import Base
from chatlab.training.data import held_out_ids, lengths_of
from chatlab.training.defaults import (
    Lengths,
    Plan,
    correction_settings,
    plan,
    plan_correction,
    read_throughput,
    settings_for,
)

LOOKED_AT = 16
"""Demonstrations whose tokens are counted for an estimate."""


class Estimates:
    """Of runs on the approved demonstrations, on the model that answers."""

    def __init__(self, cache: Path, demonstrations: Demonstrations, machine: ModelHost) -> None:
        self._cache = cache
        self._demonstrations = demonstrations
        self._machine = machine
        self._counted: tuple[tuple[str, tuple[int, ...]], Lengths] = ("", ()), Lengths()

    def plan(self, **overrides: Any) -> Plan:
        """Of a run with these settings. Overrides are fields of TrainSettings."""
        base = self._machine.base
        ids = self._demonstrations.approved()
        settings = settings_for(len(ids), base.parameters, **overrides)
        throughput = read_throughput(self._cache, base.fingerprint)
        lengths = self._lengths(base, ids)
        held_out = len(held_out_ids(self._demonstrations.like_questions(ids), settings))
        return plan(settings, len(ids), base.parameters, lengths=lengths, throughput=throughput, held_out=held_out)

    def plan_correction(self) -> Plan:
        """Of a correction."""
        base = self._machine.base
        settings = correction_settings(settings_for(1, base.parameters), base.parameters)
        lengths = self._lengths(base, self._demonstrations.approved())
        throughput = read_throughput(self._cache, base.fingerprint)
        return plan_correction(settings, base.parameters, lengths, throughput)

    def _lengths(self, base: Base, ids: Sequence[int]) -> Lengths:
        """Of some of the demonstrations, spread over all; counted again only when there are others."""
        some = tuple(ids[i * len(ids) // LOOKED_AT] for i in range(LOOKED_AT)) if len(ids) > LOOKED_AT else tuple(ids)
        if self._counted[0] != (base.fingerprint, some):
            encoded = []
            for id in some:
                with contextlib.suppress(ChatlabError):
                    encoded += [tuple(one.ids) for one in base.template.encode(self._demonstrations.get(id).messages)]
            self._counted = (base.fingerprint, some), lengths_of(encoded)
        return self._counted[1]
