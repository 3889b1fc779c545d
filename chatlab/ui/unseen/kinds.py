"""Which unseen prompts to hear a run by."""

from __future__ import annotations

from collections.abc import Sequence

from chatlab.evaluation.unseen import unseen

EVERYDAY = "everyday"
LABELS = {EVERYDAY: "Everyday prompts", "triage": "Support messages"}


def unseen_prompts(kind: str = EVERYDAY) -> list[str]:
    """In the file's order. A kind without prompts of its own gets the everyday ones."""
    return unseen(kind if kind in LABELS and kind != EVERYDAY else "", count=None)


def kind_for(tags: Sequence[str]) -> str:
    """Which prompts show best what demonstrations with these tags taught: the most frequent known tag's."""
    known = [tag for tag in tags if tag in LABELS]
    most = max(set(known), key=known.count, default=EVERYDAY)
    return most if known.count(most) * 2 > len(tags) else EVERYDAY
