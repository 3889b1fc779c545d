"""A base model's weights in memory, and models that share them."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.utils import logging

from chatlab.models.network import load_network
from chatlab.system.host import bfloat16_is_faster

EXACT = 64_000_000
"""Parameters up to which a model computes in 32 bits: nothing is rounded, and the speed is the same."""


def open_network(folder: Path, parameters: int, dtype: torch.dtype | None = None) -> PreTrainedModel:
    """The base model, for reading only, in `dtype` or in what loses nothing that matters and is fast here.

    Nothing is fetched, and no code but transformers' own runs.
    """
    logging.disable_progress_bar()
    dtype = dtype or (torch.bfloat16 if parameters > EXACT and bfloat16_is_faster() else torch.float32)
    frozen: PreTrainedModel = load_network(folder, dtype).eval().requires_grad_(False)
    return frozen


def share_weights(model: PreTrainedModel) -> PreTrainedModel:
    """A copy of the modules on the same tensors: modules of the copy can be replaced, and the first model stays."""
    shared: dict[int, Any] = {id(b): b for b in model.buffers()}
    shared |= {id(p): nn.Parameter(p.data, requires_grad=False) for p in model.parameters()}
    copied = copy.deepcopy(model, shared)
    head: Any = copied.get_output_embeddings()
    embeddings: Any = copied.get_input_embeddings()
    if head is not None and head.weight is embeddings.weight:  # an adapter on the one must not change both
        head.weight = nn.Parameter(embeddings.weight.data, requires_grad=False)
    return copied
