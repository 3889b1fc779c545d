"""The loss of a run on preferences: an objective on whole answers' log-probabilities, with a KL penalty to the base."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from chatlab.records import TrainSettings
from chatlab.training.data import Example
from chatlab.training.kl import KLReference
from chatlab.training.loop import Metrics
from chatlab.training.loss import token_losses
from chatlab.training.model import LoraModel
from chatlab.training.packing import Batch, collate, concat, shares
from chatlab.training.preferences.objectives import PAIRED, UNPAIRED, WITHOUT_REFERENCE, AnswerScores, PairScores
from chatlab.training.preferences.pairs import Judged, Pair
from chatlab.training.step import PenalisedStep

References = Mapping[int, tuple[float, ...]]
"""Log-probabilities under the reference, by the id of a pair (chosen, rejected) or of a judged answer."""

Sides = tuple[list[float], list[float]]
"""Log-probabilities of the tokens of a chosen and of a rejected answer."""


class Scored(NamedTuple):
    """Sequences' log-probabilities (S,), summed over labels, and how many labels each has (S,)."""

    log_probs: Tensor
    tokens: Tensor


class Compared(Protocol):
    """A pair or a judged answer."""

    @property
    def id(self) -> int: ...

    @property
    def sequences(self) -> tuple[Example, ...]: ...

    @property
    def length(self) -> int: ...


def pack(compared: Sequence[Compared]) -> Batch:
    """Each pair packed by itself, so that its prompt is computed once for both answers."""
    return reduce(concat, (collate(one.sequences) for one in compared))


def score(hidden: Tensor, head: Tensor, batch: Batch, compared: Sequence[Compared]) -> Scored:
    """Log-probabilities of the sequences of `compared`, whose labels are those of `batch`, in this order."""
    sequences = [example for one in compared for example in one.sequences]
    counts = torch.tensor([example.num_labels for example in sequences], device=hidden.device)
    owner = torch.repeat_interleave(torch.arange(len(sequences), device=hidden.device), counts)
    losses = token_losses(hidden[batch.label_positions], head, batch.labels)
    return Scored(hidden.new_zeros(len(sequences), dtype=torch.float32).index_add(0, owner, -losses), counts)


def log_probs(model: LoraModel, compared: Sequence[Compared]) -> list[tuple[float, ...]]:
    """Of each pair (chosen, rejected), or of each judged answer, as the adapter is now."""
    found: dict[int, tuple[float, ...]] = {}

    @torch.no_grad()
    def compute(some: Sequence[Compared]) -> list[tuple[int, tuple[float, ...]]]:
        batch = pack(some)
        sums = score(model.hidden(batch), model.head, batch, some).log_probs.tolist()
        return list(zip((one.id for one in some), _by_side(some, sums), strict=True))

    with model.merged():
        for part in model.workers.map(compute, shares(compared, model.workers.count)):
            found.update(part)
    return [found[one.id] for one in compared]


def log_probs_by_token(model: LoraModel, pairs: Sequence[Pair]) -> list[Sides]:
    """Of each pair's answers, chosen and rejected, the log-probability of every token as the adapter is now, nats."""
    found: dict[int, Sides] = {}

    @torch.no_grad()
    def compute(some: Sequence[Pair]) -> list[tuple[int, Sides]]:
        batch = pack(some)
        losses = token_losses(model.hidden(batch)[batch.label_positions], model.head, batch.labels)
        parts = iter((-losses).split([example.num_labels for pair in some for example in pair.sequences]))
        told = []
        for pair in some:
            first, second = (next(parts).tolist() for _ in pair.sequences)
            told.append((pair.id, (first, second) if pair.sequences[0] is pair.chosen else (second, first)))
        return told

    with model.merged():
        for part in model.workers.map(compute, shares(pairs, model.workers.count)):
            found.update(part)
    return [found[pair.id] for pair in pairs]


@dataclass(frozen=True, slots=True)
class PreferenceLoss:
    """Mean of an objective over pairs + sft_weight x mean cross-entropy of the chosen tokens + kl_weight x mean
    KL(base || adapter) on texts that the base wrote.
    """

    settings: TrainSettings
    references: References
    kl: KLReference | None = None

    def step(self, model: LoraModel, examples: Sequence[Pair], number: int) -> PenalisedStep:
        """The pairs, and the texts whose turn it is."""
        labels = sum(pair.chosen.num_labels for pair in examples)

        def grade(hidden: Tensor, batch: Batch, pairs: Sequence[Pair]) -> tuple[Tensor, Metrics]:
            scores = self._paired(score(hidden, model.head, batch, pairs), pairs)
            margins = margins_of(scores, self.settings).detach()
            loss = PAIRED[self.settings.loss](scores, self.settings).sum() / len(examples)
            if self.settings.sft_weight:
                loss = loss - self.settings.sft_weight * scores.chosen.sum() / labels
            right = (margins > 0).float().sum().item()
            return loss, {"accuracy": right / len(examples), "margin": margins.sum().item() / len(examples)}

        return PenalisedStep(model, examples, number, self.settings, self.kl, pack, grade)

    def _paired(self, scored: Scored, pairs: Sequence[Pair]) -> PairScores:
        device = scored.log_probs.device
        chosen_first = torch.tensor([pair.sequences[0] is pair.chosen for pair in pairs], device=device)
        references = torch.tensor([self.references[pair.id] for pair in pairs], device=device)
        sums, tokens = scored.log_probs.view(-1, 2), scored.tokens.view(-1, 2)
        return PairScores(
            chosen=torch.where(chosen_first, sums[:, 0], sums[:, 1]),
            rejected=torch.where(chosen_first, sums[:, 1], sums[:, 0]),
            reference_chosen=references[:, 0],
            reference_rejected=references[:, 1],
            chosen_tokens=torch.where(chosen_first, tokens[:, 0], tokens[:, 1]),
            rejected_tokens=torch.where(chosen_first, tokens[:, 1], tokens[:, 0]),
        )


@dataclass(frozen=True, slots=True)
class ThumbLoss:
    """Mean of an objective over single answers, liked or not; the rest as in `PreferenceLoss`."""

    settings: TrainSettings
    references: References
    start: Tensor
    """The adapter's vector that is the reference."""
    kl: KLReference | None = None

    def step(self, model: LoraModel, examples: Sequence[Judged], number: int) -> PenalisedStep:
        """The answers, how far the model has moved on answers that do not belong to their prompts, and the texts."""
        moved = self._moved(model, examples) if self.settings.loss == "kto" else 0.0

        def grade(hidden: Tensor, batch: Batch, answers: Sequence[Judged]) -> tuple[Tensor, Metrics]:
            device = hidden.device
            scores = AnswerScores(
                answer=score(hidden, model.head, batch, answers).log_probs,
                reference=torch.tensor([self.references[one.id][0] for one in answers], device=device),
                liked=torch.tensor([one.liked for one in answers], device=device),
                kl=torch.tensor(moved, device=device),
            )
            right = ((scores.answer - scores.reference).detach() > 0) == scores.liked
            loss = UNPAIRED[self.settings.loss](scores, self.settings).sum() / len(examples)
            return loss, {"accuracy": right.float().sum().item() / len(examples)}

        return PenalisedStep(model, examples, number, self.settings, self.kl, pack, grade)

    def _moved(self, model: LoraModel, examples: Sequence[Judged]) -> float:
        """Estimate of KL(adapter || reference), nats a sequence and never below 0: the mean log-ratio of each answer
        after the prompt before it in the batch, where that is another; 0 where none is.
        """
        neighbours = zip(examples, [*examples[-1:], *examples[:-1]], strict=True)
        mismatched = [one.given(other) for one, other in neighbours if one.group != other.group]
        if not mismatched:
            return 0.0
        own = log_probs(model, mismatched)
        with model.with_weights(self.start):
            reference = log_probs(model, mismatched)
        return max(0.0, sum(a[0] - b[0] for a, b in zip(own, reference, strict=True)) / len(own))


def margins_of(scores: PairScores, settings: TrainSettings) -> Tensor:
    """By how much the chosen answer's implicit reward is above the rejected one's, (P,); the mean log-probability a
    token is the reward of an objective without a reference.
    """
    if settings.loss in WITHOUT_REFERENCE:
        return settings.beta * (scores.chosen / scores.chosen_tokens - scores.rejected / scores.rejected_tokens)
    return settings.beta * scores.margin


def _by_side(compared: Sequence[Compared], sums: Sequence[float]) -> Iterator[tuple[float, ...]]:
    """Sums of sequences as they were packed, by pair and in the order chosen, rejected."""
    rest = iter(sums)
    for one in compared:
        own = tuple(next(rest) for _ in one.sequences)
        swapped = isinstance(one, Pair) and one.sequences[0] is one.rejected
        yield own[::-1] if swapped else own
