"""The layers of a decoder, forward and backward written out: a tenth of the operations that autograd would dispatch.

A small base spends its time on starting operations, not on computing them. Here a layer takes some fifty on the way
forward and eighty back, norms' weights are part of the matrices, and products are made in bfloat16 where that pays.
The tests hold the result to that of transformers and peft, and `supports` decides before it is used on a base.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from peft.tuners.lora import Linear as LoraLayer
from torch import Tensor, nn

from chatlab.training.fast.attention import Layout
from chatlab.training.fast.frozen import FrozenLayers
from chatlab.training.fast.layer import ACTIVATIONS, Activations, Layer, Packing, hidden_act, norm, norm_backward
from chatlab.training.fast.layer import norm_weight as weight_of
from chatlab.training.fast.lora_linear import (
    Gradients,
    is_plain,
    linear_of,
    lora_pair,
    sync_weights,
    write_gradients,
)
from chatlab.training.packing import Batch, Span

FAMILIES = ("llama", "mistral", "qwen2", "qwen3", "gemma", "gemma3_text", "smollm3")
"""Networks that differ in what `Layer` knows of: grouped heads, biases, more norms, windows, the gate's activation."""
ROPES = ("default", "linear", "llama3", "yarn")
"""Kinds of rotary embedding whose angles do not depend on how long the text is."""


def supports(causal: nn.Module) -> bool:
    """Whether `causal`, with peft's layers in it, is a network that this file computes."""
    config: Any = causal.config
    if config.model_type not in FAMILIES or hidden_act(config) not in ACTIVATIONS or config.attention_dropout:
        return False
    adapted = [m for m in causal.modules() if isinstance(m, LoraLayer)]
    inner: Any = causal.model
    first = _first_adapted(inner.layers)
    return (
        all(rope.get("rope_type", "default") in ROPES for rope in _ropes(config))
        and [len(_adapted(layer)) for layer in inner.layers[first:]] == [7] * (config.num_hidden_layers - first)
        and len(adapted) == 7 * (config.num_hidden_layers - first)
        and all(is_plain(layer) for layer in adapted)
    )


class FastDecoder:
    """All layers of `causal`, whose own matrices are freed: held twice they take half the memory.

    The adapter is on the uppermost layers, or on all. `flat` is the vector that its matrices are views of, in their
    order.
    """

    def __init__(self, causal: Any, flat: nn.Parameter, dtype: torch.dtype) -> None:
        inner = causal.model
        self.flat, self.dtype = flat, dtype
        self.parameters: list[nn.Parameter] = [flat]
        first = _first_adapted(inner.layers)
        layers = [_written_out(layer, causal.config, dtype) for layer in inner.layers]
        self.frozen, self.layers = FrozenLayers(inner.embed_tokens, layers[:first], self._packing), layers[first:]
        self.final_norm, self._rotary = weight_of(inner.norm), inner.rotary_emb
        self.eps = causal.config.rms_norm_eps
        self._linears = [linear for layer in self.layers for linear in layer.linears]
        self._kinds = sorted({layer.kind for layer in layers})
        adapted = (own for linear in self._linears for own in linear.layers)
        self._shapes = [tuple(matrix.shape for matrix in lora_pair(own)) for own in adapted]

    def sync_weights(self) -> None:
        """To be called whenever `flat` has been written to."""
        sync_weights(self._linears)

    def hidden(self, batch: Batch) -> Tensor:
        """Hidden states of the last layer, after the final norm, (N, H)."""
        keep = torch.is_grad_enabled()  # within an autograd function it never is
        result: Tensor = DecoderFunction.apply(self.flat, self, batch, keep)  # type: ignore[no-untyped-call]
        return result

    def prepare(self, batch: Batch) -> None:
        """Compute what the layers below the adapter give, and keep it."""
        self.frozen.hidden(batch)

    @contextmanager
    def merged(self) -> Iterator[None]:
        """Each adapted matrix as one, for evaluation only: a seventh quicker.

        In bfloat16 the sum would lose the small part, so there nothing changes.
        """
        linears = self._linears if self.dtype == torch.float32 else []
        try:
            for linear in linears:
                linear.merge(True)
            yield
        finally:
            for linear in linears:
                linear.merge(False)

    def forward(self, batch: Batch, keep: bool) -> tuple[Tensor, list[Activations], Tensor, Packing]:
        """Hidden states before the final norm's weight, each layer's activations, the final norm's 1 / rms."""
        packing = self._packing(batch.positions, batch.spans)
        x, kept = self.frozen.hidden(batch), []
        for layer in self.layers:
            x, activations = layer.forward(x, packing)
            if keep:
                kept.append(activations)
        inv_rms, normed = norm(x, self.eps, torch.float32)
        return normed, kept, inv_rms, packing

    def backward(
        self, grad: Tensor, kept: list[Activations], packing: Packing, normed: Tensor, inv_rms: Tensor
    ) -> Tensor:
        """The gradient of `flat`, from that of the hidden states (N, H)."""
        grad_flat = torch.empty_like(self.flat)
        found: list[Gradients] = []
        grad_x = norm_backward(torch.zeros_like(grad), grad * self.final_norm, normed, inv_rms)
        for number in reversed(range(len(self.layers))):
            grad_x, own = self.layers[number].backward(grad_x, kept.pop(), packing, number > 0)
            found = own + found
        write_gradients(self._pairs(grad_flat), found)
        return grad_flat

    def _packing(self, positions: Tensor, spans: Sequence[Span]) -> Packing:
        return Packing(self._angles(positions), Layout(spans, self.flat.device))

    def _angles(self, positions: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
        """Cosines and sines (N, 1, d) by kind of layer, the first half of the sines negative."""
        found = {}
        for kind in self._kinds:
            more = (kind,) if kind else ()
            cos, sin = (x[0, :, None].float() for x in self._rotary(self.final_norm, positions[None], *more))
            half = sin.shape[2] // 2
            found[kind] = cos, torch.cat((-sin[:, :, :half], sin[:, :, half:]), dim=2)
        return found

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


class DecoderFunction(torch.autograd.Function):
    """The whole network as one autograd step, from the adapter's parameters to hidden states."""

    @staticmethod
    def forward(ctx, flat, decoder, batch, keep):  # type: ignore[no-untyped-def]
        normed, ctx.kept, inv_rms, ctx.packing = decoder.forward(batch, keep)
        ctx.decoder = decoder
        ctx.save_for_backward(normed, inv_rms)
        return normed * decoder.final_norm

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        return ctx.decoder.backward(grad, ctx.kept, ctx.packing, *ctx.saved_tensors), None, None, None


def _written_out(layer: nn.Module, config: Any, dtype: torch.dtype) -> Layer:
    made = Layer(layer, config, dtype)
    adapted = _adapted(layer)
    frozen = [linear_of(m) for m in adapted] if adapted else [m for m in layer.modules() if isinstance(m, nn.Linear)]
    for linear in frozen:
        weight = linear.weight
        weight.data = weight.data.new_empty(0)
    return made


def _adapted(layer: nn.Module) -> list[LoraLayer]:
    return [module for module in layer.modules() if isinstance(module, LoraLayer)]


def _first_adapted(layers: Sequence[nn.Module]) -> int:
    """The lowest layer with an adapter."""
    return next((number for number, layer in enumerate(layers) if _adapted(layer)), len(layers))


def _ropes(config: Any) -> list[Mapping[str, Any]]:
    """A network's rotary embeddings: one, or one for each kind of layer."""
    found = getattr(config, "rope_parameters", None) or {}
    if found and all(isinstance(value, dict) for value in found.values()):
        return list(found.values())
    return [found]
