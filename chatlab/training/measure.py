"""What a run does to what it was not shown: demonstrations kept aside, and general prose."""

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

from chatlab.training.batches import IGNORED, Row, collate
from chatlab.training.learner import Learner
from chatlab.training.loss import next_token_loss
from chatlab.training.runs import write_json

WINDOW = 256
"""Tokens that are read with no memory of those before them."""
GLANCE = 128
"""Tokens of a document that are looked at while a run goes on."""
UNGRADED = 64
"""Of those, the first are only read. How a text begins is just what demonstrations change: there alone an adapter that
forgot 0.8 % in all looks as if it had forgotten 6 %."""
LINE = 384
"""Tokens computed at once: enough for long products, and few enough that little work too has a share for each hand."""


@dataclass(frozen=True, slots=True)
class Surprise:
    """Nats summed over tokens, and how many tokens, for each document: both (documents,)."""

    nats: NDArray[np.float64]
    tokens: NDArray[np.float64]

    @property
    def mean(self) -> float:
        return float(self.nats.sum() / self.tokens.sum())


def surprise(learner: Learner, rows: Sequence[Row]) -> Surprise:
    """How far the labels of rows are from what was expected; a row's `demonstration` says which document it is of."""
    documents = sorted({row.demonstration for row in rows})
    nats, tokens = dict.fromkeys(documents, 0.0), dict.fromkeys(documents, 0.0)
    lines = _lines(rows)
    with learner.added_up():
        for line, found in zip(lines, learner.hands.map(partial(_nats, learner), lines), strict=True):
            for row, value in zip(line, found, strict=True):
                nats[row.demonstration] += value
                tokens[row.demonstration] += row.learned
    return Surprise(np.array([nats[d] for d in documents]), np.array([tokens[d] for d in documents]))


def windows(file: Path, encode: Callable[[str], list[int]], documents: int | None = None) -> list[Row]:
    """Held-out prose, {"title", "text"} a line, as rows of WINDOW ids that all but the first are labels.

    `encode` gives the ids of a text. All of it, or the first window of so many documents, spread over the file.
    """
    texts = [encode(json.loads(line)["text"]) for line in file.read_text(encoding="utf-8").splitlines()]
    rows = [
        Row(demonstration=number, ids=tuple(ids[i : i + WINDOW]), labels=(IGNORED, *ids[i + 1 : i + WINDOW]))
        for number, ids in enumerate(texts)
        for i in range(0, len(ids) - 8, WINDOW)
    ]
    return rows if documents is None else _spread(rows, documents)


def glimpses(rows: Sequence[Row]) -> list[Row]:
    """The first GLANCE tokens of each row, of which the first UNGRADED are only read."""
    unread = (IGNORED,) * UNGRADED
    return [replace(row, ids=row.ids[:GLANCE], labels=unread + row.labels[UNGRADED:GLANCE]) for row in rows]


def forgetting(before: Surprise, after: Surprise) -> float:
    """Per cent by which perplexity rose."""
    return 100 * math.expm1(after.mean - before.mean)


def interval(before: Surprise, after: Surprise, draws: int = 1000) -> tuple[float, float]:
    """95 % of what `forgetting` would be on as many documents drawn again from these (bootstrap), per cent."""
    dice = np.random.default_rng(0)
    drawn = dice.integers(0, len(before.tokens), (draws, len(before.tokens)))
    rise = (after.nats - before.nats)[drawn].sum(1) / before.tokens[drawn].sum(1)
    low, high = 100 * np.expm1(np.percentile(rise, [2.5, 97.5]))
    return float(low), float(high)


def base_surprise(learner: Learner, rows: Sequence[Row], cache: Path, anew: bool = False) -> Surprise:
    """The base's own, computed once and kept beside its leash; or `anew`."""
    text = repr([(row.demonstration, row.ids) for row in rows])
    key = hashlib.sha256(f"{learner.head.dtype} {torch.__version__} {text}".encode()).hexdigest()[:16]
    file = cache / f"prose-{key}.json"
    try:
        kept = {} if anew else json.loads(file.read_text(encoding="utf-8"))
        return Surprise(np.array(kept["nats"]), np.array(kept["tokens"]))
    except (OSError, ValueError, KeyError):
        with learner.asleep():
            found = surprise(learner, rows)
    cache.mkdir(parents=True, exist_ok=True)
    write_json(file, {"nats": found.nats.tolist(), "tokens": found.tokens.tolist()})
    return found


@torch.no_grad()
def _nats(learner: Learner, line: Sequence[Row]) -> list[float]:
    """Summed loss of each row of a line, rows in falling length."""
    batch = collate(line)
    hidden = learner.hidden(batch)
    found, start = [], 0
    for row in line:
        part = slice(start, start + row.learned)
        found.append(next_token_loss(hidden[batch.at[part]], learner.head, batch.labels[part]).item())
        start = part.stop
    return found


def _spread(rows: list[Row], count: int) -> list[Row]:
    firsts = {row.demonstration: row for row in reversed(rows)}
    numbers = sorted(firsts)
    count = min(len(numbers), count)
    return [firsts[numbers[i * len(numbers) // count]] for i in range(count)]


def _lines(rows: Sequence[Row]) -> list[list[Row]]:
    """Rows of like length together, about LINE tokens at once."""
    lines: list[list[Row]] = [[]]
    for row in sorted(rows, key=lambda row: -len(row.ids)):
        if sum(len(r.ids) for r in lines[-1]) + len(row.ids) > LINE and lines[-1]:
            lines.append([])
        lines[-1].append(row)
    return lines
