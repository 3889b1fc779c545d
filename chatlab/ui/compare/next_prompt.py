"""The walk through the unseen prompts: which one is next for these voices, and how many are behind."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from chatlab.ui.compare.session import Step
from chatlab.ui.unseen import EVERYDAY, LABELS, unseen_prompts

KINDS = [(label, kind) for kind, label in LABELS.items()]
FIRST = EVERYDAY


def prompts(kind: str = FIRST) -> list[str]:
    """The set that is walked through, in its order. The only place that knows where it is kept."""
    return unseen_prompts(kind)


def next_step(unseen: Sequence[str], judged: Mapping[str, int], passed: Collection[str] = ()) -> Step | None:
    """The first prompt that was judged least often; None when all of those were passed over.

    `judged` says how often each was. When all were judged equally often, another lap begins.
    """
    least = min((judged.get(prompt, 0) for prompt in unseen), default=0)
    waiting = [prompt for prompt in unseen if judged.get(prompt, 0) == least]
    left = [prompt for prompt in waiting if prompt not in passed]
    return Step(prompt=left[0], judged=len(unseen) - len(waiting), total=len(unseen)) if left else None
