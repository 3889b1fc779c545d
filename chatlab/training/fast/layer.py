"""One layer of a decoder, attention and feed-forward, forward and backward written out."""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from chatlab.training.fast.attention import Attended, Layout, attend, attend_backward
from chatlab.training.fast.lora_linear import FusedLoraLinear, Gradients

ACTIVATIONS = {"silu": "none", "gelu_pytorch_tanh": "tanh"}
"""Activations of the gate that are computed here: SiLU, and GELU as `torch` approximates it."""


class Packing(NamedTuple):
    """What every layer needs of a packed batch: rotary angles (N, 1, d) by kind of layer, and the blocks."""

    angles: dict[str, tuple[Tensor, Tensor]]
    layout: Layout


class QKNorm(NamedTuple):
    """What the norm of queries and keys gives: 1 / rms (N, heads, 1) and x / rms (N, heads, d)."""

    inv_rms: Tensor
    normed: Tensor


class Activations(NamedTuple):
    """What a layer's backward needs of its forward; N positions. `x_a_*` are x A^T as `FusedLoraLinear` gives them.

    `qk_norm` is None without a norm of queries and keys, `after1` and `after2` without norms after attention and
    feed-forward.
    """

    inv_rms1: Tensor
    normed1: Tensor
    x_a_qkv: Tensor
    qk_norm: QKNorm | None
    attended: list[Attended]
    mixed: Tensor
    x_a_out: Tensor
    after1: tuple[Tensor, Tensor] | None
    inv_rms2: Tensor
    normed2: Tensor
    x_a_gate_up: Tensor
    gate: Tensor
    up: Tensor
    gate_act: Tensor
    product: Tensor
    x_a_down: Tensor
    after2: tuple[Tensor, Tensor] | None


class Layer:
    """Attention and feed-forward of one layer, as four fused linears. Queries and keys are rotated together."""

    def __init__(self, layer: Any, config: Any, dtype: torch.dtype) -> None:
        attn, mlp = layer.self_attn, layer.mlp
        self.dtype, self.eps = dtype, config.rms_norm_eps
        self.head_dim, self.scale = attn.head_dim, attn.scaling
        self.heads = attn.q_proj.out_features // attn.head_dim
        self.key_heads = attn.k_proj.out_features // attn.head_dim
        self.window: int | None = getattr(attn, "sliding_window", None)
        if config.model_type == "mistral":
            self.window = config.sliding_window
        self.kind: str = getattr(attn, "layer_type", "") if config.model_type == "gemma3_text" else ""
        """Which of the batch's rotary angles are this layer's."""
        self.rotates = bool(getattr(attn, "use_rope", True))
        self.gelu = ACTIVATIONS[hidden_act(config)]
        before2, after1, after2 = layer.post_attention_layernorm, None, None
        if hasattr(layer, "pre_feedforward_layernorm"):
            before2, after1 = layer.pre_feedforward_layernorm, norm_weight(layer.post_attention_layernorm)
            after2 = norm_weight(layer.post_feedforward_layernorm)
        self.after1, self.after2 = after1, after2
        before1 = norm_weight(layer.input_layernorm)
        self.qkv = FusedLoraLinear([attn.q_proj, attn.k_proj, attn.v_proj], dtype, before1)
        self.out = FusedLoraLinear([attn.o_proj], dtype)
        self.gate_up = FusedLoraLinear([mlp.gate_proj, mlp.up_proj], dtype, norm_weight(before2))
        self.down = FusedLoraLinear([mlp.down_proj], dtype)
        self.qk_weight: Tensor | None = None
        """Of the norm of queries and keys, (heads, d)."""
        if hasattr(attn, "q_norm"):
            queries, keys = norm_weight(attn.q_norm), norm_weight(attn.k_norm)
            self.qk_weight = torch.stack([*[queries] * self.heads, *[keys] * self.key_heads])

    @property
    def linears(self) -> tuple[FusedLoraLinear, FusedLoraLinear, FusedLoraLinear, FusedLoraLinear]:
        return self.qkv, self.out, self.gate_up, self.down

    def forward(self, x: Tensor, packing: Packing) -> tuple[Tensor, Activations]:
        """The layer's output (N, hidden), float32, and what `backward` needs."""
        inv_rms1, normed1 = norm(x, self.eps, self.dtype)
        qkv, x_a_qkv = self.qkv.forward(normed1)
        q, k, v, qk_norm = self._heads(qkv, packing)
        mixed, attended = attend(q, k, v, packing.layout, self.scale, self.window)
        mixed = mixed.flatten(1)
        y, x_a_out = self.out.forward(mixed)
        x, after1 = self._add(x, y, self.after1)
        inv_rms2, normed2 = norm(x, self.eps, self.dtype)
        gate_up, x_a_gate_up = self.gate_up.forward(normed2)
        gate, up = gate_up.chunk(2, dim=1)
        gate_act = F.silu(gate) if self.gelu == "none" else F.gelu(gate, approximate=self.gelu)
        product = gate_act * up
        y, x_a_down = self.down.forward(product)
        x, after2 = self._add(x, y, self.after2)
        first = (inv_rms1, normed1, x_a_qkv, qk_norm, attended, mixed, x_a_out, after1)
        return x, Activations(*first, inv_rms2, normed2, x_a_gate_up, gate, up, gate_act, product, x_a_down, after2)

    def backward(
        self, grad: Tensor, kept: Activations, packing: Packing, needs_grad_x: bool
    ) -> tuple[Tensor, list[Gradients]]:
        """The gradient of the layer's input, if needed, and those of its matrices, from that of its output."""
        positions, wide = len(grad), self.gate_up.out // 2
        buffer = self.down.grad_buffer(positions)
        buffer[:, : self.down.out] = self._add_backward(grad, kept.after2, self.after2)
        product, of_down = self.down.backward(buffer, kept.product, kept.x_a_down)
        assert product is not None
        buffer = self.gate_up.grad_buffer(positions)
        torch.mul(product, kept.gate_act, out=buffer[:, wide : 2 * wide])
        self._activation_backward(product.mul_(kept.up), kept.gate, buffer[:, :wide])
        normed, of_gate_up = self.gate_up.backward(buffer, kept.normed2, kept.x_a_gate_up)
        grad = norm_backward(grad, normed, kept.normed2, kept.inv_rms2)
        buffer = self.out.grad_buffer(positions)
        buffer[:, : self.out.out] = self._add_backward(grad, kept.after1, self.after1)
        mixed, of_out = self.out.backward(buffer, kept.mixed, kept.x_a_out)
        assert mixed is not None
        by_heads = mixed.unflatten(1, (self.heads, -1))
        buffer = self.qkv.grad_buffer(positions)
        grads = attend_backward(by_heads, kept.attended, packing.layout, self.scale, self.key_heads)
        self._heads_backward(*grads, kept.qk_norm, packing, buffer)
        normed, of_qkv = self.qkv.backward(buffer, kept.normed1, kept.x_a_qkv, needs_grad_x)
        grad = norm_backward(grad, normed, kept.normed1, kept.inv_rms1) if needs_grad_x else grad
        return grad, [*of_qkv, *of_out, *of_gate_up, *of_down]

    def _heads(self, qkv: Tensor, packing: Packing) -> tuple[Tensor, Tensor, Tensor, QKNorm | None]:
        """Queries (N, heads, d), keys and values (N, key heads, d), normed and rotated."""
        both = self.heads + self.key_heads
        parts = qkv.unflatten(1, (-1, self.head_dim))
        rotated, qk_norm = parts[:, :both], None
        if self.qk_weight is not None:
            inv_rms = rotated.float().square().mean(2, keepdim=True).add_(self.eps).rsqrt_()
            qk_norm = QKNorm(inv_rms, rotated * inv_rms)
            rotated = qk_norm.normed * self.qk_weight
        if self.rotates:
            cos, sin = packing.angles[self.kind]
            rotated = rotate(rotated, cos, sin)
        rotated = rotated.to(self.dtype)
        return rotated[:, : self.heads], rotated[:, self.heads :], parts[:, both:], qk_norm

    def _heads_backward(
        self, q: Tensor, k: Tensor, v: Tensor, qk_norm: QKNorm | None, packing: Packing, buffer: Tensor
    ) -> None:
        """Write the gradients of the queries', keys' and values' linear outputs into `buffer`."""
        both = (self.heads + self.key_heads) * self.head_dim
        grad = torch.cat((q.float(), k), dim=1)
        if self.rotates:
            cos, sin = packing.angles[self.kind]
            grad = rotate(grad, cos, -sin)
        if qk_norm is not None:
            assert self.qk_weight is not None
            grad = grad * self.qk_weight
            along = (grad * qk_norm.normed).mean(2, keepdim=True)
            grad = (grad - qk_norm.normed * along) * qk_norm.inv_rms
        buffer[:, :both] = grad.flatten(1)
        buffer[:, both : self.qkv.out] = v.flatten(1)

    def _add(self, x: Tensor, y: Tensor, after: Tensor | None) -> tuple[Tensor, tuple[Tensor, Tensor] | None]:
        """`x` plus `y`, which is normed first where the network does so."""
        if after is None:
            return x + y, None
        inv_rms, normed = norm(y, self.eps, torch.float32)
        return torch.addcmul(x, normed, after), (inv_rms, normed)

    def _add_backward(self, grad: Tensor, kept: tuple[Tensor, Tensor] | None, after: Tensor | None) -> Tensor:
        """The gradient of `y`."""
        if kept is None or after is None:
            return grad
        inv_rms, normed = kept
        return norm_backward(torch.zeros_like(grad), grad * after, normed, inv_rms)

    def _activation_backward(self, grad: Tensor, gate: Tensor, out: Tensor) -> None:
        if self.gelu == "none":
            torch.ops.aten.silu_backward.grad_input(grad, gate, grad_input=out)
        else:
            torch.ops.aten.gelu_backward.grad_input(grad, gate, approximate=self.gelu, grad_input=out)


def hidden_act(config: Any) -> str:
    """Name of the gate's activation, which Gemma calls otherwise."""
    return str(getattr(config, "hidden_activation", None) or config.hidden_act)


def norm_weight(module: nn.Module) -> Tensor:
    """What a norm multiplies by; Gemma's stores it less one."""
    weight = cast(Tensor, module.weight).detach()
    return weight + 1 if type(module).__name__.startswith("Gemma") else weight


def norm(x: Tensor, eps: float, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """1 / root mean square of each position, (N, 1), and `x` times it, in `dtype`."""
    wide = x.float()
    inv_rms = wide.square().mean(1, keepdim=True).add_(eps).rsqrt_()
    return inv_rms, torch.mul(wide, inv_rms, out=torch.empty_like(wide, dtype=dtype))


def norm_backward(residual: Tensor, grad: Tensor | None, normed: Tensor, inv_rms: Tensor) -> Tensor:
    """`residual` plus the gradient of a norm's input, given that of its output."""
    assert grad is not None
    along = (grad * normed).mean(1, keepdim=True, dtype=torch.float32)
    return torch.addcmul(residual, grad - normed * along, inv_rms)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary embedding of `x` (N, heads, d), the first half of `sin` negative; undone with the other sign of `sin`."""
    return (x * cos).addcmul_(x.roll(x.shape[2] // 2, dims=2), sin)
