"""Supervised fine-tuning: cross-entropy of the answers' tokens, with a KL penalty to the base."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from chatlab.records import TrainSettings
from chatlab.training.data import Example
from chatlab.training.kl import KLReference
from chatlab.training.loop import Metrics
from chatlab.training.loss import next_token_loss
from chatlab.training.model import LoraModel
from chatlab.training.packing import Batch, collate
from chatlab.training.step import PenalisedStep


@dataclass(frozen=True, slots=True)
class SFTLoss:
    """Mean cross-entropy of the labels + kl_weight x mean KL(base || adapter) on texts that the base wrote."""

    settings: TrainSettings
    kl: KLReference | None = None
    """None, or a `kl_weight` of 0, for no penalty."""

    def step(self, model: LoraModel, examples: Sequence[Example], number: int) -> PenalisedStep:
        """The examples, and the texts whose turn it is."""
        labels = sum(example.num_labels for example in examples)

        def grade(hidden: Tensor, batch: Batch, _: Sequence[Example]) -> tuple[Tensor, Metrics]:
            return next_token_loss(hidden[batch.label_positions], model.head, batch.labels) / labels, {}

        return PenalisedStep(model, examples, number, self.settings, self.kl, collate, grade)
