"""What a run learns from and how it is measured: the one place in which kinds of runs differ."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from chatlab.models.base import Base
from chatlab.training.correction import CorrectionEvaluator, read_correction
from chatlab.training.data import Split, read_examples, schedule
from chatlab.training.evaluator import Evaluator, RunEvaluator
from chatlab.training.loop import Loss
from chatlab.training.preferences.pairs import read_preferences
from chatlab.training.preferences.task import PreferenceTask
from chatlab.training.process.runs import Dropped, Request
from chatlab.training.resources import TrainingResources
from chatlab.training.sft import SFTLoss


class Task(Protocol):
    """Read from a run's folder before the model is ready; `loss` and `evaluator` are asked for once it is, holding the
    adapter that the run begins with.
    """

    @property
    def examples(self) -> Sequence[Any]:
        """What steps read, as the loss takes it."""

    @property
    def steps(self) -> Sequence[Sequence[int]]:
        """For each step the indices of its examples."""

    @property
    def learned(self) -> tuple[int, ...]:
        """Ids of what is learned."""

    @property
    def held_out(self) -> tuple[int, ...]:
        """Ids of what is held out to measure on."""

    @property
    def questions(self) -> int:
        """How many different questions there are among both."""

    @property
    def held_out_questions(self) -> int:
        """How many of them are held out."""

    @property
    def dropped(self) -> tuple[Dropped, ...]:
        """What could not be used, and why."""

    @property
    def is_usual(self) -> bool:
        """Whether it is a whole run on demonstrations, by which the next one's time can be told."""

    def loss(self, resources: TrainingResources) -> Loss[Any]:
        """What is minimised."""

    def evaluator(self, resources: TrainingResources) -> Evaluator:
        """What is measured, and when."""


class SFTTask:
    """Learns demonstrations, all or one of them."""

    def __init__(self, request: Request, split: Split, steps: Sequence[Sequence[int]]) -> None:
        self._request, self._split = request, split
        self.examples, self.steps, self.dropped = split.train, steps, split.dropped
        self.learned = tuple(dict.fromkeys(example.demonstration for example in split.train))
        self.held_out = tuple(dict.fromkeys(example.demonstration for example in split.held_out))
        self.questions, self.held_out_questions = split.questions, split.held_out_questions
        self.is_usual = not request.corrections

    def loss(self, resources: TrainingResources) -> SFTLoss:
        settings = self._request.settings
        return SFTLoss(settings, resources.kl_reference() if settings.kl_weight > 0 else None)

    def evaluator(self, resources: TrainingResources) -> Evaluator:
        if self._request.corrections:
            return CorrectionEvaluator(resources.current_model(), self._split, self.steps)
        return RunEvaluator(resources, self._request.settings, self._split)


def read_task(request: Request, snapshot: Path, base: Base) -> Task:
    """What the snapshot holds, tokenised. Raises NothingToLearn."""
    settings, template, context = request.settings, base.template, base.context
    if request.preferences:
        return PreferenceTask(request, read_preferences(snapshot, template, settings, context))
    if request.corrections:
        return SFTTask(request, *read_correction(snapshot, template, settings, context, request.corrections))
    split = read_examples(snapshot, template, settings, context)
    return SFTTask(request, split, schedule(len(split.train), settings))
