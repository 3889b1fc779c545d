"""Supervised fine-tuning: cross-entropy of the answers' tokens, with a KL penalty to the base."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

from torch import Tensor

from chatlab.records import TrainSettings
from chatlab.training.data import Example
from chatlab.training.kl import KLReference
from chatlab.training.loop import Metrics
from chatlab.training.loss import next_token_loss
from chatlab.training.model import LoraModel
from chatlab.training.packing import collate, concat


@dataclass(frozen=True, slots=True)
class SFTLoss:
    """Mean cross-entropy of the labels + kl_weight x mean KL(base || adapter) on texts that the base wrote."""

    settings: TrainSettings
    kl: KLReference | None = None
    """None, or a `kl_weight` of 0, for no penalty."""

    def step(self, model: LoraModel, examples: Sequence[Example], number: int) -> SFTStep:
        """The examples, and the texts whose turn it is."""
        kl = self.kl if self.settings.kl_weight else None
        texts = kl.sample(number, self.settings.kl_samples, self.settings.seed) if kl else []
        return SFTStep(model, examples, kl, texts, self.settings.kl_weight)


@dataclass(frozen=True, slots=True)
class SFTStep:
    """One step's examples and KL texts. Items are the examples first, then the texts.

    Both are read in one forward pass: starting operations costs a small base more than computing them.
    """

    model: LoraModel
    examples: Sequence[Example]
    kl: KLReference | None
    texts: Sequence[int]
    kl_weight: float

    @property
    def sizes(self) -> list[int]:
        return [len(example.ids) for example in self.examples] + [self.kl.width if self.kl else 0] * len(self.texts)

    @property
    def tokens(self) -> int:
        return sum(len(example.ids) for example in self.examples)

    def micro_batch(self, items: Sequence[int]) -> tuple[Tensor, Metrics]:
        """These items' part of the loss, and of the means `loss` and `kl`."""
        examples = [self.examples[i] for i in items if i < len(self.examples)]
        texts = [self.texts[i - len(self.examples)] for i in items if i >= len(self.examples)]
        packed = [self.kl.batch(texts)] if self.kl and texts else []
        batch = reduce(concat, [*packed, collate(examples)] if examples else packed)
        hidden, head = self.model.hidden(batch), self.model.head
        labels = sum(example.num_labels for example in self.examples)
        loss = next_token_loss(hidden[batch.label_positions], head, batch.labels) / labels
        metrics = {"loss": loss.item(), "kl": 0.0}
        if self.kl and texts:
            kl = self.kl.loss(hidden, head, texts) / (len(self.texts) * self.kl.width)
            metrics["kl"] = kl.item()
            loss = loss + self.kl_weight * kl
        return loss, metrics
