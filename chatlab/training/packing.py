"""Examples to packed batches: sequences end to end, without padding, and what all of them begin with only once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor

from chatlab.training.data import IGNORED, Example, shared_prefix

BATCH_TOKENS = 1024
"""Most tokens computed at once for a measurement: a processor multiplies that many twice as fast as 256."""


class Sized(Protocol):
    """An example, or several that are packed together."""

    @property
    def length(self) -> int:
        """Tokens."""


S = TypeVar("S", bound=Sized)


class Span(NamedTuple):
    """A sequence in a packed batch: `width` positions from `start` on, after the `prefix` first positions of `root`.

    `root` is where the shared beginning lies in the batch; with a `prefix` of 0 the sequence stands alone.
    """

    start: int
    width: int
    root: int = 0
    prefix: int = 0


class Batch(NamedTuple):
    """A packed batch: sequences end to end, so that no linear layer computes on padding.

    `ids` and `positions` are (N,), N the sum of the spans' widths; a position counts from the beginning of its text,
    a shared prefix included. `label_positions` (L,) index the positions that predict a label, `labels` (L,) are what
    they should predict; the last position of a shared prefix may predict one for each sequence.
    """

    ids: Tensor
    positions: Tensor
    spans: tuple[Span, ...]
    label_positions: Tensor
    labels: Tensor


def collate(examples: Sequence[Example]) -> Batch:
    """Pack examples, the longest first. Labels are in the examples' order, each example's together.

    What all begin with, such as the same system message, is computed once: causal attention gives the same there
    whatever follows. That is exact, and so is the gradient: a prefix position gathers it from every sequence.
    """
    ordered = sorted(examples, key=lambda example: -len(example.ids))
    prefix = shared_prefix([example.ids for example in ordered])
    ids = list(ordered[0].ids[:prefix])
    positions = list(range(prefix))
    spans = [Span(0, prefix)] if prefix else []
    label_positions: list[int] = []
    labels: list[int] = []
    for example in ordered:
        start, width = len(ids), len(example.ids) - prefix
        spans.append(Span(start, width, prefix=prefix))
        for offset, label in enumerate(example.labels[1:]):
            if label != IGNORED:
                label_positions.append(offset if offset < prefix else start + offset - prefix)
                labels.append(label)
        ids += example.ids[prefix:]
        positions += range(prefix, len(example.ids))
    supervised = torch.tensor(label_positions, dtype=torch.long), torch.tensor(labels, dtype=torch.long)
    return Batch(torch.tensor(ids), torch.tensor(positions), tuple(spans), *supervised)


def shares(examples: Sequence[S], workers: int, most: int = BATCH_TOKENS) -> list[list[S]]:
    """Examples of like length together, `most` tokens at once or so few that each worker has a share."""
    most = min(most, sum(e.length for e in examples) // workers + 1)
    batches: list[list[S]] = [[]]
    for example in sorted(examples, key=lambda example: -example.length):
        if sum(e.length for e in batches[-1]) + example.length > most and batches[-1]:
            batches.append([])
        batches[-1].append(example)
    return [batch for batch in batches if batch]


def concat(first: Batch, second: Batch) -> Batch:
    """Two batches as one, the first one's positions before the second's."""
    offset = len(first.ids)
    moved = (span._replace(start=span.start + offset, root=span.root + offset) for span in second.spans)
    return Batch(
        ids=torch.cat((first.ids, second.ids)),
        positions=torch.cat((first.positions, second.positions)),
        spans=(*first.spans, *moved),
        label_positions=torch.cat((first.label_positions, second.label_positions + offset)),
        labels=torch.cat((first.labels, second.labels)),
    )
