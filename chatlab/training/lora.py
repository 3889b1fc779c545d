"""LoRA by peft, with one autograd step per linear layer in place of peft's eight, and all its numbers in one vector.

`peft` decides where the low-rank pairs sit, how they are scaled, saved and loaded. Only the arithmetic of the plain
case (one adapter, no dropout, no bias of its own) is done here, because dispatching many small operations is what a
small base spends its time on. Anything else keeps peft's own forward.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import cast

import torch
import torch.nn.functional as F
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora import Linear as LoraLayer
from torch import Tensor, nn

from chatlab.records import TrainSettings

NAME = "default"
"""The one adapter's name inside peft."""


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
        nn.init.kaiming_uniform_(cast(Tensor, layer.lora_A[NAME].weight), a=math.sqrt(5), generator=dice)
        nn.init.zeros_(cast(Tensor, layer.lora_B[NAME].weight))


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


def quicken(model: nn.Module, dtype: torch.dtype) -> int:
    """Give the plain layers the short forward, with products in `dtype`; returns how many were plain."""
    plain = [layer for layer in layers(model) if is_plain(layer)]
    for layer in plain:
        frozen = cast(nn.Linear, layer.base_layer).weight.detach().to(dtype)
        layer.forward = Short(layer, frozen, frozen.t().contiguous())  # type: ignore[method-assign]
    return len(plain)


def is_plain(layer: LoraLayer) -> bool:
    """Whether peft's result for this layer is W x + scale B A x and nothing else."""
    return (
        type(layer.base_layer) is nn.Linear
        and layer.base_layer.bias is None
        and isinstance(layer.lora_dropout[NAME], nn.Identity)
        and not layer.use_dora[NAME]
        and layer.lora_A[NAME].weight.dtype == torch.float32
        and layer.lora_B[NAME].bias is None
    )


class Short:
    """Takes the place of a plain layer's forward."""

    def __init__(self, layer: LoraLayer, frozen: Tensor, transposed: Tensor) -> None:
        self.layer, self.frozen, self.transposed = layer, frozen, transposed
        self.a, self.b = layer.lora_A[NAME].weight, layer.lora_B[NAME].weight

    def __call__(self, x: Tensor) -> Tensor:
        """(..., in) to (..., out); with the adapter switched off, the frozen layer alone."""
        if self.layer.disable_adapters:
            return F.linear(x.to(self.frozen.dtype), self.frozen).to(x.dtype)
        result: Tensor = LowRank.apply(x, self.a, self.b, self.frozen, self.transposed, self.layer.scaling[NAME])
        return result


class LowRank(torch.autograd.Function):
    """x W^T + scale x A^T B^T, with W frozen: its gradient is never computed."""

    @staticmethod
    def forward(ctx, x, a, b, frozen, transposed, scale):  # type: ignore[no-untyped-def]
        rows = x.flatten(0, -2)
        low = F.linear(rows, a)
        out = F.linear(rows.to(frozen.dtype), frozen).float()
        out.addmm_(low, b.t(), alpha=scale)
        ctx.save_for_backward(rows, low, a, b, transposed)
        ctx.scale = scale
        return out.unflatten(0, x.shape[:-1])

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        rows, low, a, b, transposed = ctx.saved_tensors
        shape, grad = grad.shape, grad.flatten(0, -2)
        down = (grad @ b).mul_(ctx.scale)
        to_b = (grad.t() @ low).mul_(ctx.scale)
        to_a = down.t() @ rows
        to_x = None
        if ctx.needs_input_grad[0]:
            to_x = F.linear(grad.to(transposed.dtype), transposed).float().addmm_(down, a).unflatten(0, shape[:-1])
        return to_x, to_a, to_b, None, None, None
