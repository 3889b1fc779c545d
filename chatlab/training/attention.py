"""Causal attention within each sequence of a line of them, without a mask and without padding to one length."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

NAME = "blocks"


def offer() -> None:
    """Make it known to transformers, under NAME."""
    ALL_ATTENTION_FUNCTIONS.register(NAME, attend)


def attend(
    module: torch.nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None,
    *, blocks: Sequence[tuple[int, int]] = (), scaling: float | None = None, **_: Any,
) -> tuple[Tensor, None]:  # fmt: skip
    """`query` is (1, heads, N, d), keys and values may have fewer heads; gives (1, N, heads, d).

    Each block is (rows, width): so many sequences of that many places, one after the other. Padding may only follow
    a sequence; it sees the sequence, and nothing sees it.
    """
    out, start = [], 0
    for rows, width in blocks or [(1, query.shape[2])]:
        end = start + rows * width
        q, k, v = (x[0, :, start:end].unflatten(1, (rows, width)).transpose(0, 1) for x in (query, key, value))
        mixed = F.scaled_dot_product_attention(
            q, k, v, is_causal=True, scale=scaling, enable_gqa=q.shape[1] != k.shape[1]
        )
        out.append(mixed.transpose(1, 2).flatten(0, 1))
        start = end
    return torch.cat(out)[None], None
