"""Drawing the next token from a model's scores: in numpy, whose calls cost a third of torch's, for it is done often."""

from __future__ import annotations

from collections.abc import Collection
from math import isfinite

import numpy as np
from numpy.typing import NDArray

from chatlab.engines.base import Sampling
from chatlab.errors import EngineError

COLD = 1e-4
"""Temperature below which only the likeliest token has a chance that can be told from none."""

Scores = NDArray[np.float32]
Ids = NDArray[np.int64]


class Sampler:
    """Draws the tokens of one reply. Equal seeds draw equal replies."""

    def __init__(self, sampling: Sampling) -> None:
        self._sampling = sampling
        self._random = np.random.default_rng(None if sampling.seed is None else sampling.seed % (1 << 63))
        self._said: set[int] = set()

    def draw(self, scores: Scores) -> int:
        """A token's id. `scores` is (V,), before softmax. Raises EngineError if they are no numbers."""
        scores = penalised(scores, self._said, self._sampling.repetition_penalty)
        token = int(scores.argmax())
        highest = float(scores[token])
        if not isfinite(highest):  # of numbers and things that are none, argmax finds the latter
            raise EngineError("The model's numbers overflowed.", "Lower the adapter's strength, or use another one.")
        if self._sampling.temperature > COLD:
            token = self._at_random((scores - highest) / self._sampling.temperature)
        self._said.add(token)
        return token

    def _at_random(self, scores: Scores) -> int:
        likely, ids = candidates(scores, self._sampling.top_k, self._sampling.top_p)
        steps = likely.cumsum(dtype=np.float64)
        place = int(steps.searchsorted(self._random.random() * steps[-1], side="right"))
        return int(ids[min(place, len(ids) - 1)])


def penalised(scores: Scores, said: Collection[int], penalty: float) -> Scores:
    """Scores of tokens that the reply already holds made less likely (Keskar et al. 2019, section 4.1).

    The prompt does not count: it holds the end token of every earlier turn, and a reply has to be able to end.
    """
    if penalty == 1 or not said:
        return scores
    index = np.fromiter(said, np.int64, len(said))
    held, scores = scores[index], scores.copy()
    scores[index] = np.where(held > 0, held / penalty, held * penalty)
    return scores


def candidates(scores: Scores, top_k: int, top_p: float) -> tuple[Scores, Ids]:
    """Probabilities and ids of the tokens that may be drawn: the fewest that hold `top_p`, then the likeliest first."""
    ids = np.arange(len(scores))
    if 0 < top_k < len(scores):
        ids = np.argpartition(scores, -top_k)[-top_k:]
        scores = scores[ids]
    chances = np.exp(scores - scores.max())
    chances /= chances.sum()
    if top_p >= 1:
        return chances, ids
    # Tokens rarer than this hold less than 1 - top_p among them all, so that none of them can be needed.
    spare = min(1.0, max(0.0, 1 - top_p))
    near = np.flatnonzero(chances >= 0.999 * spare / len(chances))
    order = near[np.argsort(-chances[near], kind="stable")]
    return _nucleus(chances[order], ids[order], top_p)


def _nucleus(chances: Scores, ids: Ids, top_p: float) -> tuple[Scores, Ids]:
    """Holtzman et al. 2020. The likeliest token always stays."""
    before = chances.cumsum() - chances
    kept = max(1, int((before < top_p).sum()))
    return chances[:kept], ids[:kept]
