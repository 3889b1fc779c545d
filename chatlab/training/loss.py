"""Losses straight from hidden states, so that logits exist only where a label is and only once."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

LEAST = 1e-37
"""Keeps the logarithm of a chance finite; float32 holds little less."""


def next_token_loss(hidden: Tensor, head: Tensor, labels: Tensor) -> Tensor:
    """Sum of the cross-entropies of `labels` (L,), given the hidden states (L, H) that predict them.

    `head` (V, H) is the frozen output matrix; the products are computed in its dtype, the rest in float32.
    """
    result: Tensor = CrossEntropy.apply(hidden, head, labels)
    return result


def leash_loss(hidden: Tensor, head: Tensor, top: Tensor, chance: Tensor) -> Tensor:
    """Sum over places of KL(base || adapter) on the base's likeliest tokens, all others counted as one.

    `hidden` (L, H); `top` (L, K) are the base's K likeliest tokens and `chance` (L, K) their probabilities in it.
    """
    result: Tensor = Divergence.apply(hidden, head, top, chance)
    return result


def logits_of(hidden: Tensor, head: Tensor) -> Tensor:
    """(L, H) to (L, V), float32."""
    return F.linear(hidden.to(head.dtype), head).float()


class CrossEntropy(torch.autograd.Function):
    """The gradient, softmax minus one-hot, is made in place of the logits, on the way forward."""

    @staticmethod
    def forward(ctx, hidden, head, labels):  # type: ignore[no-untyped-def]
        chance = F.softmax(logits_of(hidden, head), dim=-1)
        right = labels[:, None]
        own = chance.gather(1, right)
        loss = -own.clamp_min(LEAST).log().sum()
        if ctx.needs_input_grad[0]:
            wrong = chance.scatter_(1, right, own - 1)
            ctx.save_for_backward((wrong.to(head.dtype) @ head).float())
        return loss

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        return ctx.saved_tensors[0] * grad, None, None


class Divergence(torch.autograd.Function):
    """With p the adapter's chances, q the base's, and r the sum of all tokens outside the base's top K:

        KL = sum over top of q log(q / p) + q_r log(q_r / p_r)
        d KL / d logit = p - q on the top, p (1 - q_r / p_r) elsewhere

    The gradient is made on the way forward here too.
    """

    @staticmethod
    def forward(ctx, hidden, head, top, chance):  # type: ignore[no-untyped-def]
        own = F.softmax(logits_of(hidden, head), dim=-1)
        near = own.gather(1, top)
        own_rest = (1 - near.sum(1, keepdim=True)).clamp_min_(1e-6)
        rest = (1 - chance.sum(1, keepdim=True)).clamp_min_(1e-6)
        loss = (chance * (chance.clamp_min(LEAST) / near.clamp_min(LEAST)).log()).sum()
        loss += (rest * (rest / own_rest).log()).sum()
        if ctx.needs_input_grad[0]:
            away = own.mul_(1 - rest / own_rest).scatter_(1, top, near - chance)
            ctx.save_for_backward((away.to(head.dtype) @ head).float())
        return loss

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        return ctx.saved_tensors[0] * grad, None, None, None
