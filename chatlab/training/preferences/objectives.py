"""The objectives of learning from preferences: from log-probabilities of answers to a loss for each pair or answer.

Log-probabilities are summed over an answer's tokens, its end included, in nats. A log-ratio is that of the adapter less
that of the reference, which is the model as it was before the run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from chatlab.records import TrainSettings


class PairScores(NamedTuple):
    """Of P pairs, each (P,): log-probabilities under the adapter and under the reference, and lengths in tokens."""

    chosen: Tensor
    rejected: Tensor
    reference_chosen: Tensor
    reference_rejected: Tensor
    chosen_tokens: Tensor
    rejected_tokens: Tensor

    @property
    def chosen_ratio(self) -> Tensor:
        """Log-ratio of the chosen answer."""
        return self.chosen - self.reference_chosen

    @property
    def rejected_ratio(self) -> Tensor:
        """Log-ratio of the rejected answer."""
        return self.rejected - self.reference_rejected

    @property
    def margin(self) -> Tensor:
        """Log-ratio of the chosen answer less that of the rejected one. Times beta it is the implicit reward's."""
        return self.chosen_ratio - self.rejected_ratio


class AnswerScores(NamedTuple):
    """Of A answers, each (A,): log-probabilities under the adapter and the reference, and whether each was liked.

    `kl` is the batch's estimate of KL(adapter || reference), nats, without a gradient.
    """

    answer: Tensor
    reference: Tensor
    liked: Tensor
    kl: Tensor


def dpo(scores: PairScores, settings: TrainSettings) -> Tensor:
    """-log sigmoid(beta margin). Direct preference optimisation (Rafailov 2023, arXiv:2305.18290, equation 7)."""
    return -F.logsigmoid(settings.beta * scores.margin)


def dpo_norm(scores: PairScores, settings: TrainSettings) -> Tensor:
    """DPO with each log-ratio divided by its answer's length, against a bias for long answers (as TRL's
    `sigmoid_norm`; Meng 2024, arXiv:2405.14734, has the same without a reference). Needs a beta some ten times DPO's.
    """
    margin = scores.chosen_ratio / scores.chosen_tokens - scores.rejected_ratio / scores.rejected_tokens
    return -F.logsigmoid(settings.beta * margin)


def ipo(scores: PairScores, settings: TrainSettings) -> Tensor:
    """(margin - 1 / (2 beta))^2, log-ratios by length: the margin has an aim and does not grow for ever (Azar 2023,
    arXiv:2310.12036, equation 17; by length as TRL has it from the authors).
    """
    margin = scores.chosen_ratio / scores.chosen_tokens - scores.rejected_ratio / scores.rejected_tokens
    return (margin - 1 / (2 * settings.beta)).square()


def apo_zero(scores: PairScores, settings: TrainSettings) -> Tensor:
    """1 - sigmoid(beta chosen ratio) + sigmoid(beta rejected ratio): raises the chosen answer and lowers the rejected
    one, each against the reference. For chosen answers that are better than the model's, such as a person's edits
    (D'Oosterlinck 2024, arXiv:2408.06266, equation 7).
    """
    return 1 - (settings.beta * scores.chosen_ratio).sigmoid() + (settings.beta * scores.rejected_ratio).sigmoid()


def apo_down(scores: PairScores, settings: TrainSettings) -> Tensor:
    """sigmoid(beta chosen ratio) + 1 - sigmoid(beta margin): lowers both, the rejected one more. For chosen answers
    that are worse than the model's (arXiv:2408.06266, equation 8).
    """
    return (settings.beta * scores.chosen_ratio).sigmoid() + 1 - (settings.beta * scores.margin).sigmoid()


def dpop(scores: PairScores, settings: TrainSettings) -> Tensor:
    """DPO with a penalty of lambda times what the chosen answer has lost, within the sigmoid: else pairs that differ in
    a few tokens lower both (Pal 2024, arXiv:2402.13228, equation 3).
    """
    lost = (-scores.chosen_ratio).clamp_min(0)
    return -F.logsigmoid(settings.beta * (scores.margin - settings.dpop_lambda * lost))


def orpo(scores: PairScores, settings: TrainSettings) -> Tensor:
    """-beta log sigmoid(log odds ratio), odds p / (1 - p) of the mean log-probability a token; needs no reference and
    is added to the loss on the chosen answer, `sft_weight` 1 (Hong 2024, arXiv:2403.07691, equations 4 to 7).
    """
    chosen, rejected = scores.chosen / scores.chosen_tokens, scores.rejected / scores.rejected_tokens
    odds = (chosen - _log1mexp(chosen)) - (rejected - _log1mexp(rejected))
    return -settings.beta * F.logsigmoid(odds)


def simpo(scores: PairScores, settings: TrainSettings) -> Tensor:
    """-log sigmoid(beta (mean log-probability of chosen - of rejected) - gamma); needs no reference, and a beta of 2 or
    more (Meng 2024, arXiv:2405.14734, equation 6).
    """
    margin = scores.chosen / scores.chosen_tokens - scores.rejected / scores.rejected_tokens
    return -F.logsigmoid(settings.beta * margin - settings.simpo_gamma)


def kto(scores: AnswerScores, settings: TrainSettings) -> Tensor:
    """1 - sigmoid(beta (ratio - KL)) of a liked answer, 1 - sigmoid(beta (KL - ratio)) of a disliked one times
    `undesirable_weight` (Ethayarajh 2024, arXiv:2402.01306, equations 7 and 8).
    """
    ratio = scores.answer - scores.reference - scores.kl
    return _weighed(1 - (settings.beta * ratio).sigmoid(), 1 - (-settings.beta * ratio).sigmoid(), scores, settings)


def apo_zero_unpaired(scores: AnswerScores, settings: TrainSettings) -> Tensor:
    """`apo_zero` of single answers: KTO without its estimate of the KL, which few answers give badly (after TRL)."""
    ratio = scores.answer - scores.reference
    return _weighed(1 - (settings.beta * ratio).sigmoid(), (settings.beta * ratio).sigmoid(), scores, settings)


PAIRED: Mapping[str, Callable[[PairScores, TrainSettings], Tensor]] = {
    "dpo": dpo,
    "dpo_norm": dpo_norm,
    "ipo": ipo,
    "apo_zero": apo_zero,
    "apo_down": apo_down,
    "dpop": dpop,
    "orpo": orpo,
    "simpo": simpo,
}
"""Objectives for pairs, by the name that `TrainSettings.loss` has."""
UNPAIRED: Mapping[str, Callable[[AnswerScores, TrainSettings], Tensor]] = {
    "kto": kto,
    "apo_zero_unpaired": apo_zero_unpaired,
}
"""Objectives for single answers."""
WITHOUT_REFERENCE = ("orpo", "simpo")


def _weighed(liked: Tensor, disliked: Tensor, scores: AnswerScores, settings: TrainSettings) -> Tensor:
    return torch.where(scores.liked, liked, settings.undesirable_weight * disliked)


def _log1mexp(x: Tensor) -> Tensor:
    """log(1 - exp(x)) for x < 0, without cancellation near either end (Maechler 2012)."""
    x = x.clamp_max(-1e-6)
    return torch.where(x > -0.6931, (-x.expm1()).log(), (-x.exp()).log1p())
