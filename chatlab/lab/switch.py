"""Another model while the app runs: what has to follow when it takes its place."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path

from chatlab.errors import ChatlabError
from chatlab.lab.data.difficulty import Difficulties
from chatlab.lab.models import ModelHost
from chatlab.lab.runs.training import Training
from chatlab.lab.variants import Variants
from chatlab.models.base import Base
from chatlab.store import Store

log = logging.getLogger("chatlab.lab")

FINGERPRINTS = "models"
"""Key in the store's state: fingerprints of the models that were open, by path."""
MOST = 200


class ModelSwitch:
    """Has another model answer. Demonstrations, votes and conversations stay; the live adapter is each model's own.

    A run under way goes on with the model that it began with, and its adapter is published for that one.
    """

    def __init__(
        self,
        store: Store,
        machine: ModelHost,
        variants: Variants,
        training: Training,
        difficulties: Difficulties,
    ) -> None:
        self._store = store
        self._machine = machine
        self._variants = variants
        self._training = training
        self._difficulties = difficulties

    def use(self, path: Path) -> Base:
        """Have the model in a folder or file answer from the next reply on; its base. Returns once it can answer.

        What only training and measuring need is made ready in the background. Raises what opening the model raises,
        and EngineError for one that the memory does not hold; the model before then goes on to answer.
        """
        before = self._machine.current
        base = self._machine.use(path)
        self._variants.come_back()
        self.note()
        if self._machine.current is not before:
            self._difficulties.cancel()  # it measures with the model before; what it has found is kept for that one
            threading.Thread(target=self._follow, name="switch", daemon=True).start()
        return base

    def renew(self) -> None:
        """Open the model that answers once more, with the engine that is fastest now. Raises what `use` raises."""
        self._machine.renew()
        self._load_live()

    def note(self) -> None:
        """Keep the fingerprint of the model that answers, so that the list can say how long it trains."""
        path, fingerprint = str(self._machine.path), self._machine.fingerprint
        known = self._fingerprints()
        if fingerprint and known.get(path) != fingerprint:
            kept = {**known, path: fingerprint}
            self._store.state.set(FINGERPRINTS, dict(list(kept.items())[-MOST:]))

    def fingerprint_of(self, path: Path) -> str:
        """The fingerprint that a model had when it was open last; empty for one that never was."""
        return self._fingerprints().get(str(path), "")

    def _fingerprints(self) -> dict[str, str]:
        return self._store.state.read(FINGERPRINTS, dict[str, str], {})

    def _follow(self) -> None:
        """Load the live adapter, warm the trainer, and make up for what had to wait for this model."""
        for step in (self._load_live, self._training.warm, self._training.adopt):
            _quietly(step)

    def _load_live(self) -> None:
        with self._machine.lease() as model:
            model.engine.load(self._variants.get(model=model))


def _quietly(step: Callable[[], None]) -> None:
    """What fails here is said where it is asked for."""
    try:
        step()
    except ChatlabError as error:
        log.warning("%s %s", error, error.hint)
