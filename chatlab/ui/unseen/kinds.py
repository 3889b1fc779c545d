"""Which unseen prompts a run is shown on."""

from __future__ import annotations

from collections.abc import Sequence

from chatlab.evaluation.unseen import unseen

EVERYDAY = "everyday"
LABELS = {EVERYDAY: "Everyday prompts", "triage": "Support messages"}


def unseen_prompts(kind: str = EVERYDAY) -> list[str]:
    """In the file's order. A kind without prompts of its own gets the everyday ones."""
    return unseen(kind if kind in LABELS and kind != EVERYDAY else "", count=None)


def kind_for(tags: Sequence[str]) -> str:
    """The prompts that fit demonstrations with these tags: those of the most frequent known tag."""
    known = [tag for tag in tags if tag in LABELS]
    most = max(set(known), key=known.count, default=EVERYDAY)
    return most if known.count(most) * 2 > len(tags) else EVERYDAY
