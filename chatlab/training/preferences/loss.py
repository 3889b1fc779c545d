"""The loss of a run on preferences: an objective on whole answers' log-probabilities, with a KL penalty to the base."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from chatlab.records import TrainSettings
from chatlab.training.data import Example
from chatlab.training.kl import KLReference
from chatlab.training.loop import Metrics
from chatlab.training.loss import token_losses
from chatlab.training.model import LoraModel
from chatlab.training.packing import BATCH_TOKENS, Batch, collate, concat
from chatlab.training.preferences.objectives import PAIRED, UNPAIRED, WITHOUT_REFERENCE, AnswerScores, PairScores
from chatlab.training.preferences.pairs import Judged, Pair

References = Mapping[int, tuple[float, ...]]
"""Log-probabilities under the reference, by the id of a pair (chosen, rejected) or of a judged answer."""


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


def score(hidden: Tensor, head: Tensor, batch: Batch, sequences: Sequence[Example]) -> Scored:
    """Log-probabilities of `sequences`, whose labels are those of `batch`, in this order."""
    counts = torch.tensor([example.num_labels for example in sequences], device=hidden.device)
    owner = torch.repeat_interleave(torch.arange(len(sequences), device=hidden.device), counts)
    losses = token_losses(hidden[batch.label_positions], head, batch.labels)
    return Scored(hidden.new_zeros(len(sequences), dtype=torch.float32).index_add(0, owner, -losses), counts)


@torch.no_grad()
def log_probs(model: LoraModel, compared: Sequence[Compared]) -> list[tuple[float, ...]]:
    """Of each pair (chosen, rejected), or of each judged answer, as the adapter is now."""
    found: dict[int, tuple[float, ...]] = {}

    def compute(some: Sequence[int]) -> list[tuple[int, tuple[float, ...]]]:
        own = [compared[i] for i in some]
        batch, sequences = pack(own), [example for one in own for example in one.sequences]
        with torch.no_grad():
            sums = score(model.hidden(batch), model.head, batch, sequences).log_probs.tolist()
        return list(zip(some, _by_side(own, sums), strict=True))

    with model.merged():
        for part in model.workers.map(compute, list(_shares(compared, model.workers.count))):
            found.update(part)
    return [found[i] for i in range(len(compared))]


@dataclass(frozen=True, slots=True)
class PreferenceLoss:
    """Mean of an objective over pairs + sft_weight x mean cross-entropy of the chosen tokens + kl_weight x mean
    KL(base || adapter) on texts that the base wrote.
    """

    settings: TrainSettings
    references: References
    kl: KLReference | None = None

    def step(self, model: LoraModel, examples: Sequence[Pair], number: int) -> PreferenceStep:
        """The pairs, and the texts whose turn it is."""
        labels = sum(pair.chosen.num_labels for pair in examples)

        def grade(scored: Scored, pairs: Sequence[Pair]) -> tuple[Tensor, Metrics]:
            scores = self._paired(scored, pairs)
            margins = margins_of(scores, self.settings).detach()
            loss = PAIRED[self.settings.loss](scores, self.settings).sum() / len(examples)
            if self.settings.sft_weight:
                loss = loss - self.settings.sft_weight * scores.chosen.sum() / labels
            right = (margins > 0).float().sum().item()
            return loss, {"accuracy": right / len(examples), "margin": margins.sum().item() / len(examples)}

        return PreferenceStep(model, examples, self.settings, number, grade, self.kl)

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

    def step(self, model: LoraModel, examples: Sequence[Judged], number: int) -> PreferenceStep:
        """The answers, how far the model has moved on answers that do not belong to their prompts, and the texts."""
        moved = self._moved(model, examples) if self.settings.loss == "kto" else 0.0

        def grade(scored: Scored, answers: Sequence[Judged]) -> tuple[Tensor, Metrics]:
            device = scored.log_probs.device
            scores = AnswerScores(
                answer=scored.log_probs,
                reference=torch.tensor([self.references[one.id][0] for one in answers], device=device),
                liked=torch.tensor([one.liked for one in answers], device=device),
                kl=torch.tensor(moved, device=device),
            )
            right = ((scores.answer - scores.reference).detach() > 0) == scores.liked
            loss = UNPAIRED[self.settings.loss](scores, self.settings).sum() / len(examples)
            return loss, {"accuracy": right.float().sum().item() / len(examples)}

        return PreferenceStep(model, examples, self.settings, number, grade, self.kl)

    def _moved(self, model: LoraModel, examples: Sequence[Judged]) -> float:
        """Estimate of KL(adapter || reference), nats a sequence and never below 0: the mean log-ratio of each answer
        after the prompt before it in the batch.
        """
        mismatched = [one.given(examples[i - 1]) for i, one in enumerate(examples)]
        own = log_probs(model, mismatched)
        with model.with_weights(self.start):
            reference = log_probs(model, mismatched)
        return max(0.0, sum(a[0] - b[0] for a, b in zip(own, reference, strict=True)) / len(examples))


class PreferenceStep:
    """One step's pairs or answers, and KL texts. Items are the pairs or answers first, then the texts."""

    def __init__(
        self,
        model: LoraModel,
        compared: Sequence[Any],
        settings: TrainSettings,
        number: int,
        grade: Callable[[Scored, Sequence[Any]], tuple[Tensor, Metrics]],
        kl: KLReference | None,
    ) -> None:
        """`grade` gives the part of the loss that some of `compared` make, and their metrics."""
        self._model, self._compared, self._settings, self._grade = model, compared, settings, grade
        self._kl = kl if settings.kl_weight else None
        self._texts = self._kl.sample(number, settings.kl_samples, settings.seed) if self._kl else []

    @property
    def sizes(self) -> list[int]:
        return [one.length for one in self._compared] + [self._kl.width if self._kl else 0] * len(self._texts)

    @property
    def tokens(self) -> int:
        return sum(one.length for one in self._compared)

    def micro_batch(self, items: Sequence[int]) -> tuple[Tensor, Metrics]:
        """These items' part of the loss, and of its metrics."""
        compared = [self._compared[i] for i in items if i < len(self._compared)]
        texts = [self._texts[i - len(self._compared)] for i in items if i >= len(self._compared)]
        packed = [self._kl.batch(texts)] if self._kl and texts else []
        batch = reduce(concat, [*packed, pack(compared)] if compared else packed)
        hidden, head = self._model.hidden(batch), self._model.head
        loss, metrics = hidden.new_zeros((), dtype=torch.float32), {"loss": 0.0, "kl": 0.0}
        if compared:
            sequences = [example for one in compared for example in one.sequences]
            loss, more = self._grade(score(hidden, head, batch, sequences), compared)
            metrics |= {"loss": loss.item(), **more}
        if self._kl and texts:
            kl = self._kl.loss(hidden, head, texts) / (len(self._texts) * self._kl.width)
            metrics["kl"] = kl.item()
            loss = loss + self._settings.kl_weight * kl
        return loss, metrics


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


def _shares(compared: Sequence[Compared], workers: int) -> Iterator[list[int]]:
    """Indices in groups of at most BATCH_TOKENS tokens, the longest first, a share for each worker at least."""
    most = min(BATCH_TOKENS, sum(one.length for one in compared) // workers + 1)
    group: list[int] = []
    for i in sorted(range(len(compared)), key=lambda i: -compared[i].length):
        if group and sum(compared[j].length for j in group) + compared[i].length > most:
            yield group
            group = []
        group.append(i)
    if group:
        yield group
