"""How hard an answer is for the base model, and how much seeing the instruction helps. Kept once known.

Difficulty is the model's own loss on the answer. Its ratio to the loss without the instruction is the
instruction-following difficulty of Li et al. 2024, "From Quantity to Quality: Boosting LLM Performance with Self-Guided
Data Selection for Instruction Tuning": near 1, the instruction does not tell the model what to say; above 1, it
misleads.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from chatlab.system.lines import split_lines

UNKNOWN = -1.0
"""Kept in place of a loss, for a demonstration that the base cannot read: too long, or refused by its template."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difficulty:
    """Loss on the answers of one demonstration, end-of-turn tokens included; nats per token."""

    loss: float
    """After the instruction."""
    without: float
    """In the same template, with the content of all turns but the assistant's left out."""
    tokens: int

    @property
    def gain(self) -> float:
        """By how much the instruction lowers the loss, nats per token; below 0 it misleads."""
        return self.without - self.loss

    @property
    def ratio(self) -> float:
        """Li et al.'s measure: loss with the instruction by loss without."""
        return self.loss / self.without if self.without > 0 else 1.0


class Ledger:
    """Difficulties by content hash, of one base and template: an append-only file in the cache."""

    def __init__(self, cache: Path, base: str, template: str) -> None:
        self.file = cache / "difficulty" / f"{base[:16]}-{template[:16]}.jsonl"
        self._size = 0
        self._known: dict[str, Difficulty | None] = {}

    def read(self) -> Mapping[str, Difficulty | None]:
        """By content hash; None for what cannot be measured. Lines that were cut off are passed over."""
        size = self.file.stat().st_size if self.file.exists() else 0
        if size != self._size:
            lines = split_lines(self.file.read_text(encoding="utf-8"))
            self._known = dict(found for line in lines if (found := _entry(line)))
            self._size = size
        return self._known


def entry(key: str, difficulty: Difficulty | None) -> str:
    """A line of the ledger."""
    if difficulty is None:
        return json.dumps({"key": key, "loss": UNKNOWN, "without": UNKNOWN, "tokens": 0}) + "\n"
    loss, without = round(difficulty.loss, 5), round(difficulty.without, 5)
    return json.dumps({"key": key, "loss": loss, "without": without, "tokens": difficulty.tokens}) + "\n"


def _entry(line: str) -> tuple[str, Difficulty | None] | None:
    try:
        raw = json.loads(line)
        key, loss, without, tokens = str(raw["key"]), float(raw["loss"]), float(raw["without"]), int(raw["tokens"])
    except (ValueError, KeyError, TypeError):
        return None
    if loss < 0 or not math.isfinite(loss + without):
        return key, None
    return key, Difficulty(loss=loss, without=without, tokens=tokens)
