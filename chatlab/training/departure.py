"""How far an adapter's opinions have gone from the base's where demonstrations are answered: the run's own subject."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from chatlab.training.batches import Batch, Row, collate
from chatlab.training.learner import Learner
from chatlab.training.loss import logits_of

MOST = 1 << 24
"""Numbers kept of the base: its opinion of every token of the vocabulary, at as many places as fit."""


class Departure:
    """The base's opinions on some rows, taken once, with which the adapter's are compared as often as asked."""

    def __init__(self, learner: Learner, rows: Sequence[Row]) -> None:
        self._learner = learner
        self._batch = collate(found) if (found := _fitting(rows, MOST // learner.head.shape[0])) else None
        with learner.asleep():
            self._base = self._opinion(self._batch) if self._batch else None

    def now(self) -> float | None:
        """KL(base || adapter), nats a token, mean over the places that are graded; None where there are none."""
        if self._batch is None or self._base is None:
            return None
        gone = self._base.exp() * (self._base - self._opinion(self._batch))
        return float(gone.sum()) / len(gone)

    @torch.no_grad()
    def _opinion(self, batch: Batch) -> Tensor:
        """Logarithms of the chances (L, V) at the places that predict a label."""
        hidden = self._learner.hidden(batch)[batch.at]
        return logits_of(hidden, self._learner.head).log_softmax(-1)


def _fitting(rows: Sequence[Row], places: int) -> list[Row]:
    """The first rows that have no more places to grade than that."""
    found: list[Row] = []
    for row in rows:
        if row.learned <= places:
            places -= row.learned
            found.append(row)
    return found
