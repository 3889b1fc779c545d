"""Drawing the next token from a model's scores."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from chatlab.engines.base import Sampling
from chatlab.errors import EngineError

COLD = 1e-4
"""Temperature below which only the likeliest token has a chance that can be told from none."""

_LIKELY = 1024
"""Tokens among which the top-p share is looked for before all of them are sorted."""


class Dice:
    """Draws the tokens of one reply. Equal seeds draw equal replies."""

    def __init__(self, sampling: Sampling) -> None:
        self._sampling = sampling
        self._random = torch.Generator()
        if sampling.seed is None:
            self._random.seed()
        else:
            self._random.manual_seed(sampling.seed % (1 << 63))
        self._said: set[int] = set()

    def draw(self, scores: Tensor) -> int:
        """A token's id. `scores` is (V,), before softmax. Raises EngineError if they are no numbers."""
        scores = penalised(scores.float(), self._said, self._sampling.repetition_penalty)
        highest, likeliest = scores.max(0)
        if not highest.isfinite():
            raise EngineError("The model's numbers overflowed.", "Lower the adapter's strength, or use another one.")
        token = int(likeliest)
        if self._sampling.temperature > COLD:
            token = self._at_random((scores - highest) / self._sampling.temperature)
        self._said.add(token)
        return token

    def _at_random(self, scores: Tensor) -> int:
        likely, ids = candidates(scores, self._sampling.top_k, self._sampling.top_p)
        return int(ids[torch.multinomial(likely, 1, generator=self._random)])


def penalised(scores: Tensor, said: Iterable[int], penalty: float) -> Tensor:
    """Scores of tokens that the reply already holds made less likely (Keskar et al. 2019, section 4.1).

    The prompt does not count: it holds the end token of every earlier turn, and a reply has to be able to end.
    """
    if penalty == 1 or not (ids := list(said)):
        return scores
    index = torch.tensor(ids)
    held = scores[index]
    return scores.index_copy(0, index, torch.where(held > 0, held / penalty, held * penalty))


def candidates(scores: Tensor, top_k: int, top_p: float) -> tuple[Tensor, Tensor]:
    """Probabilities and ids of the tokens that may be drawn, the likeliest first: the fewest that hold `top_p`."""
    if 0 < top_k < len(scores):
        scores, ids = scores.topk(top_k)
        return _nucleus(scores.softmax(0), ids, top_p)
    probabilities = scores.softmax(0)
    if top_p >= 1:
        return probabilities, torch.arange(len(scores))
    likely, ids = probabilities.topk(min(_LIKELY, len(scores)))
    if float(likely.sum()) < top_p:
        likely, ids = probabilities.sort(descending=True)
    return _nucleus(likely, ids, top_p)


def _nucleus(probabilities: Tensor, ids: Tensor, top_p: float) -> tuple[Tensor, Tensor]:
    """Holtzman et al. 2020. The likeliest token always stays."""
    if top_p >= 1:
        return probabilities, ids
    before = probabilities.cumsum(0) - probabilities
    kept = max(1, int((before < top_p).sum()))
    return probabilities[:kept], ids[:kept]
