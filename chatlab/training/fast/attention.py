"""Causal attention within the sequences of a packed batch, forward and backward, without padding the batch itself.

Sequences of like length are laid out as the rows of a `Block` for the few products of attention alone. Which query sees
which key is told by places in the text, so that a shared prefix, a window or padding is a matter of indices.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from chatlab.errors import BaseRefused
from chatlab.training.packing import Span

NAME = "packed"
MAX_WASTE = 4096
"""Scores of padding in a block that cost less than the operations of one block more."""
WIDE = 512
"""Keys from which the weights of attention are computed again for the backward pass in place of being kept."""
UNKNOWN = ("softcap", "s_aux", "sinks", "position_bias", "alibi", "head_mask", "relative_position_bias", "indices")
"""What networks pass to attention to have it compute otherwise."""
NOWHERE = 1 << 30
"""The place of a key that is padding: after every query."""


class Block(NamedTuple):
    """Sequences laid out as `rows`, T queries and S keys each, padded at their ends by repeating the last.

    `queries` (rows, T) and `keys` (rows, S) are positions in the batch; `slots` say where among `queries` each of the
    block's own positions is. `query_places` (rows, T) and `key_places` (rows, S) count from a text's beginning.
    """

    queries: Tensor
    keys: Tensor
    slots: Tensor
    query_places: Tensor
    key_places: Tensor


class Indices(NamedTuple):
    """A block's rows of (position, head) for one number of heads: K of keys, each with the queries of G heads.

    `queries` (rows K G T,) and `keys` (rows K S,) gather from (N G K, d) and (N K, d) what is multiplied, head by head;
    `out` (n G K,) gathers from what comes of it, (rows K G T, d), the block's own positions.
    """

    queries: Tensor
    keys: Tensor
    out: Tensor
    rows: int


class Attended(NamedTuple):
    """What a block's backward needs: queries (n, G T, d) with n = rows x key heads, keys and values (n, S, d), the
    mask, and the weights (n, G T, S), None where they are computed again.
    """

    queries: Tensor
    keys: Tensor
    values: Tensor
    mask: Tensor
    weights: Tensor | None


class Layout:
    """The blocks of a batch, with the indices and masks that its layers share."""

    def __init__(self, spans: Sequence[Span], device: torch.device | None = None) -> None:
        self.blocks = [_block(group, device) for group in _groups(spans)]
        self._indices: dict[tuple[int, int], list[Indices]] = {}
        self._masks: dict[tuple[int, int, int, torch.dtype], list[Tensor]] = {}

    def indices(self, heads: int, groups: int) -> list[Indices]:
        """Of each block, for so many heads of keys with so many of queries each."""
        if (heads, groups) not in self._indices:
            self._indices[heads, groups] = [_indices(block, heads, groups) for block in self.blocks]
        return self._indices[heads, groups]

    def masks(self, heads: int, groups: int, window: int | None, dtype: torch.dtype) -> list[Tensor]:
        """Of each block, -inf where a query does not see a key, (rows heads, groups T, S). Windows count the query."""
        key = heads, groups, window or 0, dtype
        if key not in self._masks:
            self._masks[key] = [_mask(block, heads, groups, window, dtype) for block in self.blocks]
        return self._masks[key]


def attend(
    q: Tensor, k: Tensor, v: Tensor, layout: Layout, scale: float, window: int | None = None
) -> tuple[Tensor, list[Attended]]:
    """Attention of `q` (N, H, d) on `k` and `v` (N, K, d), H a multiple of K; (N, H, d), and what backward needs."""
    heads, groups, d = k.shape[1], q.shape[1] // k.shape[1], q.shape[2]
    masks = layout.masks(heads, groups, window, q.dtype)
    flat_q, flat_k, flat_v = (x.reshape(-1, d) for x in (q, k, v))
    mixed, kept = [], []
    for mask, own in zip(masks, layout.indices(heads, groups), strict=True):
        queries = flat_q.index_select(0, own.queries).view(own.rows * heads, -1, d)
        keys, values = (x.index_select(0, own.keys).view(own.rows * heads, -1, d) for x in (flat_k, flat_v))
        weights = _weights(queries, keys, mask, scale)
        mixed.append(weights.bmm(values).view(-1, d).index_select(0, own.out))
        kept.append(Attended(queries, keys, values, mask, weights if keys.shape[1] < WIDE else None))
    return _joined(mixed).view_as(q), kept


def attend_backward(
    grad: Tensor, kept: Sequence[Attended], layout: Layout, scale: float, heads: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of q, k and v with `heads` heads of keys, from that of what `attend` gave (N, H, d)."""
    positions, groups, d = len(grad), grad.shape[1] // heads, grad.shape[2]
    parts = grad.reshape(-1, d).split([len(own.out) for own in layout.indices(heads, groups)])
    grad_q = []
    # Added up in float32: a shared prefix's positions gather from every sequence.
    grad_k, grad_v = (grad.new_zeros(positions * heads, d, dtype=torch.float32) for _ in range(2))
    for part, own, its in zip(parts, layout.indices(heads, groups), kept, strict=True):
        out = part.new_zeros(len(own.queries), d).index_copy_(0, own.out, part).view_as(its.queries)
        weights = its.weights if its.weights is not None else _weights(its.queries, its.keys, its.mask, scale)
        score = torch._softmax_backward_data(out.bmm(its.values.transpose(1, 2)), weights, -1, weights.dtype)
        score.mul_(scale)
        grad_q.append(score.bmm(its.keys).view(-1, d).index_select(0, own.out))
        grad_k.index_add_(0, own.keys, score.transpose(1, 2).bmm(its.queries).float().view(-1, d))
        grad_v.index_add_(0, own.keys, weights.transpose(1, 2).bmm(out).float().view(-1, d))
    return _joined(grad_q).view_as(grad), grad_k.view(positions, heads, d), grad_v.view(positions, heads, d)


class PackedAttention(torch.autograd.Function):
    """`attend` as an autograd step, for networks that transformers computes."""

    @staticmethod
    def forward(ctx, q, k, v, layout, scale, window):  # type: ignore[no-untyped-def]
        mixed, ctx.kept = attend(q, k, v, layout, scale, window)
        ctx.layout, ctx.scale, ctx.heads = layout, scale, k.shape[1]
        return mixed

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        grads = attend_backward(grad, ctx.kept, ctx.layout, ctx.scale, ctx.heads)
        return *(each.to(grad.dtype) for each in grads), None, None, None


def register() -> None:
    """Make `packed_attention` known to transformers, under NAME."""
    ALL_ATTENTION_FUNCTIONS.register(NAME, packed_attention)


def packed_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    layout: Layout | None = None,
    dtype: torch.dtype = torch.float32,
    scaling: float | None = None,
    sliding_window: int | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """Attention of `query` (1, H, N, d) on `key` and `value` (1, K, N, d), multiplied in `dtype`; (1, N, H, d).

    Raises BaseRefused for what a network asks of attention that is not computed here, and must not be left out.
    """
    if asked := [name for name in UNKNOWN if others.get(name) is not None]:
        raise BaseRefused(
            f"This base's attention asks for {asked[0]}, which training does not compute.", "Choose another."
        )
    if value.shape[3] != query.shape[3]:
        raise BaseRefused("This base's attention has keys and values of different widths.", "Choose another.")
    layout = layout or _alone(query.shape[2])
    scale = scaling if scaling is not None else query.shape[-1] ** -0.5
    inputs = (x[0].transpose(0, 1).to(dtype) for x in (query, key, value))
    mixed = PackedAttention.apply(*inputs, layout, scale, sliding_window)  # type: ignore[no-untyped-call]
    return mixed.to(query.dtype)[None], None


@cache
def _alone(width: int) -> Layout:
    return Layout([Span(0, width)])


def _weights(queries: Tensor, keys: Tensor, mask: Tensor, scale: float) -> Tensor:
    return torch.baddbmm(mask, queries, keys.transpose(1, 2), alpha=scale).softmax(-1)


def _joined(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _indices(block: Block, heads: int, groups: int) -> Indices:
    rows, t = block.queries.shape
    own = torch.arange(heads * groups, device=block.queries.device).view(1, heads, groups, 1)
    queries = block.queries[:, None, None] * (heads * groups) + own
    keys = block.keys[:, None] * heads + torch.arange(heads, device=block.keys.device)[:, None]
    row, place = block.slots // t, block.slots % t
    out = (row[:, None] * heads * groups + own.flatten()) * t + place[:, None]
    return Indices(queries.flatten(), keys.flatten(), out.flatten(), rows)


def _mask(block: Block, heads: int, groups: int, window: int | None, dtype: torch.dtype) -> Tensor:
    back = block.query_places[:, :, None] - block.key_places[:, None, :]
    hidden = (back < 0) | (back >= window) if window else back < 0
    bias = torch.zeros(hidden.shape, dtype=dtype, device=hidden.device).masked_fill_(hidden, float("-inf"))
    rows, t, s = bias.shape
    return bias[:, None, None].expand(rows, heads, groups, t, s).reshape(rows * heads, groups * t, s)


def _groups(spans: Sequence[Span]) -> Iterator[Sequence[Span]]:
    """Neighbours share a block as long as little of it is padding."""
    start = 0
    for end in range(2, len(spans) + 1):
        group = spans[start:end]
        area = len(group) * max(s.width for s in group) * max(s.prefix + s.width for s in group)
        if area - sum(s.width * (s.prefix + s.width) for s in group) > MAX_WASTE:
            yield spans[start : end - 1]
            start = end - 1
    yield spans[start:]


def _block(spans: Sequence[Span], device: torch.device | None) -> Block:
    t, s = max(span.width for span in spans), max(span.prefix + span.width for span in spans)
    queries, keys, query_places, key_places = [], [], [], []
    slots: list[int] = []
    for row, span in enumerate(spans):
        more, own = t - span.width, range(span.start, span.start + span.width)
        end = span.prefix + span.width
        queries.append([*own, *[own[-1]] * more])
        query_places.append([*range(span.prefix, end), *[end - 1] * more])
        keys.append([*range(span.root, span.root + span.prefix), *own, *[own[-1]] * (s - end)])
        key_places.append([*range(end), *[NOWHERE] * (s - end)])
        slots += range(row * t, row * t + span.width)
    return Block(*(torch.tensor(x, device=device) for x in (queries, keys, slots, query_places, key_places)))
