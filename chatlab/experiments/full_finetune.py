"""Full fine-tuning: every number of the base is trained, which is what an adapter is there to avoid.

Only the report does this, to show what it costs, so it is kept plain: transformers' own network and autograd on padded
batches. Rows, their order, the course of the rate, and what the losses mean are those of the app's own runs.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import AutoModelForCausalLM
from transformers.utils import logging

from chatlab.records import TrainSettings
from chatlab.training.data import IGNORED, Example, schedule
from chatlab.training.kl import KLReference
from chatlab.training.loop import learning_rate

PAPERS = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json")
"""What a base's folder holds beside its config and weights."""


def tune(
    causal: Any,
    rows: Sequence[Example],
    settings: TrainSettings,
    kl: KLReference | None,
    replay: int,
    left: Callable[[], bool],
) -> int:
    """Train all of `causal`; returns the steps made, fewer if `left` says so.

    With `settings.kl_weight` the KL penalty holds it, as it holds an adapter. With `replay` so many of the penalty's
    texts are learned again in every step, next token by next token: rehearsal, on text that the base wrote.
    """
    optimizer = torch.optim.AdamW(
        causal.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=True
    )
    steps = schedule(len(rows), settings)
    for number, places in enumerate(steps):
        if left():
            return number
        loss = answers_loss(causal, [rows[i] for i in places])
        if kl and settings.kl_weight:
            texts = kl.sample(number, settings.kl_samples, settings.seed)
            loss = loss + settings.kl_weight * held_loss(causal, kl, texts)
        if kl and replay:
            loss = loss + replay_loss(causal, kl, kl.sample(number, replay, settings.seed))
        loss.backward()
        if settings.max_grad_norm > 0:
            torch.nn.utils.clip_grad_norm_(causal.parameters(), settings.max_grad_norm)
        optimizer.param_groups[0]["lr"] = learning_rate(number, len(steps), settings)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return len(steps)


def answers_loss(causal: Any, rows: Sequence[Example]) -> Tensor:
    """Mean cross-entropy of the labelled tokens, nats. Padding follows, where causal attention never looks."""
    width = max(len(row.ids) for row in rows)
    ids = torch.tensor([[*row.ids, *[0] * (width - len(row.ids))] for row in rows])
    labels = torch.tensor([[*row.labels, *[IGNORED] * (width - len(row.ids))] for row in rows])
    logits = causal(input_ids=ids, use_cache=False).logits[:, :-1].float()
    return F.cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten(), ignore_index=IGNORED)


def held_loss(causal: Any, kl: KLReference, texts: list[int]) -> Tensor:
    """Mean over places of KL(base || now) on the base's likeliest tokens, all others counted as one; nats."""
    logits = causal(input_ids=kl.ids[texts], use_cache=False).logits.float()
    top, probs = kl.topk_ids[texts], kl.topk_probs[texts]
    near = F.softmax(logits, dim=-1).gather(-1, top)
    rest = (1 - probs.sum(-1)).clamp_min(1e-6)
    own_rest = (1 - near.sum(-1)).clamp_min(1e-6)
    tiny = torch.finfo(torch.float32).tiny
    pull = (probs * (probs.clamp_min(tiny) / near.clamp_min(tiny)).log()).sum(-1)
    return (pull + rest * (rest / own_rest).log()).mean()


def replay_loss(causal: Any, kl: KLReference, texts: list[int]) -> Tensor:
    """Mean cross-entropy of every token of these texts but the first, nats."""
    ids = kl.ids[texts]
    logits = causal(input_ids=ids, use_cache=False).logits[:, :-1].float()
    return F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())


def opened(folder: Path) -> Any:
    """The base in `folder`, all of it to be trained, in float32."""
    logging.disable_progress_bar()
    causal = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return causal.train()


def save(causal: Any, base: Path, folder: Path) -> None:
    """As a base of its own in `folder`, with the config and tokenizer of the one it came from."""
    causal.save_pretrained(folder)
    for name in PAPERS:
        if (base / name).exists():
            shutil.copy(base / name, folder / name)
