"""How a voice answers what nobody taught it, counted: measured of every adapter before it goes on the shelf."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from time import perf_counter

from chatlab.engines.base import Voice
from chatlab.errors import ChatlabError
from chatlab.evaluation.manner import manner
from chatlab.evaluation.unseen import CALM, ask_all
from chatlab.lab.machine import Machine
from chatlab.records import Manner
from chatlab.training.runs import write_json

log = logging.getLogger("chatlab.lab")

MOST = 48
"""Prompts asked after a run, the first of the set: enough for a figure, and soon done. The grid asks all of them."""


class Proof:
    """Asks the unseen prompts, greedily, so that the same voice gives the same figures every time."""

    def __init__(self, machine: Machine, prompts: Callable[[], Sequence[str]], cache: Path) -> None:
        self._machine = machine
        self._prompts = prompts
        self._cache = cache / "proof"
        self.seconds = 1.0
        """What asking an adapter took last time; at first a guess."""

    def prepare(self) -> None:
        """Ask the base ahead of the first run, which would wait for it."""
        if prompts := self._few():
            self._base(prompts)

    def before_and_after(self, adapter: Path) -> tuple[Manner | None, Manner | None]:
        """Of the base and of the adapter in a folder; None where they cannot be asked, which the log then tells."""
        prompts = self._few()
        if not prompts:
            return None, None
        try:
            before, began = self._base(prompts), perf_counter()
            after = self._asked(Voice(name=adapter.name, folder=adapter), prompts)
            self.seconds = perf_counter() - began
            return before, after
        except ChatlabError as error:
            log.warning("The unseen prompts could not be asked: %s %s", error, error.hint)
            return None, None

    def _few(self) -> list[str]:
        return list(self._prompts())[:MOST]

    def _base(self, prompts: Sequence[str]) -> Manner:
        """Asked once for each set of prompts, and kept."""
        base = self._machine.base
        told = json.dumps([base.fingerprint, base.template.sha256, self._machine.engine.name, asdict(CALM), *prompts])
        file = self._cache / f"{hashlib.sha256(told.encode()).hexdigest()[:32]}.json"
        try:
            return Manner(**json.loads(file.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            found = self._asked(Voice(), prompts)
        try:
            self._cache.mkdir(parents=True, exist_ok=True)
            write_json(file, asdict(found))
        except OSError as error:  # it can be asked again
            log.warning("What the base said could not be kept: %s", error)
        return found

    def _asked(self, voice: Voice, prompts: Sequence[str]) -> Manner:
        return manner(ask_all(self._machine.engine, self._machine.base, voice, prompts))
