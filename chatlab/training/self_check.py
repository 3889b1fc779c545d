"""Does the trainer compute what transformers computes? Two short texts tell, whenever a base is opened for training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from chatlab.training.data import Example
from chatlab.training.fast import attention
from chatlab.training.loss import logits_of
from chatlab.training.packing import collate

if TYPE_CHECKING:
    from chatlab.training.model import LoraModel

CHECKED_TO = {False: 0.005, True: 0.05}
"""How far logits may be from transformers' own, in parts of their spread: in float32, and in bfloat16, where real text
moves them by 0.009 to 0.013 on SmolLM2 (transformers' own bfloat16 by 0.013 to 0.024)."""


class SelfCheck:
    """The logits of two packed texts, to be compared with those that transformers gives each alone, in float32.

    `sample` is real text, 19 tokens at least: on control tokens, which no text is made of, rounding to bfloat16 moves a
    model's logits ten times as far. What both texts begin with is computed once, as in training.
    """

    def __init__(self, model: LoraModel, sample: Sequence[int]) -> None:
        texts = (sample[:12], [*sample[:8], *sample[12:16]])
        self._model = model
        self._batch = collate([Example(demonstration=0, ids=tuple(ids), labels=()) for ids in texts])
        self._wanted = [_logits_alone(model.causal, ids) for ids in (texts[0], *texts)]

    @torch.no_grad()
    def passes(self, limit: float) -> bool:
        """False for a network that does more than the model's forward does: caps, biases, scales of its own.

        `limit` is in parts of the logits' spread.
        """
        with self._model.adapter_disabled():
            found = logits_of(self._model.hidden(self._batch), self._model.head)
        for span, alone in zip(self._batch.spans, self._wanted, strict=True):
            mine = found[span.start : span.start + span.width]
            wanted = alone[span.prefix : span.prefix + span.width]
            if not (mine - wanted).abs().mean() <= limit * wanted.std():  # nor where either is no number
                return False
        return True


@torch.no_grad()
def _logits_alone(causal: Any, ids: Sequence[int]) -> Tensor:
    """Logits of one text, as transformers computes them; an adapter that was never trained changes nothing."""
    causal.set_attn_implementation("eager")
    try:
        row = torch.tensor([list(ids)], device=causal.device)
        logits: Tensor = causal(input_ids=row, use_cache=False).logits[0].float()
        return logits
    finally:
        causal.set_attn_implementation(attention.NAME)


def ordinary(rows: int) -> Sequence[int]:
    """Tokens from the middle of a vocabulary of `rows`, where no control tokens are."""
    return [rows // 3 + (997 * n) % max(1, rows // 3) for n in range(19)]
