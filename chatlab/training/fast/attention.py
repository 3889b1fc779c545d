"""Causal attention within each sequence of a packed batch, without a mask and without padding to one length."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

NAME = "blocks"
SHORT = 256
"""Width up to which all scores are held at once; flash attention pays beyond it."""


def register() -> None:
    """Make `block_attention` known to transformers, under NAME."""
    ALL_ATTENTION_FUNCTIONS.register(NAME, block_attention)


def block_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    blocks: Sequence[tuple[int, int]] = (),
    dtype: torch.dtype = torch.float32,
    scaling: float | None = None,
    sliding_window: int | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Attention of `query` (1, heads, N, d) on keys and values of as many heads or fewer; gives (1, N, heads, d).

    Each block is (rows, width): `rows` sequences of `width` positions, one after the other. Padding may only follow
    a sequence: it attends to the sequence, and nothing attends to it. Short blocks multiply in `dtype`.
    With `sliding_window` a position sees itself and the ones before it, so many in all.
    """
    heads, groups = query.shape[1], query.shape[1] // key.shape[1]
    scale = scaling if scaling is not None else query.shape[-1] ** -0.5
    out, start = [], 0
    for rows, width in blocks or [(1, query.shape[2])]:
        end = start + rows * width
        q, k, v = (x[0, :, start:end].unflatten(1, (rows, width)).transpose(0, 1) for x in (query, key, value))
        window = sliding_window if sliding_window and sliding_window < width else 0
        if window or width > SHORT:
            mask = _band(width, window, q) if window else None
            mixed = F.scaled_dot_product_attention(
                q, k, v, attn_mask=mask, is_causal=not window, scale=scale, enable_gqa=groups > 1
            )
        else:
            if groups > 1:
                k, v = (x.repeat_interleave(groups, dim=1) for x in (k, v))
            inputs = (x.to(dtype).flatten(0, 1) for x in (q, k, v))
            mixed = CausalAttention.apply(*inputs, scale)  # type: ignore[no-untyped-call]
            mixed = mixed.unflatten(0, (rows, heads))
        out.append(mixed.to(query.dtype).transpose(1, 2).flatten(0, 1))
        start = end
    return torch.cat(out)[None], None


def _band(width: int, window: int, like: Tensor) -> Tensor:
    """(width, width), whether a position sees another."""
    ones = torch.ones(width, width, dtype=torch.bool, device=like.device)
    return ones.tril() & ones.triu(1 - window)


class CausalAttention(torch.autograd.Function):
    """softmax(scale q k^T + causal mask) v for (n, T, d), T small: four times as fast as the flash kernel there."""

    @staticmethod
    def forward(ctx, q, k, v, scale):  # type: ignore[no-untyped-def]
        mask = torch.full((q.shape[1], q.shape[1]), float("-inf"), dtype=q.dtype).triu_(1)
        attn = F.softmax(torch.baddbmm(mask, q, k.transpose(1, 2), alpha=scale), dim=-1)
        ctx.save_for_backward(q, k, v, attn)
        ctx.scale = scale
        return attn.bmm(v)

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        q, k, v, attn = ctx.saved_tensors
        grad_attn = grad.bmm(v.transpose(1, 2))
        grad_score = torch._softmax_backward_data(grad_attn, attn, -1, attn.dtype).mul_(ctx.scale)
        return grad_score.bmm(k), grad_score.transpose(1, 2).bmm(q), attn.transpose(1, 2).bmm(grad), None
