"""LoRA as peft sets it up, and all its trainable parameters as views of one vector.

`peft` decides where the low-rank pairs sit, how they are scaled, saved and loaded.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora import Linear as LoraLayer
from torch import nn

from chatlab.records import TrainSettings
from chatlab.training.fast.lora_linear import lora_pair


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
    """As before any training: A as peft initialises it (Kaiming uniform, a = sqrt 5), B zero."""
    generator = torch.Generator().manual_seed(seed)
    for layer in layers(model):
        a, b = lora_pair(layer)
        nn.init.kaiming_uniform_(a, a=math.sqrt(5), generator=generator)
        nn.init.zeros_(b)


def flatten(model: nn.Module) -> nn.Parameter:
    """One vector that all trainable parameters of `model` are views of, with a gradient to add to.

    A norm, an optimizer step or a checkpoint is then one operation in place of one for each of many small matrices.
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    flat = nn.Parameter(torch.cat([p.detach().flatten() for p in parameters]))
    flat.grad = torch.zeros_like(flat)
    start = 0
    for parameter in parameters:
        end = start + parameter.numel()
        parameter.data = flat.data[start:end].view_as(parameter)
        start = end
    return flat
