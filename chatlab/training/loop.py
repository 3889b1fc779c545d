"""The training loop, whole: what a run computes, step by step, and nothing else."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor

from chatlab.records import Step, TrainSettings
from chatlab.training.batches import Batch, Row, collate, dealt, joined, schedule
from chatlab.training.learner import Learner
from chatlab.training.leash import Leash
from chatlab.training.loss import next_token_loss

Measure = Callable[[int, int], dict[str, float | None]]
"""Asked after each step, (step, steps): fields of Step that were measured there."""
WARMUP = 0.05
"""Share of the steps in which the learning rate rises."""


def train(
    learner: Learner, rows: Sequence[Row], settings: TrainSettings, leash: Leash | None, measure: Measure,
    *, done: int = 0, seconds: float = 0.0,
) -> Iterator[Step]:  # fmt: skip
    """Go on after step `done` to the end; the learner is in the state of the step that was yielded last.

    Every random choice follows from the seed and the step's number, so going on equals never having stopped.
    """
    steps = schedule(len(rows), settings)
    began = time.perf_counter() - seconds
    for number in range(done, len(steps)):
        torch.manual_seed(settings.seed * 1_000_003 + number)  # Only dropout asks.
        batch = [rows[i] for i in steps[number]]
        rate = learning_rate(number, len(steps), settings.learning_rate)
        loss, pull = gather(learner, batch, settings, leash, number)
        learner.update(rate, settings.clip)
        yield Step(
            step=number + 1, steps=len(steps), loss=loss, leash=pull, learning_rate=rate,
            tokens=sum(len(row.ids) for row in batch), seconds=time.perf_counter() - began,
            **measure(number + 1, len(steps)),
        )  # fmt: skip


def gather(
    learner: Learner, batch: Sequence[Row], settings: TrainSettings, leash: Leash | None, number: int
) -> tuple[float, float]:
    """Gradients of one step, and its loss and KL. Both are means over the tokens of the whole step, so that neither
    cutting it into piles nor spreading it over hands and processes changes it.

    Demonstrations and leash are read in one go: starting operations costs a small base more than computing them.
    """
    own = learner.accelerator
    texts = leash.drawn(number, settings.leash_texts, settings.seed) if leash and settings.leash else []
    step = Pull(learner, batch, leash, texts, settings.leash)
    sizes = [len(row.ids) for row in batch] + [leash.width if leash else 0] * len(texts)
    piles = dealt(sizes, max(settings.accumulate, own.num_processes) * learner.hands.count)
    loss = pull = 0.0
    for part, held, grad in learner.hands.map(step.pile, piles[own.process_index :: own.num_processes]):
        learner.add(grad)
        loss, pull = loss + part, pull + held
    return loss, pull


@dataclass(frozen=True, slots=True)
class Pull:
    """What one step pulls at: demonstrations, and texts of the leash with their weight."""

    learner: Learner
    rows: Sequence[Row]
    leash: Leash | None
    texts: Sequence[int]
    weight: float

    def pile(self, pile: Sequence[int]) -> tuple[float, float, Tensor]:
        """Its part of the loss, of the KL, and of the gradient; `pile` counts the rows first, then the texts."""
        rows = [self.rows[i] for i in pile if i < len(self.rows)]
        reads = [self.texts[i - len(self.rows)] for i in pile if i >= len(self.rows)]
        line = self._line(rows, reads)
        hidden = self.learner.hidden(line)
        part = next_token_loss(hidden[line.at], self.learner.head, line.labels) / sum(r.learned for r in self.rows)
        loss, pull = part.item(), 0.0
        if self.leash and reads:
            held = self.leash.loss(hidden, self.learner.head, reads) / (len(self.texts) * self.leash.width)
            pull = held.item()
            part = part + self.weight * held
        return loss, pull, self.learner.gradient(part)

    def _line(self, rows: Sequence[Row], reads: Sequence[int]) -> Batch:
        """The leash's texts before the demonstrations."""
        lines = [self.leash.batch(reads)] if self.leash and reads else []
        return reduce(joined, [*lines, collate(rows)] if rows else lines)


def learning_rate(number: int, steps: int, peak: float) -> float:
    """Up a line for the first WARMUP of the steps, then down half a cosine to nearly nothing."""
    rise = max(1, round(WARMUP * steps))
    if number < rise:
        return peak * (number + 1) / rise
    return peak * 0.5 * (1 + math.cos(math.pi * (number - rise) / max(1, steps - rise)))
