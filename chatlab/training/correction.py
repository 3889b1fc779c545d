"""A correction: a few steps on one new demonstration, with others replayed, going on from the adapter there is.

A run from the base learns how to answer; what exactly to answer takes it many more passes than it makes. A correction
reads its demonstration in every step, and so is followed after a few, while what the adapter knows is held by replayed
demonstrations and the KL penalty.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from chatlab.errors import NothingToLearn
from chatlab.measurements import Step
from chatlab.quality.questions import questions_of
from chatlab.quality.words import content, same_question
from chatlab.records import Message, TrainSettings
from chatlab.system.lines import json_lines
from chatlab.template import Template
from chatlab.training import metrics
from chatlab.training.data import Split, read_examples
from chatlab.training.evaluator import FinalMetrics
from chatlab.training.model import LoraModel
from chatlab.training.process.runs import Forgetting, write_json
from chatlab.training.resources import TrainingResources

WINDOWS_AT_ONCE = 2
"""Measured before it is asked again whether somebody waits."""


def read_correction(
    snapshot: Path, template: Template, settings: TrainSettings, context: int, corrections: Sequence[int]
) -> tuple[Split, list[tuple[int, ...]]]:
    """The examples of a correction, and for each step the indices of those it reads: the new one, then replayed ones.

    The last of `corrections` is learned; the others were, since the last run from the base, and make up half of what is
    replayed, as they have been read least. What answers the same question is not replayed: it may be the very answer
    that is corrected. Raises NothingToLearn where the new one cannot be used.
    """
    *earlier, new = corrections
    known = _others(snapshot, new)
    recent = [id for id in known if id in set(earlier)]
    older = [id for id in known if id not in set(corrections)]
    replayed = [
        _draw(recent, older, settings.batch_size - 1, random.Random(f"replay {settings.seed} {number}"))
        for number in range(settings.epochs)
    ]
    wanted = {new, *(id for step in replayed for id in step)}
    split = read_examples(snapshot, template, settings, context, wanted)
    indices: dict[int, list[int]] = {id: [] for id in wanted}
    for index, example in enumerate(split.train):
        indices[example.demonstration].append(index)
    if not indices[new]:
        raise NothingToLearn(
            f"It cannot be learned: {split.dropped[0].reason if split.dropped else 'it has no answer'}.",
            "Shorten or correct the demonstration.",
        )
    return split, [tuple(index for id in (new, *step) for index in indices[id]) for step in replayed]


def measure_forgetting(resources: TrainingResources, run: Path, waited_for: Callable[[], bool]) -> bool:
    """Measure what a correction that is live by now forgot, and keep it in its folder.

    Gives up as soon as the trainer is `waited_for`; whether it came to the end.
    """
    model, text = resources.current_model(), resources.text
    parts = []
    for first in range(0, len(text), WINDOWS_AT_ONCE):
        if waited_for():
            return False
        parts.append(metrics.nll(model, text[first : first + WINDOWS_AT_ONCE]))
    base, after = resources.base_nll(), metrics.joined(parts)
    found = Forgetting(per_cent=metrics.forgetting(base, after), interval=metrics.interval(base, after))
    write_json(run / "forgetting.json", asdict(found))
    return True


class CorrectionEvaluator:
    """Measures how likely the new answer is before the first step. Forgetting is measured once the adapter is live."""

    def __init__(self, model: LoraModel, split: Split, steps: Sequence[Sequence[int]]) -> None:
        self._model = model
        new = split.train[steps[0][0]].demonstration
        self._examples = [example for example in split.train if example.demonstration == new]
        self._steps = len(steps)

    def before_training(self) -> Step:
        """Step 0: the loss on the new demonstration."""
        return Step(step=0, steps=self._steps, loss=metrics.nll(self._model, self._examples).mean)

    def is_eval_step(self, step: int) -> bool:
        """Never: there are too few steps to choose among."""
        return False

    def quick_eval(self, step: int) -> dict[str, Any]:
        """Nothing."""
        return {}

    def final(self, step: int) -> FinalMetrics:
        """Nothing that a person should wait for."""
        return FinalMetrics()


def _others(snapshot: Path, new: int) -> list[int]:
    """Of a snapshot, the demonstrations that do not answer the last question of the new one."""
    asked: dict[int, list[str]] = {}
    for _, row in json_lines(snapshot):
        if row is not None and {"id", "messages"} <= row.keys():
            asked[row["id"]] = list(questions_of([Message.of(said) for said in row["messages"]]))
    question = next(iter(asked.get(new, [])[-1:]), "")
    own = content(question)

    def same(text: str) -> bool:
        words = content(text)
        return words == own or (2 * len(words & own) >= len(words | own) and same_question(text, question))

    return [id for id, texts in asked.items() if id == new or not any(map(same, texts))]


def _draw(recent: Sequence[int], older: Sequence[int], count: int, rng: random.Random) -> list[int]:
    """`count` demonstrations to replay, about half of them from `recent`; fewer where there are no more."""
    half = min(len(recent), max((count + 1) // 2, count - len(older)))
    return rng.sample(recent, half) + rng.sample(older, min(len(older), count - half))
