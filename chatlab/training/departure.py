"""How far an adapter's opinions have gone from the base's where demonstrations are answered: the run's own subject."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from chatlab.training.batches import Row, collate
from chatlab.training.learner import Learner
from chatlab.training.loss import logits_of

MOST = 1 << 24
"""Numbers kept of the base: its opinion of every token of the vocabulary, at as many places as fit."""


class Departure:
    """The base's opinions on some rows, taken once, with which the adapter's are compared as often as asked."""

    def __init__(self, learner: Learner, rows: Sequence[Row]) -> None:
        self._learner = learner
        self._rows = _fitting(rows, MOST // learner.head.shape[0])
        with learner.asleep():
            self._base = [self._opinion(row) for row in self._rows]

    @torch.no_grad()
    def now(self) -> float | None:
        """KL(base || adapter), nats a token, mean over the places that are graded; None where there are none."""
        if not self._rows:
            return None
        pulls = [
            (base.exp() * (base - self._opinion(row))).sum() for row, base in zip(self._rows, self._base, strict=True)
        ]
        return float(torch.stack(pulls).sum()) / sum(row.learned for row in self._rows)

    @torch.no_grad()
    def _opinion(self, row: Row) -> Tensor:
        """Logarithms of the chances (L, V) at the places that predict a label."""
        batch = collate([row])
        hidden = self._learner.hidden(batch)[batch.at]
        return logits_of(hidden, self._learner.head).log_softmax(-1)


def _fitting(rows: Sequence[Row], places: int) -> list[Row]:
    found: list[Row] = []
    for row in rows:
        if row.learned <= places:
            places -= row.learned
            found.append(row)
    return found
