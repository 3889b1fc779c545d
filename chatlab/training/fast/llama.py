"""The layers of a Llama, forward and backward written out: a tenth of the operations that autograd would dispatch.

A small base spends its time on starting operations, not on computing them. Here a layer takes some fifty on the way
forward and eighty back, norms' weights are part of the matrices, and products are made in bfloat16 where that pays.
The tests hold the result to that of transformers and peft, and `supports` decides before it is used on a base.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from peft.tuners.lora import Linear as LoraLayer
from torch import Tensor, nn

from chatlab.training.data import Batch
from chatlab.training.fast.lora_linear import FusedLoraLinear, is_plain, lora_pair

ROPES = ("default", "linear", "llama3", "yarn")
"""Kinds of rotary embedding whose angles do not depend on how long the text is."""
Pairs = Sequence[tuple[Tensor, Tensor]]
"""Gradients of A and B, one pair a LoRA layer."""
Attended = tuple[Tensor, Tensor, Tensor, Tensor]
"""Queries, keys, values and attention weights of one block."""


def supports(causal: nn.Module) -> bool:
    """Whether `causal`, with peft's layers in it, is a network that this file computes."""
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
    """Attention and feed-forward of one layer, as four fused linears."""

    def __init__(self, layer: Any, dtype: torch.dtype) -> None:
        attn, mlp = layer.self_attn, layer.mlp
        self.heads, self.scale = attn.config.num_attention_heads, attn.scaling
        self.qkv = FusedLoraLinear([attn.q_proj, attn.k_proj, attn.v_proj], dtype, layer.input_layernorm.weight)
        self.out = FusedLoraLinear([attn.o_proj], dtype)
        self.gate_up = FusedLoraLinear([mlp.gate_proj, mlp.up_proj], dtype, layer.post_attention_layernorm.weight)
        self.down = FusedLoraLinear([mlp.down_proj], dtype)

    @property
    def linears(self) -> tuple[FusedLoraLinear, FusedLoraLinear, FusedLoraLinear, FusedLoraLinear]:
        return self.qkv, self.out, self.gate_up, self.down


class Activations(NamedTuple):
    """What a layer's backward needs of its forward; N positions. `x_a_*` are x A^T as `FusedLoraLinear` gives them."""

    inv_rms1: Tensor
    normed1: Tensor
    x_a_qkv: Tensor
    blocks: list[Attended]
    mixed: Tensor
    x_a_out: Tensor
    inv_rms2: Tensor
    normed2: Tensor
    x_a_gate_up: Tensor
    gate: Tensor
    up: Tensor
    gate_act: Tensor
    product: Tensor
    x_a_down: Tensor


class Packing(NamedTuple):
    """What every layer needs of a packed batch: rotary angles (N, 1, d), blocks, and a causal mask for each."""

    cos: Tensor
    sin: Tensor
    blocks: tuple[tuple[int, int], ...]
    masks: list[Tensor]


class FastLlama:
    """All layers of `causal`. `flat` is the vector that the adapter's matrices are views of, in their order."""

    def __init__(self, causal: Any, flat: nn.Parameter, dtype: torch.dtype) -> None:
        inner = causal.model
        self.flat, self.dtype = flat, dtype
        self.parameters: list[nn.Parameter] = [flat]
        self.layers = [Layer(layer, dtype) for layer in inner.layers]
        self.embedding, self.final_norm = inner.embed_tokens.weight.detach(), inner.norm.weight.detach()
        self.eps = causal.config.rms_norm_eps
        positions = torch.arange(causal.config.max_position_embeddings, device=flat.device)[None]
        cos, sin = inner.rotary_emb(self.embedding, positions)
        self.cos, self.sin = cos[0].float(), sin[0].float()
        self.sin[:, : self.sin.shape[1] // 2] *= -1
        adapted = (own for linear in self.linears for own in linear.layers)
        self._shapes = [tuple(matrix.shape for matrix in lora_pair(own)) for own in adapted]

    @property
    def linears(self) -> list[FusedLoraLinear]:
        return [linear for layer in self.layers for linear in layer.linears]

    def sync_weights(self) -> None:
        """To be called whenever `flat` has been written to."""
        for linear in self.linears:
            linear.sync_weights()

    def hidden(self, batch: Batch) -> Tensor:
        """Hidden states of the last layer, after the final norm, (N, H)."""
        result: Tensor = LlamaFunction.apply(self.flat, self, batch)  # type: ignore[no-untyped-call]
        return result

    @contextmanager
    def merged(self) -> Iterator[None]:
        """Each adapted matrix as one, for evaluation only: a seventh quicker.

        In bfloat16 the sum would lose the small part, so there nothing changes.
        """
        linears = self.linears if self.dtype == torch.float32 else []
        try:
            for linear in linears:
                linear.merge(True)
            yield
        finally:
            for linear in linears:
                linear.merge(False)

    def forward(self, batch: Batch, keep: bool) -> tuple[Tensor, list[Activations], Tensor]:
        """Hidden states before the final norm's weight, each layer's activations, and the final norm's 1 / rms."""
        packing = self._packing(batch)
        x, kept = F.embedding(batch.ids, self.embedding), []
        for layer in self.layers:
            x, activations = self._layer_forward(layer, x, packing)
            if keep:
                kept.append(activations)
        inv_rms = self._inv_rms(x)
        return x * inv_rms, kept, inv_rms

    def _layer_forward(self, layer: Layer, x: Tensor, packing: Packing) -> tuple[Tensor, Activations]:
        inv_rms1, normed1 = self._norm(x)
        qkv, x_a_qkv = layer.qkv.forward(normed1)
        mixed, attended = self._attention(layer, qkv, packing)
        y, x_a_out = layer.out.forward(mixed)
        x = x + y
        inv_rms2, normed2 = self._norm(x)
        gate_up, x_a_gate_up = layer.gate_up.forward(normed2)
        gate, up = gate_up.chunk(2, dim=1)
        gate_act = F.silu(gate)
        product = gate_act * up
        y, x_a_down = layer.down.forward(product)
        first = (inv_rms1, normed1, x_a_qkv, attended, mixed, x_a_out)
        second = (inv_rms2, normed2, x_a_gate_up, gate, up, gate_act, product, x_a_down)
        return x + y, Activations(*first, *second)

    def _attention(self, layer: Layer, qkv: Tensor, packing: Packing) -> tuple[Tensor, list[Attended]]:
        """Causal attention within each sequence, (N, 3H) to (N, H); and what each block's backward needs."""
        heads, third = layer.heads, qkv.shape[1] // 3
        rotated = self._rope(qkv[:, : 2 * third].unflatten(1, (2 * heads, -1)), packing.cos, packing.sin)
        values = qkv[:, 2 * third :].unflatten(1, (heads, -1))
        mixed, attended, start = torch.empty_like(values), [], 0
        for (rows, width), mask in zip(packing.blocks, packing.masks, strict=True):
            span = slice(start, start + rows * width)
            q, k, v = (by_head(part[span], rows) for part in (rotated[:, :heads], rotated[:, heads:], values))
            attn = torch.baddbmm(mask, q, k.transpose(1, 2), alpha=layer.scale).softmax(-1)
            mixed[span] = by_position(attn.bmm(v), rows)
            attended.append((q, k, v, attn))
            start = span.stop
        return mixed.flatten(1), attended

    def backward(self, grad: Tensor, batch: Batch, kept: list[Activations], normed: Tensor, inv_rms: Tensor) -> Tensor:
        """The gradient of `flat`, from that of the hidden states (N, H)."""
        packing = self._packing(batch)
        grad_flat = torch.empty_like(self.flat)
        pairs = self._pairs(grad_flat)
        grad_x = self._norm_backward(torch.zeros_like(grad), grad * self.final_norm, normed, inv_rms)
        for number in reversed(range(len(self.layers))):
            own = pairs[7 * number : 7 * number + 7]
            layer, first = self.layers[number], number == 0
            grad_x = self._layer_backward(layer, grad_x, kept[number], packing, own, not first)
        return grad_flat

    def _layer_backward(
        self, layer: Layer, grad: Tensor, kept: Activations, packing: Packing, pairs: Pairs, needs_grad_x: bool
    ) -> Tensor:
        """The gradient of the layer's input, if needed, from that of its output."""
        positions, wide = len(grad), layer.gate_up.out // 2
        buffer = layer.down.grad_buffer(positions)
        buffer[:, : layer.down.out] = grad
        product = layer.down.backward(buffer, kept.product, kept.x_a_down, pairs[6:])
        assert product is not None
        buffer = layer.gate_up.grad_buffer(positions)
        torch.mul(product, kept.gate_act, out=buffer[:, wide : 2 * wide])
        torch.ops.aten.silu_backward.grad_input(product.mul_(kept.up), kept.gate, grad_input=buffer[:, :wide])
        normed = layer.gate_up.backward(buffer, kept.normed2, kept.x_a_gate_up, pairs[4:6])
        grad = self._norm_backward(grad, normed, kept.normed2, kept.inv_rms2)
        buffer = layer.out.grad_buffer(positions)
        buffer[:, : layer.out.out] = grad
        mixed = layer.out.backward(buffer, kept.mixed, kept.x_a_out, pairs[3:4])
        buffer = layer.qkv.grad_buffer(positions)
        self._attention_backward(layer, mixed, kept.blocks, buffer, packing)
        normed = layer.qkv.backward(buffer, kept.normed1, kept.x_a_qkv, pairs[:3], needs_grad_x)
        return self._norm_backward(grad, normed, kept.normed1, kept.inv_rms1) if needs_grad_x else grad

    def _attention_backward(
        self, layer: Layer, grad: Tensor | None, attended: list[Attended], buffer: Tensor, packing: Packing
    ) -> None:
        """Write the gradients of queries, keys and values into `buffer`, from that of the mixed values (N, H)."""
        assert grad is not None
        heads, wide = layer.heads, grad.shape[1]
        grad = grad.unflatten(1, (heads, -1))
        values = buffer[:, 2 * wide : 3 * wide].unflatten(1, (heads, -1))
        rotated, start = grad.new_empty(len(grad), 2 * heads, grad.shape[2]), 0
        for (rows, width), (q, k, v, attn) in zip(packing.blocks, attended, strict=True):
            span = slice(start, start + rows * width)
            own = by_head(grad[span], rows)
            values[span] = by_position(attn.transpose(1, 2).bmm(own), rows)
            score = torch._softmax_backward_data(own.bmm(v.transpose(1, 2)), attn, -1, attn.dtype).mul_(layer.scale)
            rotated[span, :heads] = by_position(score.bmm(k), rows)
            rotated[span, heads:] = by_position(score.transpose(1, 2).bmm(q), rows)
            start = span.stop
        buffer[:, : 2 * wide] = self._rope(rotated, packing.cos, -packing.sin).flatten(1)

    def _packing(self, batch: Batch) -> Packing:
        cos, sin = self.cos[batch.positions, None], self.sin[batch.positions, None]
        return Packing(cos, sin, batch.blocks, [self._causal_mask(width) for _, width in batch.blocks])

    def _causal_mask(self, width: int) -> Tensor:
        """-inf above the diagonal, (width, width)."""
        return torch.full((width, width), float("-inf"), dtype=self.dtype, device=self.flat.device).triu_(1)

    def _rope(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """Rotary embedding of `x` (N, heads, d); undone with the other sign of `sin`."""
        return (x * cos).addcmul_(x.roll(x.shape[2] // 2, dims=2), sin).to(self.dtype)

    def _inv_rms(self, x: Tensor) -> Tensor:
        """1 / root mean square of each position, (N, 1)."""
        return x.square().mean(1, keepdim=True).add_(self.eps).rsqrt_()

    def _norm(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """1 / rms and x / rms, the latter in the matrices' dtype."""
        inv_rms = self._inv_rms(x)
        return inv_rms, torch.mul(x, inv_rms, out=torch.empty_like(x, dtype=self.dtype))

    def _norm_backward(self, residual: Tensor, grad: Tensor | None, normed: Tensor, inv_rms: Tensor) -> Tensor:
        """`residual` plus the gradient of a norm's input, given that of its output."""
        assert grad is not None
        along = (grad * normed).mean(1, keepdim=True, dtype=torch.float32)
        return torch.addcmul(residual, grad - normed * along, inv_rms)

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


class LlamaFunction(torch.autograd.Function):
    """The whole network as one autograd step, from the adapter's parameters to hidden states."""

    @staticmethod
    def forward(ctx, flat, llama, batch):  # type: ignore[no-untyped-def]
        normed, ctx.kept, inv_rms = llama.forward(batch, keep=ctx.needs_input_grad[0])
        ctx.llama, ctx.batch = llama, batch
        ctx.save_for_backward(normed, inv_rms)
        return normed * llama.final_norm

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        return ctx.llama.backward(grad, ctx.batch, ctx.kept, *ctx.saved_tensors), None, None


def by_head(x: Tensor, rows: int) -> Tensor:
    """(rows x width, heads, d) to (rows x heads, width, d)."""
    apart: Tensor = x.unflatten(0, (rows, -1))
    return apart.transpose(1, 2).flatten(0, 1)


def by_position(x: Tensor, rows: int) -> Tensor:
    """(rows x heads, width, d) to (rows x width, heads, d)."""
    apart: Tensor = x.unflatten(0, (rows, -1))
    return apart.transpose(1, 2).flatten(0, 1)
