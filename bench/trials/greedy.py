"""Greedy replies to many prompts at once, padded, on any device; the same for every bench that makes many runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from chatlab.training.loss import logits_of

PENALTY = 1.1
"""The app's repetition penalty, on what the reply itself holds."""
LOOK = 4
"""Tokens between two looks at whether all replies are done: on a GPU each look waits for it."""


@torch.no_grad()
def greedy_replies(
    decode: Callable[..., Any],
    head: Tensor,
    prompts: Sequence[Sequence[int]],
    stop: Sequence[int],
    tokens: int,
    temperature: float = 0.0,
    seed: int = 0,
) -> list[list[int]]:
    """Greedy replies to all prompts, or sampled ones, each with its stop token where it came to one.

    `decode` (ids, attention_mask, position_ids, past_key_values, use_cache) gives what a transformers decoder gives;
    `head` is (V, H).
    """
    generator = torch.Generator().manual_seed(seed)
    device, width = head.device, max(map(len, prompts))
    ids = torch.tensor([[0] * (width - len(p)) + list(p) for p in prompts], device=device)
    mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts], device=device)
    positions = (mask.cumsum(1) - 1).clamp_min(0)
    ends, rows = torch.tensor(list(stop), device=device), torch.arange(len(prompts), device=device)
    seen = torch.zeros(len(prompts), len(head), dtype=torch.bool, device=device)
    done = torch.zeros(len(prompts), dtype=torch.bool, device=device)
    sampled: list[Tensor] = []
    out = decode(ids, attention_mask=mask, position_ids=positions, use_cache=True)
    for number in range(tokens):
        logits = logits_of(out.last_hidden_state[:, -1].float(), head)
        lowered = torch.where(logits > 0, logits / PENALTY, logits * PENALTY)
        scores = torch.where(seen, lowered, logits)
        if temperature:  # Gumbel's way to draw from a softmax
            noise = -torch.rand(scores.shape, generator=generator).clamp_min(1e-20).log()
            scores = scores / temperature - noise.log().to(device)
        new = scores.argmax(-1)
        seen[rows, new] = True
        sampled.append(new)
        done |= torch.isin(new, ends)
        if number % LOOK == LOOK - 1 and bool(done.all()):
            break
        mask = torch.cat((mask, mask.new_ones(len(mask), 1)), 1)
        at, past = mask.sum(1, keepdim=True) - 1, out.past_key_values
        out = decode(new[:, None], attention_mask=mask, position_ids=at, past_key_values=past, use_cache=True)
    stops = set(stop)
    whole = torch.stack(sampled, 1).tolist()
    return [row[: next((n + 1 for n, i in enumerate(row) if i in stops), len(row))] for row in whole]
