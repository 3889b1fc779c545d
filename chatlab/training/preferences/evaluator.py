"""What is measured of a run on preferences: whether pairs that it never saw are ranked as the person ranked them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from chatlab.measurements import AnswerTokens, PairTokens, PreferenceMetrics, Step
from chatlab.records import TrainSettings
from chatlab.training.data import Example
from chatlab.training.defaults import is_evaluated
from chatlab.training.evaluator import FinalMetrics
from chatlab.training.kl import KLToReference
from chatlab.training.preferences.loss import Sides, log_probs_by_token
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
        self._before = log_probs_by_token(self._model, self._pairs)
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
            found = self._measured(log_probs_by_token(self._model, self._pairs), kl)
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
                    preferences=self._measured(log_probs_by_token(self._model, self._pairs), kl),
                ),
            )
        return self._final[1]

    def _measured(self, after: Sequence[Sides], kl: float | None) -> PreferenceMetrics | None:
        """Of these log-probabilities of the held-out pairs against those before; None where none are held out."""
        if not self._pairs:
            return None
        tokens = sum(pair.chosen.num_labels for pair in self._pairs)
        before, now = _sums(self._before), _sums(after)
        margins = [(a[0] - b[0]) - (a[1] - b[1]) for a, b in zip(now, before, strict=True)]
        lengths = [pair.chosen.num_labels - pair.rejected.num_labels for pair in self._pairs]
        return PreferenceMetrics(
            pairs=len(self._pairs),
            prompts=len({pair.group for pair in self._pairs}),
            by_log_prob_before=sum(chosen > rejected for chosen, rejected in before),
            by_log_prob=sum(chosen > rejected for chosen, rejected in now),
            by_reward=sum(margin > 0 for margin in margins),
            by_length=sum(longer > 0 for longer in lengths),
            margin=self._settings.beta * sum(margins) / len(margins),
            chosen_before=sum(chosen for chosen, _ in before) / tokens,
            chosen_after=sum(chosen for chosen, _ in now) / tokens,
            kl=kl or 0.0,
            examples=tuple(self._shown(number, after[number]) for number in _telling(margins)),
        )

    def _shown(self, number: int, after: Sides) -> PairTokens:
        pair, before = self._pairs[number], self._before[number]
        chosen, rejected = (
            AnswerTokens(texts=self._texts(example), before=_rounded(old), after=_rounded(new))
            for example, old, new in zip((pair.chosen, pair.rejected), before, after, strict=True)
        )
        return PairTokens(preference=pair.id, prompt=pair.asked, chosen=chosen, rejected=rejected)

    def _texts(self, example: Example) -> tuple[str, ...]:
        """What each labelled token adds; one in the middle of a character adds nothing, and the last of it all."""
        decode = self._resources.base.template.text
        ids = list(example.ids[len(example.ids) - example.num_labels :])
        texts, said = [], ""
        for end in range(1, len(ids) + 1):
            grown = decode(ids[:end])
            whole = grown if not grown.endswith("\ufffd") or end == len(ids) else said
            texts.append(whole[len(said) :])
            said = whole
        return tuple(texts)


def _sums(sides: Sequence[Sides]) -> list[tuple[float, float]]:
    return [(math.fsum(chosen), math.fsum(rejected)) for chosen, rejected in sides]


def _telling(margins: Sequence[float]) -> list[int]:
    """Indices of the largest, the median and the smallest; each once."""
    order = sorted(range(len(margins)), key=lambda number: -margins[number])
    return list(dict.fromkeys((order[0], order[len(order) // 2], order[-1])))


def _rounded(values: Sequence[float]) -> tuple[float, ...]:
    return tuple(round(value, 3) for value in values)
