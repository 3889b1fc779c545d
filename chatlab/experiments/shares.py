"""Shares and means with their intervals, and what may be said of a difference between two."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import mean

from chatlab.evaluation.statistics import wilson
from chatlab.evaluation.unseen import Reply


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """So many of so many."""

    hits: int
    of: int

    @property
    def value(self) -> float:
        """0 to 1; not a number where there were none."""
        return self.hits / self.of if self.of else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """95 % score interval: sound for few and for shares near 0 or 1."""
        return wilson(self.hits, self.of)

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.value:.0%} ({self.hits} of {self.of}; {low:.0%} to {high:.0%})" if self.of else "none asked"


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """One figure of several runs that differ in their seed, and an interval that all of them lie in."""

    each: tuple[float, ...]
    interval: tuple[float, float]

    @property
    def value(self) -> float:
        return mean(self.each) if self.each else math.nan

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.value:+.1f} % ({low:+.1f} to {high:+.1f})"


def share(replies: Sequence[Reply], holds: Callable[[Reply], bool]) -> Share:
    """Share of replies for which `holds`, pooled over seeds."""
    return Share(hits=sum(map(holds, replies)), of=len(replies))


def well_formed(reply: Reply) -> bool:
    return reply.form.well_formed


def role_leak(reply: Reply) -> bool:
    return not reply.form.no_role_leak


def apart(lower: Share, higher: Share) -> bool:
    """Whether the intervals leave no doubt of the order."""
    return lower.interval[1] < higher.interval[0]


def enveloped(each: Sequence[float], intervals: Sequence[tuple[float, float]]) -> Spread:
    """From the lowest lower to the highest upper end: neither the choice of documents nor the seed explains it away."""
    lows, highs = zip(*intervals, strict=True)
    return Spread(each=tuple(each), interval=(min(lows), max(highs)))


def ranged(each: Sequence[float]) -> Spread:
    """From the lowest to the highest of the seeds."""
    return Spread(each=tuple(each), interval=(min(each), max(each)))
