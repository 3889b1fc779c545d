"""Tensors as transformers names and stores them -> as llama.cpp does."""

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

_TURNED = {"q_proj": 0, "k_proj": 1}
"""Matrices whose rows are turned by position, and which count of `heads` is theirs."""


def name_of(names: TensorNameMap, tensor: str) -> str:
    """`blk.0.attn_q.weight` for `model.layers.0.self_attn.q_proj.weight`. Raises EngineUnable for one unknown."""
    found = names.get_name(tensor, try_suffixes=(".weight", ".bias"))
    if found is None:
        raise EngineUnable(f"llama.cpp has no place for the tensor {tensor}.", ELSEWHERE)
    return found


def paired(tensor: Tensor, count: int) -> Tensor:
    """Rows of a (heads x width, ...) tensor in llama.cpp's order: the two halves of a head become neighbours."""
    shape = tensor.shape
    return tensor.reshape(count, 2, shape[0] // count // 2, *shape[1:]).swapaxes(1, 2).reshape(shape)


def arranged(family: Architecture, config: Mapping[str, Any], module: str, tensor: Tensor) -> Tensor:
    """What llama.cpp wants in place of a matrix, a bias, or the B of a LoRA, of the module of that name."""
    last = module.rpartition(".")[2]
    if family.permuted and last in _TURNED:
        return paired(tensor, heads(config)[_TURNED[last]])
    if family.plus_one and last.endswith("norm"):
        return tensor + 1
    return tensor


def converted(base: Base, family: Architecture) -> Iterator[tuple[str, Tensor]]:
    """Every tensor of a base, named and arranged for llama.cpp, one at a time."""
    names = family.names(int(base.config["num_hidden_layers"]))
    tied = bool(base.config.get("tie_word_embeddings", family.plus_one))
    for file in base.weights:
        with safe_open(file, "pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118
                if name.endswith("rotary_emb.inv_freq") or (name == "lm_head.weight" and tied):
                    continue
                module = name.rpartition(".")[0]
                yield name_of(names, name), arranged(family, base.config, module, tensors.get_tensor(name))
    if (stretch := stretched(base.config)) is not None:
        yield "rope_freqs.weight", stretch


def stretched(config: Mapping[str, Any]) -> Tensor | None:
    """Llama 3's factors (width / 2,) by which each frequency is slowed: long waves wholly, short ones not at all."""
    turn = rope(config)
    if turn.kind != "llama3":
        return None
    width = heads(config)[2]
    waves = 2 * math.pi * turn.theta ** (torch.arange(0, width, 2).float() / width)
    between = (turn.original / waves - turn.low) / (turn.high - turn.low)
    slowed = 1 / ((1 - between) / turn.factor + between)
    slowed = torch.where(waves > turn.original / turn.low, torch.tensor(turn.factor), slowed)
    return torch.where(waves < turn.original / turn.high, torch.tensor(1.0), slowed)


def numbers(tensor: Tensor) -> np.ndarray[Any, np.dtype[np.float32]]:
    """32-bit numbers for numpy, which has no bfloat16."""
    return tensor.float().contiguous().numpy()
