"""What is measured of a run: before its first step, while it goes on, and at its end, always by the same code."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from chatlab.measurements import PreferenceMetrics, Step
from chatlab.records import TrainSettings
from chatlab.training import metrics
from chatlab.training.data import Split, schedule
from chatlab.training.defaults import is_evaluated
from chatlab.training.kl import KLToReference
from chatlab.training.resources import TrainingResources

STAND_INS = 4
"""Training examples measured where there are too few demonstrations to hold any out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FinalMetrics:
    """What has become of the model; None for what was not measured."""

    held_out_loss: float | None = None
    """On held-out demonstrations; None where there are none."""
    forgetting: float | None = None
    interval: tuple[float, float] | None = None
    kl: float | None = None
    preferences: PreferenceMetrics | None = None
    """Of a run on preferences with pairs held out."""


class Evaluator(Protocol):
    """What a run measures, and when."""

    def before_training(self) -> Step:
        """Step 0."""

    def is_eval_step(self, step: int) -> bool:
        """Whether to evaluate after this step."""

    def quick_eval(self, step: int) -> dict[str, Any]:
        """Fields of a Step."""

    def final(self, step: int) -> FinalMetrics:
        """After the run's last step."""


class RunEvaluator:
    """Measures the model at work on the run's own examples and on general text."""

    def __init__(self, resources: TrainingResources, settings: TrainSettings, split: Split) -> None:
        self._resources = resources
        self._model = resources.current_model()
        self._split = split
        self._steps = len(schedule(len(split.train), settings))
        self._shown = split.held_out or split.train[:STAND_INS]
        self._kl = KLToReference(self._model, self._shown)
        self._final: tuple[int, FinalMetrics] = (-1, FinalMetrics())

    def before_training(self) -> Step:
        """Step 0. The adapter changes nothing yet, and the measurements say so: no forgetting, to the bit."""
        forgetting = self._resources.untrained_forgetting()
        kl, loss = self._on_answers()
        held_out_loss = loss if self._split.held_out else None
        return Step(step=0, steps=self._steps, loss=loss, held_out_loss=held_out_loss, forgetting=forgetting, kl=kl)

    def is_eval_step(self, step: int) -> bool:
        """Whether to evaluate after this step."""
        return is_evaluated(step, self._steps)

    def quick_eval(self, step: int) -> dict[str, Any]:
        """Fields of a Step: of general text only a little is read, but for the last step, where this is `final`."""
        if step == self._steps:
            last = self.final(step)
            return {"held_out_loss": last.held_out_loss, "forgetting": last.forgetting, "kl": last.kl}
        kl, loss = self._on_answers()
        held_out_loss = loss if self._split.held_out else None
        return {"held_out_loss": held_out_loss, "forgetting": self._resources.quick_forgetting(), "kl": kl}

    def final(self, step: int) -> FinalMetrics:
        """After the run's last step, which may have been measured by now."""
        if self._final[0] != step:
            kl, loss = self._on_answers()
            forgetting, interval = self._resources.forgetting()
            held_out_loss = loss if self._split.held_out else None
            self._final = (
                step,
                FinalMetrics(held_out_loss=held_out_loss, kl=kl, forgetting=forgetting, interval=interval),
            )
        return self._final[1]

    def _on_answers(self) -> tuple[float | None, float]:
        """KL to the base and loss, on held-out demonstrations or their stand-ins."""
        kl, loss = self._kl.with_loss()
        if loss is None or not self._kl.has_all:
            loss = metrics.nll(self._model, self._shown).mean
        return kl, loss
