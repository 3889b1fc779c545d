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

from chatlab.training.packing import Span

NAME = "packed"
MAX_WASTE = 4096
"""Scores of padding in a block that cost less than the operations of one block more."""
WIDE = 512
"""Keys from which the weights of attention are computed again for the backward pass in place of being kept."""
NOWHERE = 1 << 30
"""The place of a key that is padding: after every query."""


class Block(NamedTuple):
    """Sequences laid out as `rows`, T queries and S keys each, padded at their ends by repeating the last.

    `queries` (rows T,) and `keys` (rows S,) are positions in the batch; `slots` say where among `queries` each of the
    block's positions `start` to `end` is. `query_places` (rows, T) and `key_places` (rows, S) count from a text's
    beginning.
    """

    start: int
    end: int
    queries: Tensor
    keys: Tensor
    slots: Tensor
    query_places: Tensor
    key_places: Tensor


class Attended(NamedTuple):
    """What a block's backward needs: queries (n, G T, d) with n = rows x key heads and G queries' heads for each of
    those, keys and values (n, S, d), the mask, and the weights (n, G T, S), None where they are computed again.
    """

    queries: Tensor
    keys: Tensor
    values: Tensor
    mask: Tensor
    weights: Tensor | None


class Layout:
    """The blocks of a batch, with the masks that its layers share."""

    def __init__(self, spans: Sequence[Span], device: torch.device | None = None) -> None:
        self.blocks = [_block(group, device) for group in _groups(spans)]
        self._masks: dict[tuple[int, int, int, int, torch.dtype], Tensor] = {}

    def mask(self, number: int, heads: int, groups: int, window: int | None, dtype: torch.dtype) -> Tensor:
        """-inf where a query does not see a key, (rows heads, groups T, S). A window counts the query itself."""
        key = number, heads, groups, window or 0, dtype
        if key not in self._masks:
            block = self.blocks[number]
            back = block.query_places[:, :, None] - block.key_places[:, None, :]
            hidden = (back < 0) | (back >= window) if window else back < 0
            bias = torch.zeros(hidden.shape, dtype=dtype, device=hidden.device).masked_fill_(hidden, float("-inf"))
            rows, t, s = bias.shape
            shared = bias[:, None, None].expand(rows, heads, groups, t, s)
            self._masks[key] = shared.reshape(rows * heads, groups * t, s)
        return self._masks[key]


def attend(
    q: Tensor, k: Tensor, v: Tensor, layout: Layout, scale: float, window: int | None = None
) -> tuple[Tensor, list[Attended]]:
    """Attention of `q` (N, H, d) on `k` and `v` (N, K, d), H a multiple of K; (N, H, d), and what backward needs."""
    heads, groups = k.shape[1], q.shape[1] // k.shape[1]
    mixed, kept = torch.empty_like(q), []
    for number, block in enumerate(layout.blocks):
        rows = len(block.query_places)
        mask = layout.mask(number, heads, groups, window, q.dtype)
        queries = _by_head(q.index_select(0, block.queries), rows, heads)
        keys, values = (_by_head(x.index_select(0, block.keys), rows, heads) for x in (k, v))
        weights = _weights(queries, keys, mask, scale)
        mixed[block.start : block.end] = _by_place(weights.bmm(values), rows, groups).index_select(0, block.slots)
        kept.append(Attended(queries, keys, values, mask, weights if keys.shape[1] < WIDE else None))
    return mixed, kept


def attend_backward(
    grad: Tensor, kept: Sequence[Attended], layout: Layout, scale: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of q, k and v, from that of what `attend` gave (N, H, d)."""
    heads = kept[0].keys.shape[0] // len(layout.blocks[0].query_places)
    groups, d = grad.shape[1] // heads, grad.shape[2]
    grad_q = torch.empty_like(grad)
    # Added up in float32: a shared prefix's positions gather from every sequence.
    grad_k, grad_v = (grad.new_zeros(len(grad), heads, d, dtype=torch.float32) for _ in range(2))
    for block, own in zip(layout.blocks, kept, strict=True):
        rows = len(block.query_places)
        padded = grad.new_zeros(len(block.queries), *grad.shape[1:])
        padded.index_copy_(0, block.slots, grad[block.start : block.end])
        out = _by_head(padded, rows, heads)
        weights = own.weights if own.weights is not None else _weights(own.queries, own.keys, own.mask, scale)
        score = torch._softmax_backward_data(out.bmm(own.values.transpose(1, 2)), weights, -1, weights.dtype)
        score.mul_(scale)
        grad_q[block.start : block.end] = _by_place(score.bmm(own.keys), rows, groups).index_select(0, block.slots)
        grad_k.index_add_(0, block.keys, _by_place(score.transpose(1, 2).bmm(own.queries), rows, 1).float())
        grad_v.index_add_(0, block.keys, _by_place(weights.transpose(1, 2).bmm(out), rows, 1).float())
    return grad_q, grad_k, grad_v


class PackedAttention(torch.autograd.Function):
    """`attend` as an autograd step, for networks that transformers computes."""

    @staticmethod
    def forward(ctx, q, k, v, layout, scale, window):  # type: ignore[no-untyped-def]
        mixed, ctx.kept = attend(q, k, v, layout, scale, window)
        ctx.layout, ctx.scale = layout, scale
        return mixed

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        grads = attend_backward(grad, ctx.kept, ctx.layout, ctx.scale)
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
    **_: Any,
) -> tuple[Tensor, None]:
    """Attention of `query` (1, H, N, d) on `key` and `value` (1, K, N, d), multiplied in `dtype`; (1, N, H, d)."""
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


def _by_head(x: Tensor, rows: int, heads: int) -> Tensor:
    """(rows T, G heads, d) to (rows heads, G T, d), contiguous."""
    apart = x.view(rows, -1, heads, x.shape[1] // heads, x.shape[2]).permute(0, 2, 3, 1, 4)
    return apart.reshape(rows * heads, -1, x.shape[2])


def _by_place(x: Tensor, rows: int, groups: int) -> Tensor:
    """(rows heads, G T, d) to (rows T, G heads, d): undoes `_by_head`."""
    apart = x.view(rows, len(x) // rows, groups, -1, x.shape[2]).permute(0, 3, 1, 2, 4)
    return apart.reshape(-1, len(x) // rows * groups, x.shape[2])


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
    queries, keys, slots, query_places, key_places = [], [], [], [], []
    for row, span in enumerate(spans):
        more, own = t - span.width, range(span.start, span.start + span.width)
        end = span.prefix + span.width
        queries += [*own, *[own[-1]] * more]
        query_places.append([*range(span.prefix, end), *[end - 1] * more])
        keys += [*range(span.root, span.root + span.prefix), *own, *[own[-1]] * (s - end)]
        key_places.append([*range(end), *[NOWHERE] * (s - end)])
        slots += range(row * t, row * t + span.width)
    made = (torch.tensor(x, device=device) for x in (queries, keys, slots, query_places, key_places))
    return Block(spans[0].start, spans[-1].start + spans[-1].width, *made)
