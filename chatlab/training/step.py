"""One optimizer step as the objectives share it: what is learned, and the KL penalty's texts beside it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any

import torch
from torch import Tensor

from chatlab.records import TrainSettings
from chatlab.training.kl import KLReference
from chatlab.training.loop import Metrics
from chatlab.training.model import LoraModel
from chatlab.training.packing import Batch, concat

Pack = Callable[[Sequence[Any]], Batch]
"""Some of a step's examples, packed."""
Grade = Callable[[Tensor, Batch, Sequence[Any]], tuple[Tensor, Metrics]]
"""From hidden states (N, H), the batch, and the examples whose labels it holds: their part of the step's mean loss, and
of its metrics."""


class PenalisedStep:
    """Items are the examples first, then the texts. Both are read in one forward pass: starting operations costs a
    small base more than computing them.
    """

    def __init__(
        self,
        model: LoraModel,
        examples: Sequence[Any],
        number: int,
        settings: TrainSettings,
        kl: KLReference | None,
        pack: Pack,
        grade: Grade,
    ) -> None:
        """Step `number`, from 0. The texts are read unless `kl_weight` is 0; each example has a `length`, in tokens."""
        self._model, self._examples, self._pack, self._grade = model, examples, pack, grade
        self._kl_weight = settings.kl_weight
        self._kl = kl if settings.kl_weight else None
        self._texts = self._kl.sample(number, settings.kl_samples, settings.seed) if self._kl else []

    @property
    def sizes(self) -> list[int]:
        return [example.length for example in self._examples] + [self._kl.width if self._kl else 0] * len(self._texts)

    @property
    def tokens(self) -> int:
        return sum(example.length for example in self._examples)

    def micro_batch(self, items: Sequence[int]) -> tuple[Tensor, Metrics]:
        """These items' part of the loss, and of its metrics; `loss` is without the penalty, which is `kl`."""
        examples = [self._examples[i] for i in items if i < len(self._examples)]
        texts = [self._texts[i - len(self._examples)] for i in items if i >= len(self._examples)]
        packed = [self._kl.batch(texts)] if self._kl and texts else []
        batch = reduce(concat, [*packed, self._pack(examples)] if examples else packed)
        hidden = self._model.hidden(batch)
        loss, metrics = hidden.new_zeros((), dtype=torch.float32), {"loss": 0.0, "kl": 0.0}
        if examples:
            loss, more = self._grade(hidden, batch, examples)
            metrics |= {"loss": loss.item(), **more}
        if self._kl and texts:
            kl = self._kl.loss(hidden, self._model.head, texts) / (len(self._texts) * self._kl.width)
            metrics["kl"] = kl.item()
            loss = loss + self._kl_weight * kl
        return loss, metrics
