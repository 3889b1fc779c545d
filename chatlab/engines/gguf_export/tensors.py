"""Tensors from the names and layout of transformers to those of llama.cpp."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from gguf import TensorNameMap
from safetensors import safe_open
from torch import Tensor

from chatlab.errors import EngineUnable
from chatlab.models.gguf.architectures import ELSEWHERE, Architecture, heads, rope

if TYPE_CHECKING:
    from chatlab.models.base import Base

_ROTATED = {"q_proj": 0, "k_proj": 1}
"""Matrices whose rows are rotated by position, and which count of `heads` is theirs."""


def name_of(names: TensorNameMap, tensor: str) -> str:
    """`blk.0.attn_q.weight` for `model.layers.0.self_attn.q_proj.weight`. Raises EngineUnable for one unknown."""
    found = names.get_name(tensor, try_suffixes=(".weight", ".bias"))
    if found is None:
        raise EngineUnable(f"llama.cpp has no place for the tensor {tensor}.", ELSEWHERE)
    return found


def permuted(tensor: Tensor, count: int) -> Tensor:
    """Rows of a (heads x width, ...) tensor in llama.cpp's order: the two halves of a head become neighbours."""
    shape = tensor.shape
    return tensor.reshape(count, 2, shape[0] // count // 2, *shape[1:]).swapaxes(1, 2).reshape(shape)


def arranged(architecture: Architecture, config: Mapping[str, Any], module: str, tensor: Tensor) -> Tensor:
    """A module's matrix or bias, or the B of its LoRA, in llama.cpp's layout."""
    last = module.rpartition(".")[2]
    if architecture.permuted and last in _ROTATED:
        return permuted(tensor, heads(config)[_ROTATED[last]])
    if architecture.plus_one and last.endswith("norm"):
        return tensor + 1
    return tensor


def converted(base: Base, architecture: Architecture) -> Iterator[tuple[str, Tensor]]:
    """Every tensor of a base, named and arranged for llama.cpp, one at a time."""
    names = architecture.names(int(base.config["num_hidden_layers"]))
    for file in base.weights:
        with safe_open(file, "pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118
                if name.endswith("rotary_emb.inv_freq") or (name == "lm_head.weight" and base.tied):
                    continue
                module = name.rpartition(".")[0]
                yield name_of(names, name), arranged(architecture, base.config, module, tensors.get_tensor(name))
    if (factors := rope_factors(base.config)) is not None:
        yield "rope_freqs.weight", factors


def rope_factors(config: Mapping[str, Any]) -> Tensor | None:
    """Llama 3's factors (width / 2,) by which each frequency is slowed: long waves wholly, short ones not at all."""
    scaling = rope(config)
    if scaling.kind != "llama3":
        return None
    width = heads(config)[2]
    waves = 2 * math.pi * scaling.theta ** (torch.arange(0, width, 2).float() / width)
    between = (scaling.original / waves - scaling.low) / (scaling.high - scaling.low)
    slowed = 1 / ((1 - between) / scaling.factor + between)
    slowed = torch.where(waves > scaling.original / scaling.low, torch.tensor(scaling.factor), slowed)
    return torch.where(waves < scaling.original / scaling.high, torch.tensor(1.0), slowed)


def numbers(tensor: Tensor) -> np.ndarray[Any, np.dtype[np.float32]]:
    """32-bit numbers for numpy, which has no bfloat16."""
    return tensor.float().contiguous().numpy()
