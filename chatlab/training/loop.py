"""The training loop, whole: what a run computes, step by step, and nothing else."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from chatlab.errors import TrainingError
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
STEEP, HEAVY = 64, 1e4
"""Alpha in parts of the rank, and KL weight, above which they are to blame for a run that diverges."""
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

    Every random choice follows from the seed and the step's number, so going on equals never having stopped. Raises
    TrainingError, which says what to change, at the first number that is none.
    """
    steps = steps or schedule(len(examples), settings)
    began = time.perf_counter() - seconds
    for number in range(done, len(steps)):
        torch.manual_seed(settings.seed * 1_000_003 + number)  # Only dropout draws from it.
        batch = loss.step(model, [examples[i] for i in steps[number]], number)
        lr = learning_rate(number, len(steps), settings)
        metrics = compute_gradients(model, batch, settings.grad_accumulation)
        step = Step(
            step=number + 1,
            steps=len(steps),
            loss=metrics["loss"],
            kl_penalty=metrics.get("kl", 0.0),
            accuracy=metrics.get("accuracy"),
            margin=metrics.get("margin"),
            learning_rate=lr,
            tokens=batch.tokens,
        )
        check_finite(step, settings)
        model.step(lr, settings.max_grad_norm)
        if not bool(model.flat.isfinite().all()):
            raise _diverged(step.step, "the adapter went out of bounds", settings)
        measured: dict[str, Any] = evaluate(step.step, step.steps)
        step = replace(step, seconds=time.perf_counter() - began, **measured)
        check_finite(step, settings)
        yield step


def check_finite(step: Step, settings: TrainSettings) -> None:
    """Raises TrainingError, which names the setting to change, for a step of which a number is none."""
    numbers = {
        "loss": step.loss,
        "KL penalty": step.kl_penalty,
        "held-out loss": step.held_out_loss,
        "forgetting": step.forgetting,
        "KL divergence": step.kl,
    }
    odd = next((name for name, value in numbers.items() if value is not None and not math.isfinite(value)), None)
    if odd is not None and step.step == 0:
        raise TrainingError(
            f"The {odd} of the base itself is {numbers[odd]}: it does not compute on these demonstrations.",
            "Choose another base model.",
        )
    if odd is not None:
        raise _diverged(step.step, f"its {odd} was {numbers[odd]}", settings)


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


def _diverged(step: int, what: str, settings: TrainSettings) -> TrainingError:
    """Names the setting that sends numbers out of bounds."""
    change = "lower"
    if not settings.adam_epsilon > 0:
        why, change = f"Adam's epsilon of {settings.adam_epsilon:g} is too low", "higher"
    elif settings.alpha > STEEP * settings.rank:
        why = f"An alpha of {settings.alpha:g} is too high for a rank of {settings.rank}"
    elif settings.kl_weight > HEAVY:
        why = f"A KL weight of {settings.kl_weight:g} is too high"
    else:
        why = f"The learning rate of {settings.learning_rate:g} is too high"
    return TrainingError(
        f"The run was stopped: at step {step} {what}. {why}.",
        f"Nothing was published. Start a new run with a {change} one.",
    )
