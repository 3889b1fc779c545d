"""LoRA linear layers that share an input, fused into one matrix: forward in two products, backward in five."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from functools import partial
from typing import NamedTuple, cast

import torch
from peft.tuners.lora import Linear as LoraLayer
from torch import Tensor, nn

ADAPTER = "default"
"""The one adapter's name inside peft."""
SHARING = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))
"""Layers of one module that are given the same input. Should a model not do so, the result is right, only slower."""


def lora_pair(layer: LoraLayer) -> tuple[Tensor, Tensor]:
    """A (rank, in) and B (out, rank)."""
    return cast(Tensor, layer.lora_A[ADAPTER].weight), cast(Tensor, layer.lora_B[ADAPTER].weight)


def is_plain(layer: LoraLayer) -> bool:
    """Whether peft's result for this layer is W x + bias + scale B A x and nothing else."""
    return (
        type(layer.base_layer) is nn.Linear
        and isinstance(layer.lora_dropout[ADAPTER], nn.Identity)
        and not layer.use_dora[ADAPTER]
        and all(matrix.dtype == torch.float32 for matrix in lora_pair(layer))
        and layer.lora_B[ADAPTER].bias is None
    )


def linear_of(layer: nn.Module) -> nn.Linear:
    """The frozen layer: under an adapter, or `layer` itself."""
    return cast(nn.Linear, layer.base_layer if isinstance(layer, LoraLayer) else layer)


class Copies(NamedTuple):
    """A LoRA layer's matrices, and the parts of fused ones that are copies of them."""

    a: Tensor
    b: Tensor
    scaled_a: Tensor
    copied_b: Tensor
    scale: Tensor
    """By which each column of A is multiplied, (in,)."""


class Gradients(NamedTuple):
    """Gradients of a LoRA layer's matrices, that of A still to be multiplied by `scale` (in,)."""

    a: Tensor
    b: Tensor
    scale: Tensor


class FusedLoraLinear:
    """W x + bias + scale B A x for n layers of one input x; without adapters on them W x + bias, of rank 0.

    `w_and_a` (out + n rank, in) holds every W, then every scale A; `b` (out, n rank) every B, as the blocks of a
    block-diagonal matrix. A norm in front of the layers multiplies x by `norm_weight` (in,): that is multiplied into
    the matrices, so that x is given without it. `copies` are what `sync_weights` keeps up to date.
    """

    def __init__(self, layers: Sequence[nn.Module], dtype: torch.dtype, norm_weight: Tensor | None = None) -> None:
        self.layers = [layer for layer in layers if isinstance(layer, LoraLayer)]
        self.rank = self.layers[0].r[ADAPTER] if self.layers else 0
        frozen = [linear_of(layer).weight.detach() for layer in layers]
        norm = torch.ones(frozen[0].shape[1], device=frozen[0].device) if norm_weight is None else norm_weight.detach()
        self.scale = self.layers[0].scaling[ADAPTER] * norm if self.layers else norm
        self.out_features = [w.shape[0] for w in frozen]
        self.bias = _joined_bias(layers, dtype)
        self.out = sum(self.out_features)
        a = torch.zeros(len(self.layers) * self.rank, len(norm), device=norm.device)
        self.w_and_a = torch.cat([*(w * norm for w in frozen), a]).to(dtype)
        self.b = torch.zeros(self.out, len(a), dtype=dtype, device=norm.device)
        self.copies = [
            Copies(*lora_pair(layer), self.w_and_a[self.out :][rows], self.b[columns, rows], self.scale)
            for layer, rows, columns in self._blocks()
        ]
        self.merged: Tensor | None = None
        """W + scale B A (out, in), while merged."""

    def merge(self, on: bool) -> None:
        """Compute with one merged matrix from now on, or with its parts again. With B all zero it is W to the bit."""
        w, a = self.w_and_a[: self.out], self.w_and_a[self.out :]
        self.merged = torch.addmm(w, self.b, a) if on else None

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """All outputs side by side (N, out) of `x` (N, in), and x A^T (N, n rank), which `backward` needs."""
        if self.merged is not None:
            return self._add_bias(x @ self.merged.t()), x[:, :0]
        both = x @ self.w_and_a.t()
        x_a = both[:, self.out :]
        return self._add_bias(torch.addmm(both[:, : self.out], x_a, self.b.t())), x_a

    def grad_buffer(self, rows: int) -> Tensor:
        """(rows, out + n rank): the caller writes the outputs' gradients into the first `out` columns."""
        return self.w_and_a.new_empty(rows, len(self.w_and_a))

    def backward(
        self, grad_buffer: Tensor, x: Tensor, x_a: Tensor, needs_grad_x: bool = True
    ) -> tuple[Tensor | None, list[Gradients]]:
        """The gradient of x if asked, before any norm weight, and those of every A and B; see `write_gradients`."""
        grad_out, grad_x_a = grad_buffer[:, : self.out], grad_buffer[:, self.out :]
        torch.mm(grad_out, self.b, out=grad_x_a)
        all_a, all_b = grad_x_a.t() @ x, grad_out.t() @ x_a
        found = [Gradients(all_a[rows], all_b[columns, rows], self.scale) for _, rows, columns in self._blocks()]
        return grad_buffer @ self.w_and_a if needs_grad_x else None, found

    def _add_bias(self, out: Tensor) -> Tensor:
        return out if self.bias is None else out.add_(self.bias)

    def _blocks(self) -> Iterator[tuple[LoraLayer, slice, slice]]:
        """Each adapter's layer, its rows among the low-rank ones, and its columns among the outputs."""
        start = 0
        for number, (layer, out) in enumerate(zip(self.layers, self.out_features, strict=False)):
            yield layer, slice(number * self.rank, (number + 1) * self.rank), slice(start, start + out)
            start += out


def sync_weights(linears: Sequence[FusedLoraLinear]) -> None:
    """Copy all A and B as they are now: hundreds of small matrices in three calls."""
    copies = [own for linear in linears for own in linear.copies]
    if not copies:
        return
    with torch.no_grad():
        torch._foreach_copy_([own.copied_b for own in copies], [own.b for own in copies])
        scaled = torch._foreach_mul([own.a for own in copies], [own.scale for own in copies])
        torch._foreach_copy_([own.scaled_a for own in copies], list(scaled))


def write_gradients(to: Sequence[tuple[Tensor, Tensor]], found: Sequence[Gradients]) -> None:
    """Write the gradients of A and B into pairs of matrices, in their dtype."""
    to_a, to_b = [a for a, _ in to], [b for _, b in to]
    torch._foreach_copy_([*to_a, *to_b], [*(own.a for own in found), *(own.b for own in found)])
    torch._foreach_mul_(to_a, [own.scale for own in found])


def _joined_bias(layers: Sequence[nn.Module], dtype: torch.dtype) -> Tensor | None:
    """The biases side by side (out,), zero where a layer has none; None where none has."""
    linears = [linear_of(layer) for layer in layers]
    if all(linear.bias is None for linear in linears):
        return None
    parts = [x.weight.new_zeros(x.out_features) if x.bias is None else x.bias.detach() for x in linears]
    return torch.cat(parts).to(dtype)


def fuse(model: nn.Module, dtype: torch.dtype) -> list[FusedLoraLinear]:
    """Give the plain LoRA layers of `model` a fused forward, products in `dtype`; the caller syncs their weights."""
    groups: list[_Group] = []
    for parent in model.modules():
        own = {name: m for name, m in parent.named_children() if isinstance(m, LoraLayer) and is_plain(m)}
        for names in SHARING:
            if all(name in own for name in names):
                groups.append(_Group([own.pop(name) for name in names], dtype))
        groups += [_Group([layer], dtype) for layer in own.values()]
    return [group.linear for group in groups]


class _Group:
    """Layers that are given one input. The first that is called computes all outputs; the others find theirs made."""

    def __init__(self, layers: Sequence[LoraLayer], dtype: torch.dtype) -> None:
        self.linear = FusedLoraLinear(layers, dtype)
        self._made = threading.local()
        for number, layer in enumerate(layers):
            layer.forward = partial(self._output, number)  # type: ignore[method-assign]

    def _output(self, number: int, x: Tensor) -> Tensor:
        """(..., in) to the (..., out) of one of the layers."""
        made = self._made
        if getattr(made, "x", None) is not x or number not in made.outputs:
            matrices = (matrix for layer in self.linear.layers for matrix in lora_pair(layer))
            outputs = _FusedFunction.apply(x, self.linear, *matrices)  # type: ignore[no-untyped-call]
            made.x, made.outputs = x, dict(enumerate(outputs))
        out: Tensor = made.outputs.pop(number)
        if not made.outputs:
            made.x = None
        return out


class _FusedFunction(torch.autograd.Function):
    """A `FusedLoraLinear` as one autograd step. W is frozen: its gradient is never computed."""

    @staticmethod
    def forward(ctx, x, linear, *matrices):  # type: ignore[no-untyped-def]
        flat = x.flatten(0, -2).to(linear.w_and_a.dtype)
        out, x_a = linear.forward(flat)
        ctx.linear = linear
        ctx.save_for_backward(flat, x_a)
        return tuple(part.to(x.dtype).unflatten(0, x.shape[:-1]) for part in out.split(linear.out_features, dim=1))

    @staticmethod
    def backward(ctx, *grad_outputs):  # type: ignore[no-untyped-def]
        flat, x_a = ctx.saved_tensors
        linear, shape, dtype = ctx.linear, grad_outputs[0].shape[:-1], grad_outputs[0].dtype
        buffer = linear.grad_buffer(len(flat))
        torch.cat([grad.flatten(0, -2).to(buffer.dtype) for grad in grad_outputs], dim=1, out=buffer[:, : linear.out])
        grad_x, found = linear.backward(buffer, flat, x_a, ctx.needs_input_grad[0])
        grads = [(torch.empty_like(a), torch.empty_like(b)) for a, b in map(lora_pair, linear.layers)]
        write_gradients(grads, found)
        grad_x = None if grad_x is None else grad_x.to(dtype).unflatten(0, shape)
        return grad_x, None, *(grad for both in grads for grad in both)
