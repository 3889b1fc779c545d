"""What a run does to what it was not trained on: held-out demonstrations and general text, before, during and after."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from chatlab.system.files import private_folder
from chatlab.system.lines import json_rows
from chatlab.training.data import IGNORED, Example
from chatlab.training.loss import next_token_loss
from chatlab.training.model import LoraModel
from chatlab.training.packing import collate, shares
from chatlab.training.process.runs import write_json

WINDOW = 256
"""Tokens that are read with no memory of those before them."""
QUICK_WINDOW = 128
"""Tokens of a document that are read while a run goes on."""
UNSUPERVISED = 64
"""Tokens at the start of a window that are only context. How a text begins is just what demonstrations change: there
alone an adapter that forgot 0.8 % in all looks as if it had forgotten 6 %."""


@dataclass(frozen=True, slots=True)
class NLL:
    """Negative log-likelihood summed over tokens, nats, and how many tokens, for each document: both (documents,)."""

    nll_sum: NDArray[np.float64]
    tokens: NDArray[np.float64]

    @property
    def mean(self) -> float:
        """Nats a token; its exponential is the perplexity."""
        return float(self.nll_sum.sum() / self.tokens.sum())


def joined(parts: Sequence[NLL]) -> NLL:
    """Of all documents of the parts, in their order."""
    return NLL(np.concatenate([p.nll_sum for p in parts]), np.concatenate([p.tokens for p in parts]))


def nll(model: LoraModel, examples: Sequence[Example]) -> NLL:
    """NLL of the labels of examples; an example's `demonstration` is its document's number."""
    documents = sorted({example.demonstration for example in examples})
    sums, tokens = dict.fromkeys(documents, 0.0), dict.fromkeys(documents, 0.0)
    batches = shares(examples, model.workers.count)
    with model.merged():
        for batch, found in zip(batches, model.workers.map(partial(_nll_sums, model), batches), strict=True):
            for example, value in zip(batch, found, strict=True):
                sums[example.demonstration] += value
                tokens[example.demonstration] += example.num_labels
    return NLL(np.array([sums[d] for d in documents]), np.array([tokens[d] for d in documents]))


def windows(
    file: Path, encode: Callable[[str], list[int]], documents: int | None = None, begin: int | None = None
) -> list[Example]:
    """Held-out text, {"title", "text"} a line, as examples of WINDOW ids that all but the first are labels.

    `encode` gives the ids of a text; each window begins with `begin`, without which some models are at a loss. All of
    it, or the first window of so many documents, spread over the file.
    """
    first = () if begin is None else (begin,)
    own = WINDOW - len(first)
    texts = [encode(row["text"]) for row in json_rows(file)]
    examples = [
        _window(number, (*first, *ids[i : i + own]))
        for number, ids in enumerate(texts)
        for i in range(0, len(ids) - 8, own)
    ]
    return examples if documents is None else _spread(examples, documents)


def _window(number: int, ids: tuple[int, ...]) -> Example:
    return Example(demonstration=number, ids=ids, labels=(IGNORED, *ids[1:]))


def quick_windows(examples: Sequence[Example]) -> list[Example]:
    """The first QUICK_WINDOW tokens of each example, of which the first UNSUPERVISED are only context."""
    context = (IGNORED,) * UNSUPERVISED
    return [
        replace(example, ids=example.ids[:QUICK_WINDOW], labels=context + example.labels[UNSUPERVISED:QUICK_WINDOW])
        for example in examples
    ]


def forgetting(before: NLL, after: NLL) -> float:
    """Per cent by which perplexity rose; infinite where no number says how much."""
    try:
        return 100 * math.expm1(after.mean - before.mean)
    except OverflowError:
        return math.inf


def interval(before: NLL, after: NLL, draws: int = 1000) -> tuple[float, float]:
    """95 % bootstrap interval of `forgetting` over documents, per cent."""
    rng = np.random.default_rng(0)
    drawn = rng.integers(0, len(before.tokens), (draws, len(before.tokens)))
    rise = (after.nll_sum - before.nll_sum)[drawn].sum(1) / before.tokens[drawn].sum(1)
    with np.errstate(over="ignore"):
        low, high = 100 * np.expm1(np.percentile(rise, [2.5, 97.5]))
    return float(low), float(high)


def base_nll(model: LoraModel, examples: Sequence[Example], cache: Path, anew: bool = False) -> NLL:
    """NLL of the base, computed once and kept in `cache`; or `anew`. Other layers under the adapter round otherwise."""
    text = repr([(example.demonstration, example.ids) for example in examples])
    how = f"{model.head.dtype} {model.layers:g} {torch.__version__}"
    key = hashlib.sha256(f"{how} {text}".encode()).hexdigest()[:16]
    file = cache / f"prose-{key}.json"
    try:
        kept = {} if anew else json.loads(file.read_text(encoding="utf-8"))
        return NLL(np.array(kept["nll_sum"] if "nll_sum" in kept else kept["nats"]), np.array(kept["tokens"]))
    except (OSError, ValueError, KeyError):
        with model.adapter_disabled():
            found = nll(model, examples)
    private_folder(cache)
    write_json(file, {"nll_sum": found.nll_sum.tolist(), "tokens": found.tokens.tolist()})
    return found


@torch.no_grad()
def _nll_sums(model: LoraModel, examples: Sequence[Example]) -> list[float]:
    """Summed loss of each example, longest first, computed as one packed batch."""
    batch = collate(examples)
    hidden = model.hidden(batch)
    found, start = [], 0
    for example in examples:
        part = slice(start, start + example.num_labels)
        found.append(next_token_loss(hidden[batch.label_positions[part]], model.head, batch.labels[part]).item())
        start = part.stop
    return found


def _spread(examples: list[Example], count: int) -> list[Example]:
    firsts = {example.demonstration: example for example in reversed(examples)}
    numbers = sorted(firsts)
    count = min(len(numbers), count)
    return [firsts[numbers[i * len(numbers) // count]] for i in range(count)]
