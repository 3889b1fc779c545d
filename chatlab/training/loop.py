"""The training loop, whole: what a run computes, step by step, and nothing else."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from chatlab.measurements import Step
from chatlab.records import TrainSettings
from chatlab.training.data import balance, schedule
from chatlab.training.model import LoraModel

T_contra = TypeVar("T_contra", contravariant=True)
T = TypeVar("T")
Metrics = Mapping[str, float]
"""Named values of a step; those of its micro-batches are added up. `loss` is among them."""
Evaluate = Callable[[int, int], dict[str, float | None]]
"""Called after each step with (step, steps): fields of Step that were measured there."""
WARMUP = 0.05
"""Share of the steps in which the learning rate rises."""


class StepBatch(Protocol):
    """What one optimizer step reads, in items (sequences) that may be computed in any groups."""

    @property
    def sizes(self) -> Sequence[int]:
        """Tokens of each item, by which they are balanced over micro-batches."""

    @property
    def tokens(self) -> int:
        """Tokens of the examples, padding not counted."""

    def micro_batch(self, items: Sequence[int]) -> tuple[Tensor, Metrics]:
        """The part of the step's loss that these items make, to be differentiated, and its metrics.

        Both are parts of means over the whole step, so that neither cutting it into micro-batches nor spreading it
        over threads and processes changes their sum.
        """


class Loss(Protocol[T_contra]):
    """What training minimises. `SFTLoss` is supervised fine-tuning; another objective is another of these."""

    def step(self, model: LoraModel, examples: Sequence[T_contra], number: int) -> StepBatch:
        """Make step `number` (from 0) ready; whatever is random in it follows from the number."""


def train(
    model: LoraModel,
    examples: Sequence[T],
    settings: TrainSettings,
    loss: Loss[T],
    evaluate: Evaluate,
    *,
    steps: Sequence[Sequence[int]] = (),
    done: int = 0,
    seconds: float = 0.0,
) -> Iterator[Step]:
    """Go on after step `done` to the end; the model is in the state of the step that was yielded last.

    `steps` are the indices of each step's examples; those of `schedule` unless given.

    Every random choice follows from the seed and the step's number, so going on equals never having stopped.
    """
    steps = steps or schedule(len(examples), settings)
    began = time.perf_counter() - seconds
    for number in range(done, len(steps)):
        torch.manual_seed(settings.seed * 1_000_003 + number)  # Only dropout draws from it.
        batch = loss.step(model, [examples[i] for i in steps[number]], number)
        lr = learning_rate(number, len(steps), settings)
        metrics = compute_gradients(model, batch, settings.grad_accumulation)
        model.step(lr, settings.max_grad_norm)
        measured: dict[str, Any] = evaluate(number + 1, len(steps))
        yield Step(
            step=number + 1,
            steps=len(steps),
            loss=metrics["loss"],
            kl_penalty=metrics.get("kl", 0.0),
            accuracy=metrics.get("accuracy"),
            margin=metrics.get("margin"),
            learning_rate=lr,
            tokens=batch.tokens,
            seconds=time.perf_counter() - began,
            **measured,
        )


def compute_gradients(model: LoraModel, batch: StepBatch, grad_accumulation: int = 1) -> dict[str, float]:
    """Accumulate the gradients of one step; its metrics."""
    own = model.accelerator
    micro_batches = balance(batch.sizes, max(grad_accumulation, own.num_processes) * model.workers.count)

    def compute(items: Sequence[int]) -> tuple[Tensor, Metrics]:
        loss, metrics = batch.micro_batch(items)
        return model.backward(loss), metrics

    total: dict[str, float] = {}
    for grad, metrics in model.workers.map(compute, micro_batches[own.process_index :: own.num_processes]):
        model.accumulate(grad)
        for name, value in metrics.items():
            total[name] = total.get(name, 0.0) + value
    return total


def learning_rate(number: int, steps: int, settings: TrainSettings) -> float:
    """Linear warm-up over the first WARMUP of the steps, then half a cosine down to nearly nothing; or constant."""
    peak = settings.learning_rate
    if settings.lr_scheduler_type == "constant":
        return peak
    rise = max(1, round(WARMUP * steps))
    if number < rise:
        return peak * (number + 1) / rise
    return peak * 0.5 * (1 + math.cos(math.pi * (number - rise) / max(1, steps - rise)))
