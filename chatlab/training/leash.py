"""The leash: text that the base itself wrote, and what it thought of each next token while the adapter was not there.

Training pulls the adapter's opinions on this text back to these (KL to the base), which holds it far better than
learning the text again, and needs no corpus. The base never changes, so its opinions are computed once and cached.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from chatlab.training import attention
from chatlab.training.batches import Batch, Block
from chatlab.training.defaults import LEASH_TOKENS
from chatlab.training.learner import Learner
from chatlab.training.loss import leash_loss, logits_of

TEXTS = 64
TOP = 32
"""Likeliest tokens kept for each place; the others count as one."""


@dataclass(frozen=True, slots=True)
class Leash:
    """`ids` (n, T); `top` and `chance` (n, T, TOP): the base's likeliest next tokens, and its probabilities."""

    ids: Tensor
    top: Tensor
    chance: Tensor

    @property
    def width(self) -> int:
        """Tokens of a text."""
        return self.ids.shape[1]

    def batch(self, texts: Sequence[int]) -> Batch:
        """These texts as one block without labels."""
        ids = self.ids[list(texts)]
        none = torch.zeros(0, dtype=torch.long)
        positions = torch.arange(ids.shape[1]).repeat(len(texts))
        return Batch(ids.flatten(), positions, (Block(*ids.shape),), none, none)

    def loss(self, hidden: Tensor, head: Tensor, texts: Sequence[int]) -> Tensor:
        """Sum over all places of KL(base || adapter); `hidden` begins with these texts, (len(texts) x T or more, H)."""
        at = list(texts)
        top, chance = self.top[at].flatten(0, 1), self.chance[at].flatten(0, 1)
        return leash_loss(hidden[: len(top)], head, top, chance)

    def drawn(self, step: int, count: int, seed: int) -> list[int]:
        """Which texts a step reads: all of them in turn, in an order of the seed's."""
        order = list(range(len(self.ids)))
        random.Random(f"leash {seed}").shuffle(order)
        return [order[(step * count + i) % len(order)] for i in range(count)]


def leash_of(learner: Learner, file: Path, start: int, texts: int = TEXTS) -> Leash:
    """From the cache, or written now; `start` is the token that opens a document."""
    try:
        kept = safetensors.torch.load_file(file)
        return Leash(kept["ids"].long(), kept["top"].long(), kept["chance"])
    except (OSError, SafetensorError, KeyError):
        leash = _made(learner, start, texts)
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(".partial")
    safetensors.torch.save_file(
        {"ids": leash.ids.int(), "top": leash.top.int().contiguous(), "chance": leash.chance.contiguous()}, partial
    )
    partial.replace(file)
    return leash


@torch.no_grad()
def _made(learner: Learner, start: int, texts: int) -> Leash:
    with learner.asleep():
        ids = _written(learner, start, texts)
        leash = Leash(ids, torch.empty(0), torch.empty(0))
        tops, chances = [], []
        for text in range(len(ids)):
            logits = logits_of(learner.hidden(leash.batch([text])), learner.head)
            chance, top = logits.softmax(-1).topk(TOP)
            tops.append(top)
            chances.append(chance)
    return Leash(ids, torch.stack(tops), torch.stack(chances))


def _written(learner: Learner, start: int, texts: int) -> Tensor:
    """(texts, LEASH_TOKENS) ids, sampled at temperature 1."""
    dice = torch.Generator().manual_seed(0)
    said = torch.full((texts, 1), start)
    learner.causal.set_attn_implementation("eager")
    try:
        out = learner.causal(said, use_cache=True)
        while said.shape[1] < LEASH_TOKENS:
            new = torch.multinomial(out.logits[:, -1].float().softmax(-1).cpu(), 1, generator=dice)
            said = torch.cat((said, new), dim=1)
            out = learner.causal(new, past_key_values=out.past_key_values, use_cache=True)
    finally:
        learner.causal.set_attn_implementation(attention.NAME)
    return said
