"""The training loop, whole: what a run computes, step by step, and nothing else."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence

import torch

from chatlab.records import Step, TrainSettings
from chatlab.training.batches import Row, collate, joined, pieces, schedule
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
    cutting it into pieces nor spreading it over processes changes it.

    Demonstrations and leash are read in one go: starting operations costs a small base more than computing them.
    """
    own = learner.accelerator
    cut = pieces(batch, max(settings.accumulate, own.num_processes))
    learned = sum(row.learned for row in batch)
    texts = leash.drawn(number, settings.leash_texts, settings.seed) if leash and settings.leash else []
    loss = pull = 0.0
    for place in range(own.process_index, len(cut), own.num_processes):
        reads, line = texts[place :: len(cut)], collate(cut[place])
        if leash and reads:
            line = joined(leash.batch(reads), line)
        hidden = learner.hidden(line)
        part = next_token_loss(hidden[line.at], learner.head, line.labels) / learned
        loss += part.item()
        if leash and reads:
            held = leash.loss(hidden, learner.head, reads) / (len(texts) * leash.width)
            pull += held.item()
            part = part + settings.leash * held
        part.backward()
    return loss, pull


def learning_rate(number: int, steps: int, peak: float) -> float:
    """Up a line for the first WARMUP of the steps, then down half a cosine to nearly nothing."""
    rise = max(1, round(WARMUP * steps))
    if number < rise:
        return peak * (number + 1) / rise
    return peak * 0.5 * (1 + math.cos(math.pi * (number - rise) / max(1, steps - rise)))
