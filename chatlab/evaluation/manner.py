"""How a voice keeps to its own part over many replies: does it stop, how long is it, does it speak for the person?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import comb

from chatlab.evaluation.unseen import Reply


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """Counts over `replies`, so that nobody takes one in four for one in four hundred."""

    replies: int
    strays: int
    """Speak for the person, or open another turn: they hold role markers, as tokens or in plain words."""
    stops: int
    """Ended by themselves, not because their budget did."""
    echoes: int
    """Begin by saying the prompt again."""
    good: int
    """Of good form in every respect."""
    tokens: float
    """Mean length."""


def manner(replies: Sequence[Reply]) -> Manner:
    """Of any number of replies, none included."""

    def count(holds: Callable[[Reply], bool]) -> int:
        return sum(holds(reply) for reply in replies)

    return Manner(
        replies=len(replies),
        strays=count(lambda reply: not reply.form.one_voice),
        stops=count(lambda reply: reply.form.stops),
        echoes=count(lambda reply: not reply.form.fresh),
        good=count(lambda reply: reply.form.good),
        tokens=sum(reply.tokens for reply in replies) / max(1, len(replies)),
    )


def likely_by_chance(fewer: int, more: int, replies: int) -> float:
    """How likely so large a difference between two voices, each of so many replies, is by chance alone.

    Fisher's exact test, one-sided.
    """
    marked = fewer + more
    ways = sum(comb(replies, k) * comb(replies, marked - k) for k in range(max(0, marked - replies), fewer + 1))
    return ways / comb(2 * replies, marked)
