"""What is measured of a run: before its first step, while it goes on, and at its end, always by the same code."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from chatlab.measurements import Step
from chatlab.records import TrainSettings
from chatlab.training import metrics
from chatlab.training.data import Split, schedule
from chatlab.training.defaults import evaluations
from chatlab.training.kl import KLToBase
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
        self._kl = KLToBase(self._model, split.held_out or split.train[:STAND_INS])
        self._base = resources.base_nll(quick=True)
        self._last: tuple[int, dict[str, Any]] = (-1, {})

    def before_training(self) -> Step:
        """Step 0. The adapter changes nothing yet, and the measurements say so: no forgetting, to the bit."""
        shown = self._split.held_out or self._split.train[:STAND_INS]
        loss = metrics.nll(self._model, shown).mean
        forgetting = self._quick_forgetting()
        if forgetting != 0:  # what the cache says of the base was measured otherwise than it would be now
            self._base = self._resources.base_nll(quick=True, anew=True)
            forgetting = self._quick_forgetting()
        return Step(
            step=0,
            steps=self._steps,
            loss=loss,
            held_out_loss=loss if self._split.held_out else None,
            forgetting=forgetting,
            kl=self._kl.mean(),
        )

    def is_eval_step(self, step: int) -> bool:
        """Whether to evaluate after this step."""
        count = evaluations(self._steps)
        return step * count // self._steps > (step - 1) * count // self._steps

    def quick_eval(self, step: int) -> dict[str, Any]:
        """Fields of a Step: of general text, only a little is read."""
        measured = {
            "held_out_loss": self._held_out_loss(),
            "forgetting": self._quick_forgetting(),
            "kl": self._kl.mean(),
        }
        self._last = step, measured
        return measured

    def final(self, step: int) -> FinalMetrics:
        """After the run's last step. What a quick evaluation of that same step measured is taken over."""
        base = self._resources.base_nll()
        after = metrics.nll(self._model, self._resources.text)
        evaluated, measured = self._last
        if evaluated != step:
            measured = {"held_out_loss": self._held_out_loss(), "kl": self._kl.mean()}
        return FinalMetrics(
            held_out_loss=measured["held_out_loss"],
            kl=measured["kl"],
            forgetting=metrics.forgetting(base, after),
            interval=metrics.interval(base, after),
        )

    def _held_out_loss(self) -> float | None:
        return metrics.nll(self._model, self._split.held_out).mean if self._split.held_out else None

    def _quick_forgetting(self) -> float:
        return metrics.forgetting(self._base, metrics.nll(self._model, self._resources.quick_text))
