"""A small Llama read with as few calls as it takes.

transformers' own forward spends half of a small model's time between the operations. This one computes the same from
the same weights in about half the time, and is used only where it has been seen to give the same scores.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel

CLOSE = 1e-3
"""Largest difference between two scores that counts as the same."""


class Layer(NamedTuple):
    """A layer's weights, each as `nn.Linear` holds it: (out, in)."""

    first_norm: Tensor
    q: Tensor
    k: Tensor
    v: Tensor
    o: Tensor
    second_norm: Tensor
    gate: Tensor
    up: Tensor
    down: Tensor


class Llama:
    """A network's weights, by reference. The keys and values belong to whoever reads."""

    def __init__(self, model: PreTrainedModel) -> None:
        config, body = model.config, _part(model, "model")
        self._layers = [_weights(layer) for layer in _part(body, "layers")]
        self._words: Tensor = _part(body, "embed_tokens").weight
        self._norm: Tensor = _part(body, "norm").weight
        self._head: Tensor = _part(model, "lm_head").weight
        self._key_heads = int(config.num_key_value_heads)
        self._epsilon = float(config.rms_norm_eps)
        self._cos, self._sin = rotations(_part(body, "rotary_emb").inv_freq, config.max_position_embeddings)

    def room(self, tokens: int) -> Tensor:
        """Space for the keys and values of so many tokens: (layer, 2, key head, token, width)."""
        return torch.empty(len(self._layers), 2, self._key_heads, tokens, self._cos.shape[-1])

    def read(self, ids: Tensor, room: Tensor, start: int) -> Tensor:
        """Scores (V,) of the token after `ids` (T,), the first of which stands at `start`; `room` is written to."""
        x = F.embedding(ids, self._words)
        end = start + len(ids)
        seen = torch.ones(len(ids), end, dtype=torch.bool).tril(start) if len(ids) > 1 else None
        for layer, kept in zip(self._layers, room, strict=True):
            x = x + self._attention(layer, self._normed(x, layer.first_norm), kept, start, end, seen)
            inner = self._normed(x, layer.second_norm)
            x = x + F.linear(F.silu(F.linear(inner, layer.gate)) * F.linear(inner, layer.up), layer.down)
        return F.linear(self._normed(x[-1], self._norm), self._head)

    def _attention(self, layer: Layer, x: Tensor, kept: Tensor, start: int, end: int, seen: Tensor | None) -> Tensor:
        """(T, hidden) to (T, hidden), grouped heads included (Ainslie et al. 2023)."""
        shape = (len(x), -1, kept.shape[-1])
        q, k, v = (F.linear(x, weight).view(shape).transpose(0, 1) for weight in (layer.q, layer.k, layer.v))
        kept[0, :, start:end] = self._rotated(k, start, end)
        kept[1, :, start:end] = v
        mixed = F.scaled_dot_product_attention(
            self._rotated(q, start, end)[None],
            kept[None, 0, :, :end],
            kept[None, 1, :, :end],
            seen,
            enable_gqa=len(q) != len(k),
        )
        return F.linear(mixed[0].transpose(0, 1).flatten(1), layer.o)

    def _rotated(self, x: Tensor, start: int, end: int) -> Tensor:
        """Rotary positions (Su et al. 2021) for (head, T, width)."""
        return torch.addcmul(x * self._cos[start:end], x.roll(x.shape[-1] // 2, -1), self._sin[start:end])

    def _normed(self, x: Tensor, weight: Tensor) -> Tensor:
        return F.rms_norm(x, weight.shape, weight, self._epsilon)


def rotations(frequencies: Tensor, context: int) -> tuple[Tensor, Tensor]:
    """Cosines, and sines with the sign that rolling a vector by half its width calls for; each (context, width)."""
    angle = torch.outer(torch.arange(context).float(), frequencies.float())
    return angle.cos().repeat(1, 2), torch.cat((-angle.sin(), angle.sin()), -1)


def plain(model: PreTrainedModel) -> bool:
    """Whether the network is made of what `Llama` knows, in 32 bits, and of nothing else."""
    config = model.config
    return (
        config.model_type == "llama"
        and config.rope_parameters.get("rope_type") == "default"
        and config.hidden_act == "silu"
        and {name.rpartition(".")[2] for name, _ in model.named_parameters()} == {"weight"}
        and not any("lora" in name for name, _ in model.named_parameters())
        and all(p.dtype == torch.float32 for p in model.parameters())
    )


def agrees(model: PreTrainedModel) -> bool:
    """Whether `Llama` gives the scores that the network itself gives, read at once, in blocks and token by token."""
    ids = torch.arange(48) % model.config.vocab_size
    llama = Llama(model)
    room = llama.room(len(ids))
    with torch.inference_mode():
        for start, end in ((0, 32), (32, 47), (47, 48)):
            ours = llama.read(ids[start:end], room, start)
        return torch.allclose(ours, model(ids[None]).logits[0, -1], atol=CLOSE)


def _weights(layer: nn.Module) -> Layer:
    attention, mlp = _part(layer, "self_attn"), _part(layer, "mlp")
    parts = [
        _part(layer, "input_layernorm"),
        *(_part(attention, f"{name}_proj") for name in "qkvo"),
        _part(layer, "post_attention_layernorm"),
        *(_part(mlp, f"{name}_proj") for name in ("gate", "up", "down")),
    ]
    return Layer._make(part.weight for part in parts)


def _part(module: nn.Module, name: str) -> Any:
    return module.get_submodule(name)
