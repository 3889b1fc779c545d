"""KL divergence to the base: as a penalty on text that the base wrote, and as a measurement on held-out answers.

The penalty keeps an adapter near the base on text that the base itself sampled, which holds it far better than
learning such text again, and needs no corpus. The base never changes, so its distributions are computed once and kept.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from chatlab.models.network import load_network
from chatlab.system.files import private_folder, write_whole
from chatlab.system.malloc import return_freed
from chatlab.training.data import Example
from chatlab.training.defaults import KL_TEXT_TOKENS
from chatlab.training.loss import logits_of, topk_kl_loss
from chatlab.training.model import LoraModel
from chatlab.training.packing import Batch, Span, collate, shares

NUM_TEXTS, FEW_TEXTS = 64, 32
"""Texts of a small base, and of one that takes seconds to write them: with half as many SmolLM2 forgets as little, see
docs/measurements.md.
"""
TOP_K = 32
"""Likeliest tokens kept for each position; the others count as one."""
FORMER_TENSORS = {"top": "topk_ids", "chance": "topk_probs"}
"""Names in files of earlier versions."""
MAX_NUMBERS = 1 << 24
"""Numbers kept of the base's distributions: one for every token of the vocabulary, at as many positions as fit."""


@dataclass(frozen=True, slots=True)
class KLReference:
    """Texts sampled from the base, and its next-token distributions on them.

    `ids` (n, T); `topk_ids` and `topk_probs` (n, T, TOP_K): the base's likeliest next tokens and their probabilities.
    """

    ids: Tensor
    topk_ids: Tensor
    topk_probs: Tensor

    @property
    def width(self) -> int:
        """Tokens of a text."""
        return self.ids.shape[1]

    def batch(self, texts: Sequence[int]) -> Batch:
        """These texts, without labels."""
        ids = self.ids[list(texts)]
        none = torch.zeros(0, dtype=torch.long)
        positions = torch.arange(ids.shape[1]).repeat(len(texts))
        spans = tuple(Span(start * self.width, self.width) for start in range(len(texts)))
        return Batch(ids.flatten(), positions, spans, none, none)

    def loss(self, hidden: Tensor, head: Tensor, texts: Sequence[int]) -> Tensor:
        """Sum over all positions of KL(base || adapter); `hidden` (N, H) begins with these texts' positions."""
        chosen = list(texts)
        ids, probs = self.topk_ids[chosen].flatten(0, 1), self.topk_probs[chosen].flatten(0, 1)
        return topk_kl_loss(hidden[: len(ids)], head, ids, probs)

    def sample(self, step: int, count: int, seed: int) -> list[int]:
        """Which texts a step reads: all of them in turn, in an order that the seed gives."""
        order = list(range(len(self.ids)))
        random.Random(f"leash {seed}").shuffle(order)
        return [order[(step * count + i) % len(order)] for i in range(count)]


class KLToReference:
    """Mean KL(reference || adapter) on the answers of some examples. The reference's distributions are computed once:
    those of the base, or of the adapter that the model holds now.
    """

    def __init__(self, model: LoraModel, examples: Sequence[Example], *, to_base: bool = True) -> None:
        self._model = model
        fitting = _fitting(examples, MAX_NUMBERS // model.head.shape[0])
        self.has_all = len(fitting) == len(examples)
        """Whether they were few enough for all to be measured on."""
        self._batches = [collate(some) for some in shares(fitting, model.workers.count)]
        with model.adapter_disabled() if to_base else nullcontext():
            self._reference = self._log_probs()

    def mean(self) -> float | None:
        """Nats a token, over the supervised positions, as the adapter is now; None where there are none."""
        return self.with_loss()[0]

    def with_loss(self) -> tuple[float | None, float | None]:
        """`mean`, and the cross-entropy there, nats a token, of the same forward pass."""
        kl, loss, tokens = 0.0, 0.0, 0
        for batch, reference, own in zip(self._batches, self._reference, self._log_probs(), strict=True):
            kl += float((reference.exp() * (reference - own)).sum())
            loss -= float(own.gather(1, batch.labels[:, None]).sum())
            tokens += len(own)
        return (kl / tokens, loss / tokens) if tokens else (None, None)

    def _log_probs(self) -> list[Tensor]:
        """(L, V) of each batch, at the positions that predict a label."""
        with self._model.merged():
            return list(self._model.workers.map(self._of, self._batches))

    @torch.no_grad()
    def _of(self, batch: Batch) -> Tensor:
        hidden = self._model.hidden(batch)[batch.label_positions]
        return logits_of(hidden, self._model.head).log_softmax(-1)


def load_or_build(
    base: Path, dtype: torch.dtype, file: Path, start: int, *, texts: int = NUM_TEXTS, threads: int = 1
) -> KLReference:
    """The reference kept in `file`, or one sampled now from the model in `base` and kept there.

    `start` is the token that opens a document; it is computed in `dtype`, that of training, by so many threads.
    """
    try:
        kept = safetensors.torch.load(file.read_bytes())  # not mapped: Windows could not replace it
        kept = {FORMER_TENSORS.get(name, name): tensor for name, tensor in kept.items()}
        return KLReference(kept["ids"].long(), kept["topk_ids"].long(), kept["topk_probs"])
    except (OSError, SafetensorError, KeyError):
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            made = _build(base, dtype, start, texts)
        finally:
            torch.set_num_threads(before)
        return_freed()
    private_folder(file.parent)
    tensors = {"ids": made.ids.int(), "topk_ids": made.topk_ids.int(), "topk_probs": made.topk_probs}
    write_whole(file, safetensors.torch.save({name: tensor.contiguous() for name, tensor in tensors.items()}))
    return made


@torch.no_grad()
def _build(folder: Path, dtype: torch.dtype, start: int, texts: int) -> KLReference:
    """Texts sampled at temperature 1 from the base as transformers loads it, and its distributions on the way.

    All in one batch: a token more of each text reads every weight once.
    """
    base = load_network(folder, dtype).eval()
    generator = torch.Generator().manual_seed(0)
    new = torch.full((texts, 1), start)
    cache: Any = None
    ids, likeliest = list[Tensor](), list[Any]()
    while len(ids) < KL_TEXT_TOKENS:
        out = base(new, past_key_values=cache, use_cache=True)
        cache, probs = out.past_key_values, out.logits[:, -1].float().softmax(-1)
        ids.append(new)
        likeliest.append(probs.topk(TOP_K))
        new = _sampled(probs, generator)
    topk_ids = torch.stack([found.indices for found in likeliest], 1)
    return KLReference(torch.cat(ids, 1), topk_ids, torch.stack([found.values for found in likeliest], 1))


def _sampled(probs: Tensor, generator: torch.Generator) -> Tensor:
    """One id a row (n, 1) of `probs` (n, V): where the running sum passes a number drawn.

    `torch.multinomial` takes five times as long on a vocabulary of 49,152.
    """
    sums = probs.cumsum(-1)
    drawn = torch.rand(len(probs), 1, generator=generator) * sums[:, -1:]
    return torch.searchsorted(sums, drawn).clamp_max(probs.shape[1] - 1)


def _fitting(examples: Sequence[Example], positions: int) -> list[Example]:
    """The first examples that have no more supervised positions than that together."""
    found: list[Example] = []
    for example in examples:
        if example.num_labels <= positions:
            positions -= example.num_labels
            found.append(example)
    return found
