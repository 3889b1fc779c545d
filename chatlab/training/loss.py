"""Losses straight from hidden states, so that logits exist only where a label is and only once."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

EPS = 1e-37
"""Keeps the logarithm of a probability finite; float32 holds little less."""
CACHED = 1 << 18
"""Numbers worked on at once where logits are turned into probabilities and those into gradients: 1 MB."""
REST = 1e-6
"""Least probability of all tokens outside the top K together."""


def next_token_loss(hidden: Tensor, head: Tensor, labels: Tensor) -> Tensor:
    """Sum of what `token_losses` gives."""
    return token_losses(hidden, head, labels).sum()


def token_losses(hidden: Tensor, head: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of each of `labels` (L,), nats, given the hidden states (L, H) that predict them.

    `head` (V, H) is the frozen output matrix; the products are computed in its dtype, the rest in float32.
    """
    result: Tensor = CrossEntropy.apply(hidden, head, labels)  # type: ignore[no-untyped-call]
    return result


def topk_kl_loss(hidden: Tensor, head: Tensor, topk_ids: Tensor, topk_probs: Tensor) -> Tensor:
    """Sum over positions of KL(base || adapter) on the base's likeliest tokens, all others counted as one.

    `hidden` (L, H); `topk_ids` (L, K) are the base's K likeliest tokens and `topk_probs` (L, K) their probabilities.
    """
    result: Tensor = TopKKL.apply(hidden, head, topk_ids, topk_probs)  # type: ignore[no-untyped-call]
    return result


def logits_of(hidden: Tensor, head: Tensor) -> Tensor:
    """(L, H) to (L, V), float32."""
    return F.linear(hidden.to(head.dtype), head).float()


class CrossEntropy(torch.autograd.Function):
    """The gradient, softmax minus one-hot, is made in place of the logits, during the forward pass."""

    @staticmethod
    def forward(ctx, hidden, head, labels):  # type: ignore[no-untyped-def]
        logits = F.linear(hidden.to(head.dtype), head)
        losses = hidden.new_zeros(len(hidden), dtype=torch.float32)
        for rows in _few(logits):
            probs = F.softmax(logits[rows], dim=-1, dtype=torch.float32)
            right = labels[rows, None]
            own = probs.gather(1, right)
            losses[rows] = -own[:, 0].clamp_min(EPS).log()
            if ctx.needs_input_grad[0]:
                logits[rows] = probs.scatter_(1, right, own - 1)
        if ctx.needs_input_grad[0]:
            ctx.save_for_backward((logits @ head).float())
        return losses

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        return ctx.saved_tensors[0] * grad[:, None], None, None


class TopKKL(torch.autograd.Function):
    """With p the adapter's probabilities, q the base's, and r the sum over all tokens outside the base's top K:

        KL = sum over top K of q log(q / p) + q_r log(q_r / p_r)
        d KL / d logit = p - q on the top K, p (1 - q_r / p_r) elsewhere

    The gradient is made during the forward pass here too.
    """

    @staticmethod
    def forward(ctx, hidden, head, topk_ids, topk_probs):  # type: ignore[no-untyped-def]
        logits = F.linear(hidden.to(head.dtype), head)
        loss = hidden.new_zeros((), dtype=torch.float32)
        for rows in _few(logits):
            probs, ids, theirs = F.softmax(logits[rows], dim=-1, dtype=torch.float32), topk_ids[rows], topk_probs[rows]
            near = probs.gather(1, ids)
            own_rest = (1 - near.sum(1, keepdim=True)).clamp_min_(REST)
            rest = (1 - theirs.sum(1, keepdim=True)).clamp_min_(REST)
            loss += (theirs * (theirs.clamp_min(EPS) / near.clamp_min(EPS)).log()).sum()
            loss += (rest * (rest / own_rest).log()).sum()
            if ctx.needs_input_grad[0]:
                logits[rows] = probs.mul_(1 - rest / own_rest).scatter_(1, ids, near - theirs)
        if ctx.needs_input_grad[0]:
            ctx.save_for_backward((logits @ head).float())
        return loss

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        return ctx.saved_tensors[0] * grad, None, None, None


def _few(logits: Tensor) -> Iterator[slice]:
    """So many rows at a time that what is made of them stays in the processor's cache."""
    count = max(1, CACHED // logits.shape[1])
    return (slice(start, start + count) for start in range(0, len(logits), count))
