"""The prompts that no pack contains, for hearing what a run has taught."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from chatlab.settings import PACKAGE

DATA = PACKAGE / "data"
EVERYDAY = "everyday"
LABELS = {EVERYDAY: "Everyday prompts", "triage": "Support messages"}


def unseen_prompts(kind: str = EVERYDAY, folder: Path = DATA) -> list[str]:
    """In the file's order. A kind without a file of its own gets the everyday ones."""
    file = folder / f"unseen_{kind}.jsonl"
    file = file if kind in LABELS and file.exists() else folder / "unseen.jsonl"
    return [json.loads(line)["prompt"] for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]


def kind_for(tags: Sequence[str]) -> str:
    """Which prompts show best what demonstrations with these tags taught: the most frequent known tag's."""
    known = [tag for tag in tags if tag in LABELS]
    most = max(set(known), key=known.count, default=EVERYDAY)
    return most if known.count(most) * 2 > len(tags) else EVERYDAY
