"""What is measured of a run on preferences: whether pairs that it never saw are ranked as the person ranked them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from chatlab.measurements import PreferenceMetrics, Step
from chatlab.records import TrainSettings
from chatlab.training.defaults import is_evaluated
from chatlab.training.evaluator import FinalMetrics
from chatlab.training.kl import KLToReference
from chatlab.training.preferences.loss import log_probs
from chatlab.training.preferences.pairs import Pair
from chatlab.training.resources import TrainingResources


class PairEvaluator:
    """Measures on held-out pairs against the adapter that the run began with, and forgetting against the base.

    Made while the model holds that adapter.
    """

    def __init__(
        self, resources: TrainingResources, settings: TrainSettings, held_out: Sequence[Any], steps: int
    ) -> None:
        self._resources, self._settings, self._steps = resources, settings, steps
        self._model = resources.current_model()
        self._pairs = [one for one in held_out if isinstance(one, Pair)]
        self._before = log_probs(self._model, self._pairs)
        self._kl = KLToReference(self._model, [pair.chosen for pair in self._pairs], to_base=False)
        self._final: tuple[int, FinalMetrics] = (-1, FinalMetrics())

    def before_training(self) -> Step:
        """Step 0: the adapter that the run begins with."""
        found = self._measured(self._before, 0.0)
        return Step(
            step=0,
            steps=self._steps,
            loss=0.0,
            forgetting=self._resources.quick_forgetting(),
            kl=0.0 if self._pairs else None,
            held_out_accuracy=found.by_log_prob / found.pairs if found else None,
            held_out_margin=0.0 if found else None,
        )

    def is_eval_step(self, step: int) -> bool:
        """Whether to evaluate after this step."""
        return is_evaluated(step, self._steps)

    def quick_eval(self, step: int) -> dict[str, Any]:
        """Fields of a Step."""
        if step == self._steps:
            last, found = self.final(step), self._final[1].preferences
            forgetting, kl = last.forgetting, last.kl
        else:
            forgetting, kl = self._resources.quick_forgetting(), self._kl.mean()
            found = self._measured(log_probs(self._model, self._pairs), kl)
        accuracy, margin = (found.by_reward / found.pairs, found.margin) if found else (None, None)
        return {"forgetting": forgetting, "kl": kl, "held_out_accuracy": accuracy, "held_out_margin": margin}

    def final(self, step: int) -> FinalMetrics:
        """After the run's last step, which may have been measured by now."""
        if self._final[0] != step:
            (forgetting, interval), kl = self._resources.forgetting(), self._kl.mean()
            self._final = (
                step,
                FinalMetrics(
                    forgetting=forgetting,
                    interval=interval,
                    kl=kl,
                    preferences=self._measured(log_probs(self._model, self._pairs), kl),
                ),
            )
        return self._final[1]

    def _measured(self, after: Sequence[tuple[float, ...]], kl: float | None) -> PreferenceMetrics | None:
        """Of these log-probabilities of the held-out pairs against those before; None where none are held out."""
        if not self._pairs:
            return None
        tokens = sum(pair.chosen.num_labels for pair in self._pairs)
        margins = [(a[0] - b[0]) - (a[1] - b[1]) for a, b in zip(after, self._before, strict=True)]
        lengths = [pair.chosen.num_labels - pair.rejected.num_labels for pair in self._pairs]
        return PreferenceMetrics(
            pairs=len(self._pairs),
            prompts=len({pair.group for pair in self._pairs}),
            by_log_prob_before=sum(chosen > rejected for chosen, rejected in self._before),
            by_log_prob=sum(chosen > rejected for chosen, rejected in after),
            by_reward=sum(margin > 0 for margin in margins),
            by_length=sum(longer > 0 for longer in lengths),
            margin=self._settings.beta * sum(margins) / len(margins),
            chosen_before=sum(chosen for chosen, _ in self._before) / tokens,
            chosen_after=sum(chosen for chosen, _ in after) / tokens,
            kl=kl or 0.0,
        )
