"""The layers of a Llama, forward and backward written out: a tenth of the operations that autograd would dispatch.

A small base spends its time on starting operations, not on computing them. Here a layer takes some fifty on the way
forward and eighty back, norms' weights are part of the matrices, and products are made in bfloat16 where that pays.
The result is held to that of transformers and peft by the tests, and by `fits` before it is used on a base.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from peft.tuners.lora import Linear as LoraLayer
from torch import Tensor, nn

from chatlab.training.batches import Batch
from chatlab.training.stack import Stack, is_plain, pair

ROPES = ("default", "linear", "llama3", "yarn")
"""Kinds of rotary positions whose angles do not depend on how long the text is."""
Pairs = Sequence[tuple[Tensor, Tensor]]


def fits(causal: nn.Module) -> bool:
    """Whether `causal`, with peft's layers in it, is a network that this file writes out."""
    config: Any = causal.config
    if config.model_type != "llama" or config.hidden_act != "silu" or config.attention_dropout:
        return False
    adapted = [m for m in causal.modules() if isinstance(m, LoraLayer)]
    return (
        config.num_attention_heads == config.num_key_value_heads
        and (config.rope_parameters or {}).get("rope_type", "default") in ROPES
        and len(adapted) == 7 * config.num_hidden_layers
        and all(is_plain(layer) for layer in adapted)
    )


class Layer:
    """Attention and feed-forward of one layer, as four stacks."""

    def __init__(self, layer: Any, dtype: torch.dtype) -> None:
        own, feed = layer.self_attn, layer.mlp
        self.heads, self.scale = own.config.num_attention_heads, own.scaling
        self.qkv = Stack([own.q_proj, own.k_proj, own.v_proj], dtype, layer.input_layernorm.weight)
        self.out = Stack([own.o_proj], dtype)
        self.gate_up = Stack([feed.gate_proj, feed.up_proj], dtype, layer.post_attention_layernorm.weight)
        self.down = Stack([feed.down_proj], dtype)

    @property
    def stacks(self) -> tuple[Stack, Stack, Stack, Stack]:
        return self.qkv, self.out, self.gate_up, self.down


class Kept(NamedTuple):
    """What a layer's way back needs of its way forward; N places, low parts as `Stack.forward` gave them."""

    size1: Tensor
    unit1: Tensor
    low_qkv: Tensor
    blocks: list[tuple[Tensor, Tensor, Tensor, Tensor]]
    mixed: Tensor
    low_out: Tensor
    size2: Tensor
    unit2: Tensor
    low_gate_up: Tensor
    gate: Tensor
    up: Tensor
    opened: Tensor
    product: Tensor
    low_down: Tensor


class Llama:
    """All layers of `causal`. `flat` is the vector that the adapter's matrices are views of, in their order."""

    def __init__(self, causal: Any, flat: nn.Parameter, dtype: torch.dtype) -> None:
        inner = causal.model
        self.flat, self.dtype = flat, dtype
        self.layers = [Layer(layer, dtype) for layer in inner.layers]
        self.embedding, self.final = inner.embed_tokens.weight.detach(), inner.norm.weight.detach()
        self.eps = causal.config.rms_norm_eps
        places = torch.arange(causal.config.max_position_embeddings, device=flat.device)[None]
        cos, sin = inner.rotary_emb(self.embedding, places)
        self.cos, self.sin = cos[0].float(), sin[0].float()
        self.sin[:, : self.sin.shape[1] // 2] *= -1
        adapted = (own for stack in self.stacks for own in stack.layers)
        self._shapes = [tuple(matrix.shape for matrix in pair(own)) for own in adapted]

    @property
    def stacks(self) -> list[Stack]:
        return [stack for layer in self.layers for stack in layer.stacks]

    def refresh(self) -> None:
        """To be called whenever `flat` has been written to."""
        for stack in self.stacks:
            stack.refresh()

    def hidden(self, batch: Batch) -> Tensor:
        """What the last layer makes of each place, (N, H)."""
        result: Tensor = Written.apply(self.flat, self, batch)
        return result

    def forward(self, batch: Batch, keep: bool) -> tuple[Tensor, list[Kept], Tensor]:
        """Hidden states before the final norm's weight, what each layer kept, and the final norm's sizes."""
        cos, sin = self.cos[batch.positions, None], self.sin[batch.positions, None]
        futures = [self._future(width) for _, width in batch.blocks]
        x, kept = F.embedding(batch.ids, self.embedding), []
        for layer in self.layers:
            x, own = self._forward(layer, x, cos, sin, batch.blocks, futures)
            if keep:
                kept.append(own)
        size = self._size(x)
        return x * size, kept, size

    def _forward(
        self, layer: Layer, x: Tensor, cos: Tensor, sin: Tensor, blocks: Sequence[tuple[int, int]],
        futures: Sequence[Tensor],
    ) -> tuple[Tensor, Kept]:  # fmt: skip
        size1, unit1 = self._normed(x)
        qkv, low_qkv = layer.qkv.forward(unit1)
        mixed, parts = self._mixed(layer, qkv, cos, sin, blocks, futures)
        y, low_out = layer.out.forward(mixed)
        x = x + y
        size2, unit2 = self._normed(x)
        both, low_gate_up = layer.gate_up.forward(unit2)
        gate, up = both.chunk(2, dim=1)
        opened = F.silu(gate)
        product = opened * up
        y, low_down = layer.down.forward(product)
        return x + y, Kept(size1, unit1, low_qkv, parts, mixed, low_out, size2, unit2, low_gate_up, gate, up, opened,
                           product, low_down)  # fmt: skip

    def _mixed(
        self, layer: Layer, qkv: Tensor, cos: Tensor, sin: Tensor, blocks: Sequence[tuple[int, int]],
        futures: Sequence[Tensor],
    ) -> tuple[Tensor, list[tuple[Tensor, Tensor, Tensor, Tensor]]]:  # fmt: skip
        """Causal attention within each sequence: (N, 3H) to (N, H), and queries, keys, values and shares by block."""
        heads, third = layer.heads, qkv.shape[1] // 3
        turned = self._turned(qkv[:, : 2 * third].unflatten(1, (2 * heads, -1)), cos, sin)
        values = qkv[:, 2 * third :].unflatten(1, (heads, -1))
        mixed, parts, start = torch.empty_like(values), [], 0
        for (rows, width), future in zip(blocks, futures, strict=True):
            span = slice(start, start + rows * width)
            q, k, v = (by_head(part[span], rows) for part in (turned[:, :heads], turned[:, heads:], values))
            share = torch.baddbmm(future, q, k.transpose(1, 2), alpha=layer.scale).softmax(-1)
            mixed[span] = by_place(share.bmm(v), rows)
            parts.append((q, k, v, share))
            start = span.stop
        return mixed.flatten(1), parts

    def backward(self, pull: Tensor, batch: Batch, kept: list[Kept], unit: Tensor, size: Tensor) -> Tensor:
        """From the gradient of the hidden states (N, H) to that of `flat`."""
        cos, sin = self.cos[batch.positions, None], self.sin[batch.positions, None]
        grad = torch.empty_like(self.flat)
        pairs = self._pairs(grad)
        x = self._unnormed(torch.zeros_like(pull), pull * self.final, unit, size)
        for place in reversed(range(len(self.layers))):
            x = self._backward(self.layers[place], x, kept[place], cos, sin, batch.blocks,
                               pairs[7 * place : 7 * place + 7], place > 0)  # fmt: skip
        return grad

    def _backward(
        self, layer: Layer, x: Tensor, kept: Kept, cos: Tensor, sin: Tensor, blocks: Sequence[tuple[int, int]],
        grads: Pairs, further: bool,
    ) -> Tensor:  # fmt: skip
        """`x` is the gradient of the layer's output; returns that of its input, if anything lies before it."""
        size, wide = len(x), layer.gate_up.wide // 2
        pulls = layer.down.room(size)
        pulls[:, : layer.down.wide] = x
        product = layer.down.backward(pulls, kept.product, kept.low_down, grads[6:])
        assert product is not None
        pulls = layer.gate_up.room(size)
        torch.mul(product, kept.opened, out=pulls[:, wide : 2 * wide])
        torch.ops.aten.silu_backward.grad_input(product.mul_(kept.up), kept.gate, grad_input=pulls[:, :wide])
        unit = layer.gate_up.backward(pulls, kept.unit2, kept.low_gate_up, grads[4:6])
        x = self._unnormed(x, unit, kept.unit2, kept.size2)
        pulls = layer.out.room(size)
        pulls[:, : layer.out.wide] = x
        mixed = layer.out.backward(pulls, kept.mixed, kept.low_out, grads[3:4])
        pulls = layer.qkv.room(size)
        self._unmixed(layer, mixed, kept.blocks, pulls, cos, sin, blocks)
        unit = layer.qkv.backward(pulls, kept.unit1, kept.low_qkv, grads[:3], to_x=further)
        return self._unnormed(x, unit, kept.unit1, kept.size1) if further else x

    def _unmixed(
        self, layer: Layer, pull: Tensor | None, parts: list[tuple[Tensor, Tensor, Tensor, Tensor]], pulls: Tensor,
        cos: Tensor, sin: Tensor, blocks: Sequence[tuple[int, int]],
    ) -> None:  # fmt: skip
        """From the gradient of the mixed values (N, H) to that of queries, keys and values, in `pulls`."""
        assert pull is not None
        heads, wide = layer.heads, pull.shape[1]
        pull = pull.unflatten(1, (heads, -1))
        values = pulls[:, 2 * wide : 3 * wide].unflatten(1, (heads, -1))
        turned, start = pull.new_empty(len(pull), 2 * heads, pull.shape[2]), 0
        for (rows, width), (q, k, v, share) in zip(blocks, parts, strict=True):
            span = slice(start, start + rows * width)
            own = by_head(pull[span], rows)
            values[span] = by_place(share.transpose(1, 2).bmm(own), rows)
            score = torch._softmax_backward_data(own.bmm(v.transpose(1, 2)), share, -1, share.dtype).mul_(layer.scale)
            turned[span, :heads] = by_place(score.bmm(k), rows)
            turned[span, heads:] = by_place(score.transpose(1, 2).bmm(q), rows)
            start = span.stop
        pulls[:, : 2 * wide] = self._turned(turned, cos, -sin).flatten(1)

    def _future(self, width: int) -> Tensor:
        """What hides later places from earlier ones, (width, width)."""
        return torch.full((width, width), float("-inf"), dtype=self.dtype, device=self.flat.device).triu_(1)

    def _turned(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """Rotary positions: `x` (N, heads, d) turned by its angles, or back with the other sign of `sin`."""
        return (x * cos).addcmul_(x.roll(x.shape[2] // 2, dims=2), sin).to(self.dtype)

    def _size(self, x: Tensor) -> Tensor:
        """1 / root mean square of each place, (N, 1)."""
        return x.square().mean(1, keepdim=True).add_(self.eps).rsqrt_()

    def _normed(self, x: Tensor) -> tuple[Tensor, Tensor]:
        size = self._size(x)
        return size, torch.mul(x, size, out=torch.empty_like(x, dtype=self.dtype))

    def _unnormed(self, x: Tensor, pull: Tensor | None, unit: Tensor, size: Tensor) -> Tensor:
        """`x` plus what comes back through a norm, given the gradient of its result."""
        assert pull is not None
        along = (pull * unit).mean(1, keepdim=True, dtype=torch.float32)
        return torch.addcmul(x, pull - unit * along, size)

    def _pairs(self, flat: Tensor) -> list[tuple[Tensor, Tensor]]:
        """The A and B matrices that `flat` holds, as views."""
        found, start = [], 0
        for shapes in self._shapes:
            views = []
            for shape in shapes:
                views.append(flat[start : start + shape.numel()].view(shape))
                start += shape.numel()
            found.append((views[0], views[1]))
        return found


class Written(torch.autograd.Function):
    """The whole network as one autograd step, from the adapter's numbers to hidden states."""

    @staticmethod
    def forward(ctx, flat, llama, batch):  # type: ignore[no-untyped-def]
        unit, ctx.kept, size = llama.forward(batch, keep=ctx.needs_input_grad[0])
        ctx.llama, ctx.batch = llama, batch
        ctx.save_for_backward(unit, size)
        return unit * llama.final

    @staticmethod
    def backward(ctx, pull):  # type: ignore[no-untyped-def]
        grad = ctx.llama.backward(pull, ctx.batch, ctx.kept, *ctx.saved_tensors)
        return grad, None, None


def by_head(x: Tensor, rows: int) -> Tensor:
    """(rows x width, heads, d) to (rows x heads, width, d)."""
    return x.unflatten(0, (rows, -1)).transpose(1, 2).flatten(0, 1)


def by_place(x: Tensor, rows: int) -> Tensor:
    """(rows x heads, width, d) to (rows x width, heads, d)."""
    return x.unflatten(0, (rows, -1)).transpose(1, 2).flatten(0, 1)
