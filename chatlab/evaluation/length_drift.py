"""How long answers are, model by model, and whether they grow.

What is counted are the tokens of answers as the engine reported them. An answer that a person or an error broke off
is left out; one that reached its token budget is at least as long as counted.

The rule. Nothing is reported before a model has given LEAST answers. Answers have grown where the mean is at least
GROWN times the earlier mean, and the difference is significant (`statistics.welch`, 95 %). Against the demonstrations,
whose lengths are the target, the mean has to be at least OVER times theirs, by the same test.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from chatlab.evaluation.statistics import welch

LEAST = 20
GROWN = 1.25
OVER = 1.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Lengths:
    """Count, mean and variance of answer lengths, in tokens."""

    count: int
    mean: float
    variance: float
    """Unbiased sample variance."""

    @classmethod
    def of(cls, tokens: Sequence[int]) -> Lengths:
        count = len(tokens)
        mean = sum(tokens) / max(1, count)
        squares = sum((each - mean) ** 2 for each in tokens)
        return cls(count=count, mean=mean, variance=squares / max(1, count - 1))

    @property
    def error(self) -> float:
        """Squared standard error of the mean."""
        return self.variance / max(1, self.count)


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """Answers are longer than they were, or than the demonstrations that were trained on."""

    since: Literal["earlier adapter", "demonstrations"]
    now: Lengths
    before: Lengths

    @property
    def times(self) -> float:
        return self.now.mean / max(1e-9, self.before.mean)


def grown(now: Lengths, earlier: Lengths | None, trained: Lengths | None) -> list[Growth]:
    """What the rule above says; nothing where there are too few answers to say anything."""
    found = []
    if earlier is not None and earlier.count >= LEAST and _longer(now, earlier, GROWN):
        found.append(Growth(since="earlier adapter", now=now, before=earlier))
    if trained is not None and trained.count and _longer(now, trained, OVER):
        found.append(Growth(since="demonstrations", now=now, before=trained))
    return found


def _longer(now: Lengths, before: Lengths, times: float) -> bool:
    if now.count < LEAST or now.mean < times * before.mean:
        return False
    return welch(now.mean - before.mean, now.error, before.error)
