"""Adapted linear layers that read one input, as one matrix: forward in two products, backward in five."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import cast

import torch
from peft.tuners.lora import Linear as LoraLayer
from torch import Tensor, nn

NAME = "default"
"""The one adapter's name inside peft."""


def pair(layer: LoraLayer) -> tuple[Tensor, Tensor]:
    """A (rank, in) and B (out, rank)."""
    return cast(Tensor, layer.lora_A[NAME].weight), cast(Tensor, layer.lora_B[NAME].weight)


def is_plain(layer: LoraLayer) -> bool:
    """Whether peft's result for this layer is W x + scale B A x and nothing else."""
    return (
        type(layer.base_layer) is nn.Linear
        and layer.base_layer.bias is None
        and isinstance(layer.lora_dropout[NAME], nn.Identity)
        and not layer.use_dora[NAME]
        and all(matrix.dtype == torch.float32 for matrix in pair(layer))
        and layer.lora_B[NAME].bias is None
    )


class Stack:
    """W x + scale B A x for n layers of one input.

    `matrix` (wide + n rank, in) holds every W, then every scale A; `up` (n rank, wide) every B transposed, each in its
    own corner. `gain` (in,), a norm's weight, is what the input would have been multiplied with; the matrix has it in.
    """

    def __init__(self, layers: Sequence[LoraLayer], dtype: torch.dtype, gain: Tensor | None = None) -> None:
        self.layers, self.rank = layers, layers[0].r[NAME]
        frozen = [cast(Tensor, layer.base_layer.weight).detach() for layer in layers]
        gain = torch.ones(frozen[0].shape[1], device=frozen[0].device) if gain is None else gain.detach()
        self.scale = layers[0].scaling[NAME] * gain
        self.outs = [w.shape[0] for w in frozen]
        self.wide = sum(self.outs)
        low = torch.zeros(len(layers) * self.rank, len(gain), device=gain.device)
        self.matrix = torch.cat([*(w * gain for w in frozen), low]).to(dtype)
        self.up = torch.zeros(len(low), self.wide, dtype=dtype, device=gain.device)
        self.sum: Tensor | None = None
        """W + scale B A (wide, in), while nothing is learned."""

    def refresh(self) -> None:
        """Take over what has become of A and B since the last time."""
        for layer, rows, columns in self._corners():
            a, b = (matrix.detach() for matrix in pair(layer))
            self.matrix[self.wide :][rows].copy_(a * self.scale)
            self.up[rows, columns].copy_(b.t())

    def add_up(self, on: bool) -> None:
        """Compute with one matrix from now on, or with its parts again. With B all zero the sum is W to the bit."""
        wide = self.wide
        self.sum = torch.addmm(self.matrix[:wide], self.up.t(), self.matrix[wide:]) if on else None

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(N, in) to all outputs beside each other (N, wide), and what `backward` needs of the way (N, n rank)."""
        if self.sum is not None:
            return x @ self.sum.t(), x[:, :0]
        both = x @ self.matrix.t()
        low = both[:, self.wide :]
        return torch.addmm(both[:, : self.wide], low, self.up), low

    def room(self, rows: int) -> Tensor:
        """For the gradients of the outputs, the first `wide` columns, which `backward` is given; and more."""
        return self.matrix.new_empty(rows, len(self.matrix))

    def backward(
        self, pulls: Tensor, x: Tensor, low: Tensor, grads: Sequence[tuple[Tensor, Tensor]], to_x: bool = True
    ) -> Tensor | None:
        """Writes the gradients of every A and B into `grads`; returns that of x, if asked, before any gain."""
        wide, down = pulls[:, : self.wide], pulls[:, self.wide :]
        torch.mm(wide, self.up.t(), out=down)
        to_a, to_b = down.t() @ x, low.t() @ wide
        for (grad_a, grad_b), (_, rows, columns) in zip(grads, self._corners(), strict=True):
            torch.mul(to_a[rows], self.scale, out=grad_a)
            grad_b.copy_(to_b[rows, columns].t())
        return pulls @ self.matrix if to_x else None

    def _corners(self) -> Iterator[tuple[LoraLayer, slice, slice]]:
        """Each layer, its rows among the low-rank ones, and its columns among the outputs."""
        start = 0
        for place, (layer, out) in enumerate(zip(self.layers, self.outs, strict=True)):
            yield layer, slice(place * self.rank, (place + 1) * self.rank), slice(start, start + out)
            start += out
