"""The layers below the adapter. What they give for a text never changes, so that it is computed once and kept."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from threading import Lock

import torch
from torch import Tensor

from chatlab.training.fast.layer import Layer, Packing
from chatlab.training.packing import Batch, Span

KEPT_BYTES = 256 << 20
"""Of hidden states kept."""


class FrozenLayers:
    """The embedding and the layers on it that have no adapter.

    Each text is computed alone: what comes of it does not depend, to the bit, on what else was in a batch.
    """

    def __init__(
        self,
        embed: Callable[[Tensor], Tensor],
        layers: Sequence[Layer],
        packing: Callable[[Tensor, Sequence[Span]], Packing],
    ) -> None:
        """`packing` makes what layers need of a batch from its positions and spans."""
        self._embed, self._layers, self._packing = embed, layers, packing
        self._kept: dict[tuple[int, ...], Tensor] = {}
        self._bytes = 0
        self._lock = Lock()

    def hidden(self, batch: Batch) -> Tensor:
        """What the lowest layer with an adapter is given, (N, H). Several threads may call this at once."""
        if not self._layers:
            return self._embed(batch.ids)
        ids = batch.ids.tolist()
        parts = []
        for span in batch.spans:
            text = (*ids[span.root : span.root + span.prefix], *ids[span.start : span.start + span.width])
            parts.append(self._of(text)[span.prefix :])
        return torch.cat(parts)

    def _of(self, text: tuple[int, ...]) -> Tensor:
        """(len(text), H)."""
        if (kept := self._kept.get(text)) is not None:
            return kept
        made = self._compute(text)
        with self._lock:
            if text not in self._kept:
                self._kept[text] = made
                self._bytes += made.nbytes
            while self._bytes > KEPT_BYTES:  # of one that goes around, the oldest is the one that is needed next
                self._bytes -= self._kept.pop(random.choice(list(self._kept))).nbytes
        return made

    @torch.no_grad()
    def _compute(self, text: Sequence[int]) -> Tensor:
        device = self._layers[0].qkv.w_and_a.device
        ids = torch.tensor(text, device=device)
        packing = self._packing(torch.arange(len(text), device=device), [Span(0, len(text))])
        x = self._embed(ids)
        for layer in self._layers:
            x, _ = layer.forward(x, packing)
        return x
