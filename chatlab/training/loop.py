"""The training loop, whole: what a run computes, step by step, and nothing else."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence

import torch

from chatlab.records import Step, TrainSettings
from chatlab.training.batches import Row, collate, pieces, schedule
from chatlab.training.hands import Hands
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

    Demonstrations and leash are read at the same time, if the learner has two hands. That leaves the result the same to
    the last bit as long as a sum has two parts; with more pieces, their order would matter.
    """
    own = learner.accelerator
    cut = pieces(batch, max(settings.accumulate, own.num_processes))
    hands = learner.hands if len(cut) == 1 else Hands(1)
    learned = sum(row.learned for row in batch)
    texts = leash.drawn(number, settings.leash_texts, settings.seed) if leash and settings.leash else []
    loss = pull = 0.0
    for place in range(own.process_index, len(cut), own.num_processes):
        reads = texts[place :: len(cut)]
        held = hands.start(hold, learner, leash, reads, settings.leash, len(texts)) if leash and reads else None
        loss += study(learner, cut[place], learned)
        pull += held() if held else 0.0
    return loss, pull


def study(learner: Learner, rows: Sequence[Row], learned: int) -> float:
    """Gradient and value of these rows' part in the loss of a step that has `learned` labels in all."""
    line = collate(rows)
    loss = next_token_loss(learner.hidden(line)[line.at], learner.head, line.labels) / learned
    loss.backward()
    return loss.item()


def hold(learner: Learner, leash: Leash, texts: list[int], weight: float, count: int) -> float:
    """Gradient of `weight` times, and value of, these texts' part in the KL of a step that reads `count` texts."""
    pull = leash.loss(learner.hidden(leash.batch(texts)), learner.head, texts) / (count * leash.ids.shape[1])
    (weight * pull).backward()
    return pull.item()


def learning_rate(number: int, steps: int, peak: float) -> float:
    """Up a line for the first WARMUP of the steps, then down half a cosine to nearly nothing."""
    rise = max(1, round(WARMUP * steps))
    if number < rise:
        return peak * (number + 1) / rise
    return peak * 0.5 * (1 + math.cos(math.pi * (number - rise) / max(1, steps - rise)))
