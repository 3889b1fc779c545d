"""Sampling the next token from logits: in numpy, whose calls cost a third of torch's, as it is done for every token."""

from __future__ import annotations

from collections.abc import Collection
from math import isfinite

import numpy as np
from numpy.typing import NDArray

from chatlab.engines.base import Sampling
from chatlab.errors import EngineError

GREEDY_BELOW = 1e-4
"""Temperature below which every token but the most probable one has a probability that rounds to 0."""

Logits = NDArray[np.float32]
Probs = NDArray[np.float32]
Ids = NDArray[np.int64]


class Sampler:
    """Samples the tokens of one reply. Equal seeds give equal replies."""

    def __init__(self, sampling: Sampling) -> None:
        self._sampling = sampling
        self._random = np.random.default_rng(None if sampling.seed is None else sampling.seed % (1 << 63))
        self._sampled: set[int] = set()

    def sample(self, logits: Logits) -> int:
        """The next token's id. `logits` is (V,). Raises EngineError if they are not finite."""
        logits = repetition_penalty(logits, self._sampled, self._sampling.repetition_penalty)
        token = int(logits.argmax())
        highest = float(logits[token])
        if not isfinite(highest):  # argmax prefers nan to any number
            raise EngineError("The model's numbers overflowed.", "Lower the adapter's strength, or use another one.")
        if self._sampling.temperature > GREEDY_BELOW:
            with np.errstate(over="ignore"):  # a temperature beyond float32 makes all tokens alike
                token = self._at_random((logits - highest) / self._sampling.temperature)
        self._sampled.add(token)
        return token

    def _at_random(self, logits: Logits) -> int:
        probs, ids = top_k_top_p(logits, self._sampling.top_k, self._sampling.top_p)
        steps = probs.cumsum(dtype=np.float64)
        index = int(steps.searchsorted(self._random.random() * steps[-1], side="right"))
        return int(ids[min(index, len(ids) - 1)])


def repetition_penalty(logits: Logits, sampled: Collection[int], penalty: float) -> Logits:
    """Logits with those of tokens that the reply already holds lowered (Keskar et al. 2019, section 4.1).

    The prompt does not count: it holds the end token of every earlier turn, and a reply has to be able to end.
    """
    if penalty == 1 or not sampled:
        return logits
    index = np.fromiter(sampled, np.int64, len(sampled))
    before, logits = logits[index], logits.copy()
    logits[index] = np.where(before > 0, before / penalty, before * penalty)
    return logits


def top_k_top_p(logits: Logits, top_k: int, top_p: float) -> tuple[Probs, Ids]:
    """Probabilities and ids of the tokens that may be sampled: the fewest that sum to `top_p`, most probable first.

    Nucleus sampling (Holtzman et al. 2020). The most probable token always stays.
    """
    ids = np.arange(len(logits))
    if 0 < top_k < len(logits):
        ids = np.argpartition(logits, -top_k)[-top_k:]
        logits = logits[ids]
    probs = np.exp(logits - logits.max())
    probs /= probs.sum()
    if top_p >= 1:
        return probs, ids
    # Tokens rarer than this sum to less than 1 - top_p, so that none of them can be needed.
    spare = min(1.0, max(0.0, 1 - top_p))
    near = np.flatnonzero(probs >= 0.999 * spare / len(probs))
    order = near[np.argsort(-probs[near], kind="stable")]
    probs, ids = probs[order], ids[order]
    before = probs.cumsum() - probs
    kept = max(1, int((before < top_p).sum()))
    return probs[:kept], ids[:kept]
