"""A packed file and an adapter as llama.cpp serves them: losses, distributions and greedy replies."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from chatlab.engines.base import Sampling
from chatlab.engines.llamacpp.runtime import Runtime
from chatlab.engines.sampling import Sampler
from chatlab.training.data import IGNORED, Example

LENGTH, BLOCK = 512, 256
Adapter = tuple[int, float] | None
Rows = NDArray[np.float32]


class Served(Runtime):
    """One sequence of a file, with the logits of every position."""

    def __init__(self, file: Path, threads: int) -> None:
        super().__init__(file, LENGTH, 1, threads, BLOCK)

    def log_probs(self, example: Example, adapter: Adapter) -> Rows:
        """(L, V) at the positions that predict a label."""
        wanted = [label != IGNORED for label in example.labels[1:]] + [False]
        tokens = [(token, 0, n, wanted[n]) for n, token in enumerate(example.ids)]
        logits = np.stack(self._decode(tokens, [(0, 0)], adapter))
        logits -= logits.max(1, keepdims=True)
        return logits - np.log(np.exp(logits).sum(1, keepdims=True))

    def nll(self, examples: Sequence[Example], adapter: Adapter) -> float:
        """Nats a label."""
        return self.nll_and_kl(examples, adapter, ())[0]

    def nll_and_kl(self, examples: Sequence[Example], adapter: Adapter, base: Sequence[Rows]) -> tuple[float, float]:
        """Nats a label, and mean KL(base || adapter) over the labels of the first examples, whose `base` is given."""
        total = tokens = kl = compared = 0.0
        for number, example in enumerate(examples):
            labels = [label for label in example.labels[1:] if label != IGNORED]
            own = self.log_probs(example, adapter)
            total -= float(own[np.arange(len(labels)), labels].sum())
            tokens += len(labels)
            if number < len(base):
                kl += float((np.exp(base[number]) * (base[number] - own)).sum())
                compared += len(labels)
        return total / tokens, kl / max(1.0, compared)

    def reply(self, prompt: Sequence[int], stop: frozenset[int], adapter: Adapter, tokens: int) -> list[int]:
        """Greedy, with the app's repetition penalty; the stop token too, where it came to one."""
        sampler = Sampler(Sampling(temperature=0.0, max_tokens=tokens))
        new, position = list(prompt), 0
        found: list[int] = []
        while len(found) < tokens:
            logits = self.read(new, 0, position, adapter)
            position += len(new)
            new = [sampler.sample(logits)]
            found += new
            if new[0] in stop:
                break
        return found
