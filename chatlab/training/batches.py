"""Demonstrations to rows of ids and labels, rows to the steps of a run, steps to blocks of tensors."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from chatlab.errors import EmptyAnswer, NothingToLearn, TemplateRefused, TokenizerFailed
from chatlab.records import Message, TrainSettings
from chatlab.template import Template
from chatlab.training.defaults import held_out_count
from chatlab.training.runs import Dropped

IGNORED = -100
SLACK = 8
"""Padding tokens in a block that are cheaper than one block more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One sequence to learn from. A demonstration gives one, or several where its template allows no single walk."""

    demonstration: int
    ids: tuple[int, ...]
    labels: tuple[int, ...]

    @property
    def learned(self) -> int:
        """Tokens that are graded: labels that have a token before them to be predicted from."""
        return sum(label != IGNORED for label in self.labels[1:])


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """A snapshot made ready."""

    learn: tuple[Row, ...]
    aside: tuple[Row, ...]
    """Held out, to measure on."""
    dropped: tuple[Dropped, ...]


class Block(NamedTuple):
    """Sequences of nearly one length, padded at their ends: `rows` x `width` places in a batch."""

    rows: int
    width: int


class Batch(NamedTuple):
    """Sequences end to end in one line, so that no linear layer computes on much padding.

    `ids` and `positions` are (N,), N the sum over blocks of rows x width; positions begin anew with each sequence.
    `at` (L,) are the places that predict a label, `labels` (L,) what they should predict.
    """

    ids: Tensor
    positions: Tensor
    blocks: tuple[Block, ...]
    at: Tensor
    labels: Tensor


def read_rows(snapshot: Path, template: Template, settings: TrainSettings, context: int) -> Rows:
    """Raises NothingToLearn where no demonstration can be used.

    What is kept aside is measured on its answers alone, also where every token is learned: so the two compare.
    """
    rows: list[Row] = []
    dropped: list[Dropped] = []
    for line in snapshot.read_text(encoding="utf-8").splitlines():
        raw = json.loads(line)
        made = _rows_of(raw["id"], raw["messages"], template, min(settings.max_tokens, context))
        if isinstance(made, str):
            dropped.append(Dropped(id=raw["id"], reason=made))
        else:
            rows += made
    if not rows:
        raise NothingToLearn(*_why_nothing(dropped))
    learn, aside = split(rows, settings)
    if not settings.mask:
        learn = [replace(row, labels=row.ids) for row in learn]
    return Rows(learn=tuple(learn), aside=tuple(aside), dropped=tuple(dropped))


def split(rows: Sequence[Row], settings: TrainSettings) -> tuple[list[Row], list[Row]]:
    """Rows to learn from and rows kept aside, by demonstration; which ones depends on the seed alone."""
    ids = sorted({row.demonstration for row in rows})
    aside = set(random.Random(f"aside {settings.seed}").sample(ids, held_out_count(len(ids), settings.held_out)))
    return [r for r in rows if r.demonstration not in aside], [r for r in rows if r.demonstration in aside]


def schedule(rows: int, settings: TrainSettings) -> list[tuple[int, ...]]:
    """For each optimizer step the indices of its rows: every pass reads every row once, each in an order of its own."""
    steps: list[tuple[int, ...]] = []
    for number in range(settings.passes):
        order = list(range(rows))
        random.Random(f"pass {settings.seed} {number}").shuffle(order)
        steps += [tuple(order[i : i + settings.batch]) for i in range(0, rows, settings.batch)]
    return steps


def dealt(sizes: Sequence[int], count: int) -> list[list[int]]:
    """Indices of `sizes` in at most `count` piles of nearly equal sum, none empty: the largest first, each to the
    smallest pile so far.
    """
    piles: list[list[int]] = [[] for _ in range(min(count, len(sizes)))]
    held = [0] * len(piles)
    for i in sorted(range(len(sizes)), key=lambda i: -sizes[i]):
        least = held.index(min(held))
        piles[least].append(i)
        held[least] += sizes[i]
    return [sorted(pile) for pile in piles]


def collate(rows: Sequence[Row]) -> Batch:
    """Rows in one line, the longest first. Padding follows its sequence, where causal attention never sees it."""
    ordered = sorted(rows, key=lambda row: -len(row.ids))
    blocks = tuple(_blocks([len(row.ids) for row in ordered]))
    ids: list[int] = []
    at: list[int] = []
    labels: list[int] = []
    positions: list[int] = []
    line = iter(ordered)
    for block in blocks:
        for row in (next(line) for _ in range(block.rows)):
            for place, label in enumerate(row.labels[1:]):
                if label != IGNORED:
                    at.append(len(ids) + place)
                    labels.append(label)
            ids += [*row.ids, *[0] * (block.width - len(row.ids))]
            positions += range(block.width)
    return Batch(torch.tensor(ids), torch.tensor(positions), blocks, torch.tensor(at), torch.tensor(labels))


def joined(first: Batch, second: Batch) -> Batch:
    """Two batches as one, the first one's places before the second's."""
    return Batch(
        torch.cat((first.ids, second.ids)), torch.cat((first.positions, second.positions)),
        first.blocks + second.blocks, torch.cat((first.at, second.at + len(first.ids))),
        torch.cat((first.labels, second.labels)),
    )  # fmt: skip


def _blocks(lengths: Sequence[int]) -> Iterator[Block]:
    """Neighbours share a block as long as little padding comes of it. `lengths` fall."""
    start = padding = 0
    for i, length in enumerate(lengths):
        padding += lengths[start] - length
        if padding > SLACK:
            yield Block(i - start, lengths[start])
            start, padding = i, 0
    yield Block(len(lengths) - start, lengths[start])


def _rows_of(id: int, messages: list[dict[str, Any]], template: Template, longest: int) -> list[Row] | str:
    """The rows of one demonstration, or why it has to be left out."""
    try:
        turns = [Message.of(m) for m in messages]
        encoded = template.encode(turns)
    except (EmptyAnswer, TemplateRefused, TokenizerFailed) as error:
        return str(error)
    rows = [Row(demonstration=id, ids=tuple(e.ids), labels=tuple(e.labels)) for e in encoded]
    if any(len(row.ids) > longest for row in rows):
        return f"longer than {longest} tokens ({max(len(row.ids) for row in rows)})"
    if not (rows := [row for row in rows if row.learned]):
        return "nothing in it to learn"
    return rows


def _why_nothing(dropped: Sequence[Dropped]) -> tuple[str, str]:
    if not dropped:
        return "There are no demonstrations to learn from.", "Keep an answer as a demonstration first."
    reasons = sorted({d.reason for d in dropped})
    return (
        f"None of the {len(dropped)} demonstrations can be learned from: {'; '.join(reasons[:3])}.",
        "Mend them on the Demonstrations tab, or change the settings of the run.",
    )
