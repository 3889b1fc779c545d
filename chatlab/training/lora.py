"""LoRA by peft, computed in few large products in place of many small ones, and all its numbers in one vector.

`peft` decides where the low-rank pairs sit, how they are scaled, saved and loaded. Only the arithmetic of the plain
case (one adapter, no dropout, no bias) is done here, because dispatching small operations is what a small base spends
its time on: layers that read the same input, such as queries, keys and values, become one product together with all
their A matrices, and one autograd step. Anything else keeps peft's own forward.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Sequence
from typing import cast

import torch
import torch.nn.functional as F
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora import Linear as LoraLayer
from torch import Tensor, nn

from chatlab.records import TrainSettings

NAME = "default"
"""The one adapter's name inside peft."""
SHARING = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))
"""Layers of one module that are given the same input. Should a model not do so, the result is right, only slower."""


def attach(model: nn.Module, settings: TrainSettings) -> PeftModel:
    """`model` with a low-rank pair on every linear layer but the output head."""
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,  # type: ignore[arg-type]
        lora_dropout=settings.dropout,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
    return get_peft_model(model, config, autocast_adapter_dtype=True)


def layers(model: nn.Module) -> Iterator[LoraLayer]:
    """The adapted linear layers, always in the same order."""
    return (module for module in model.modules() if isinstance(module, LoraLayer))


def pair(layer: LoraLayer) -> tuple[Tensor, Tensor]:
    """A (rank, in) and B (out, rank)."""
    return cast(Tensor, layer.lora_A[NAME].weight), cast(Tensor, layer.lora_B[NAME].weight)


def reset(model: nn.Module, seed: int) -> None:
    """As before any training: A drawn as peft draws it (Kaiming uniform, a = sqrt 5), B zero."""
    dice = torch.Generator().manual_seed(seed)
    for layer in layers(model):
        a, b = pair(layer)
        nn.init.kaiming_uniform_(a, a=math.sqrt(5), generator=dice)
        nn.init.zeros_(b)


def flatten(model: nn.Module) -> nn.Parameter:
    """One vector that all trainable numbers of `model` are views of, gradients too.

    A norm, an optimizer step or a checkpoint is then one operation in place of one for each of many small matrices.
    """
    parts = [p for p in model.parameters() if p.requires_grad]
    flat = nn.Parameter(torch.cat([p.detach().flatten() for p in parts]))
    flat.grad = torch.zeros_like(flat)
    start = 0
    for part in parts:
        end = start + part.numel()
        part.data = flat.data[start:end].view_as(part)
        part.grad = flat.grad[start:end].view_as(part)
        start = end
    return flat


def quicken(model: nn.Module, dtype: torch.dtype) -> list[Group]:
    """Give the plain layers the short forward, with products in `dtype`. The caller refreshes the groups."""
    groups: list[Group] = []
    for parent in model.modules():
        own = {name: m for name, m in parent.named_children() if isinstance(m, LoraLayer) and is_plain(m)}
        for names in SHARING:
            if all(name in own for name in names):
                groups.append(Group([own.pop(name) for name in names], dtype))
        groups += [Group([layer], dtype) for layer in own.values()]
    return groups


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


class Group:
    """Layers that read one input: their W and scaled A matrices stacked, (sum of outs + layers x rank, in)."""

    def __init__(self, layers: Sequence[LoraLayer], dtype: torch.dtype) -> None:
        self.layers, self.rank = layers, layers[0].r[NAME]
        self.scale = layers[0].scaling[NAME]
        frozen = [cast(Tensor, layer.base_layer.weight).detach() for layer in layers]
        self.outs = [w.shape[0] for w in frozen]
        low = torch.zeros(len(layers) * self.rank, frozen[0].shape[1], device=frozen[0].device)
        self.stack = torch.cat([*frozen, low]).to(dtype)
        self.up = [pair(layer)[1].detach().to(dtype) for layer in layers]
        self._made = threading.local()
        for place, layer in enumerate(layers):
            layer.forward = Member(self, place)  # type: ignore[method-assign]

    def refresh(self) -> None:
        """Take over what has become of A and B since the last time."""
        low = self.stack[sum(self.outs) :].split(self.rank)
        for layer, down, up in zip(self.layers, low, self.up, strict=True):
            a, b = pair(layer)
            down.copy_(a.detach() * self.scale)
            up.copy_(b.detach())

    def output(self, place: int, x: Tensor) -> Tensor:
        """What layer `place` makes of `x`. Whoever asks first computes for all; the others ask with the same tensor."""
        made = self._made
        if getattr(made, "x", None) is not x or place not in made.outs:
            made.x = x
            made.outs = dict(enumerate(LowRank.apply(x, self, *(m for layer in self.layers for m in pair(layer)))))
        out: Tensor = made.outs.pop(place)
        if not made.outs:
            made.x = None
        return out


class Member:
    """Takes the place of a plain layer's forward."""

    def __init__(self, group: Group, place: int) -> None:
        self.group, self.place = group, place

    def __call__(self, x: Tensor) -> Tensor:
        """(..., in) to (..., out)."""
        return self.group.output(self.place, x)


class LowRank(torch.autograd.Function):
    """x W^T + scale x A^T B^T for every layer of a group. W is frozen: its gradient is never computed."""

    @staticmethod
    def forward(ctx, x, group, *pairs):  # type: ignore[no-untyped-def]
        rows = x.flatten(0, -2).to(group.stack.dtype)
        *wide, low = F.linear(rows, group.stack).split([*group.outs, len(group.outs) * group.rank], dim=1)
        lows = low.split(group.rank, dim=1)
        ctx.group = group
        ctx.save_for_backward(rows, low)
        outs = (torch.addmm(w, u, up.t()) for w, u, up in zip(wide, lows, group.up, strict=True))
        return tuple(out.to(x.dtype).unflatten(0, x.shape[:-1]) for out in outs)

    @staticmethod
    def backward(ctx, *grads):  # type: ignore[no-untyped-def]
        rows, low = ctx.saved_tensors
        group = ctx.group
        pulls = rows.new_empty(len(rows), len(group.stack))
        *wide, down = pulls.split([*group.outs, low.shape[1]], dim=1)
        to_pairs: list[Tensor] = []
        for grad, pull, u, d, up in zip(
            grads, wide, low.split(group.rank, dim=1), down.split(group.rank, dim=1), group.up, strict=True
        ):
            pull.copy_(grad.flatten(0, -2))
            d.copy_(pull @ up)
            to_pairs.append((pull.t() @ u).to(grad.dtype))
        to_downs = (down.t() @ rows).to(grads[0].dtype).mul_(group.scale).split(group.rank)
        to_x = None
        if ctx.needs_input_grad[0]:
            to_x = (pulls @ group.stack).to(grads[0].dtype).unflatten(0, grads[0].shape[:-1])
        return to_x, None, *(g for both in zip(to_downs, to_pairs, strict=True) for g in both)
