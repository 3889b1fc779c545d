"""LoRA by peft, computed in few large products in place of many small ones, and all its numbers in one vector.

`peft` decides where the low-rank pairs sit, how they are scaled, saved and loaded. Only the arithmetic of the plain
case (one adapter, no dropout, no bias) is done here, because dispatching small operations is what a small base spends
its time on: layers that read the same input, such as queries, keys and values, become one `Stack`. Anything else keeps
peft's own forward; a whole Llama is written out in `llama`.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Sequence
from functools import partial

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora import Linear as LoraLayer
from torch import Tensor, nn

from chatlab.records import TrainSettings
from chatlab.training.stack import Stack, is_plain, pair

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


def reset(model: nn.Module, seed: int) -> None:
    """As before any training: A drawn as peft draws it (Kaiming uniform, a = sqrt 5), B zero."""
    dice = torch.Generator().manual_seed(seed)
    for layer in layers(model):
        a, b = pair(layer)
        nn.init.kaiming_uniform_(a, a=math.sqrt(5), generator=dice)
        nn.init.zeros_(b)


def flatten(model: nn.Module) -> nn.Parameter:
    """One vector that all trainable numbers of `model` are views of, with a gradient to add to.

    A norm, an optimizer step or a checkpoint is then one operation in place of one for each of many small matrices.
    """
    parts = [p for p in model.parameters() if p.requires_grad]
    flat = nn.Parameter(torch.cat([p.detach().flatten() for p in parts]))
    flat.grad = torch.zeros_like(flat)
    start = 0
    for part in parts:
        end = start + part.numel()
        part.data = flat.data[start:end].view_as(part)
        start = end
    return flat


def quicken(model: nn.Module, dtype: torch.dtype) -> list[Stack]:
    """Give the plain layers a short forward, with products in `dtype`. The caller refreshes the stacks."""
    groups: list[Group] = []
    for parent in model.modules():
        own = {name: m for name, m in parent.named_children() if isinstance(m, LoraLayer) and is_plain(m)}
        for names in SHARING:
            if all(name in own for name in names):
                groups.append(Group([own.pop(name) for name in names], dtype))
        groups += [Group([layer], dtype) for layer in own.values()]
    return [group.stack for group in groups]


class Group:
    """Layers that are given one input. Whoever is asked first computes for all; the others ask with the same tensor."""

    def __init__(self, layers: Sequence[LoraLayer], dtype: torch.dtype) -> None:
        self.stack = Stack(layers, dtype)
        self._made = threading.local()
        for place, layer in enumerate(layers):
            layer.forward = partial(self._output, place)  # type: ignore[method-assign]

    def _output(self, place: int, x: Tensor) -> Tensor:
        """(..., in) to the (..., out) of one of the layers."""
        made = self._made
        if getattr(made, "x", None) is not x or place not in made.outs:
            matrices = (matrix for layer in self.stack.layers for matrix in pair(layer))
            made.x, made.outs = x, dict(enumerate(LowRank.apply(x, self.stack, *matrices)))
        out: Tensor = made.outs.pop(place)
        if not made.outs:
            made.x = None
        return out


class LowRank(torch.autograd.Function):
    """What a stack computes, as one autograd step. W is frozen: its gradient is never computed."""

    @staticmethod
    def forward(ctx, x, stack, *pairs):  # type: ignore[no-untyped-def]
        rows = x.flatten(0, -2).to(stack.matrix.dtype)
        out, low = stack.forward(rows)
        ctx.stack = stack
        ctx.save_for_backward(rows, low)
        return tuple(part.to(x.dtype).unflatten(0, x.shape[:-1]) for part in out.split(stack.outs, dim=1))

    @staticmethod
    def backward(ctx, *grads):  # type: ignore[no-untyped-def]
        rows, low = ctx.saved_tensors
        stack, shape, dtype = ctx.stack, grads[0].shape[:-1], grads[0].dtype
        pulls = stack.room(len(rows))
        torch.cat([grad.flatten(0, -2).to(pulls.dtype) for grad in grads], dim=1, out=pulls[:, : stack.wide])
        found = [(torch.empty_like(a), torch.empty_like(b)) for a, b in map(pair, stack.layers)]
        to_x = stack.backward(pulls, rows, low, found, ctx.needs_input_grad[0])
        to_x = None if to_x is None else to_x.to(dtype).unflatten(0, shape)
        return to_x, None, *(grad for both in found for grad in both)
