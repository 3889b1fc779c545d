"""How a voice keeps to its own part over many replies: does it stop, how long is it, does it speak for the person?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import comb

from chatlab.evaluation.unseen import Reply
from chatlab.records import ReplyMetrics


def reply_metrics(replies: Sequence[Reply]) -> ReplyMetrics:
    """Of any number of replies, none included."""

    def count(holds: Callable[[Reply], bool]) -> int:
        return sum(holds(reply) for reply in replies)

    return ReplyMetrics(
        replies=len(replies),
        role_leaks=count(lambda reply: not reply.form.no_role_leak),
        stops=count(lambda reply: reply.form.stops),
        prompt_echoes=count(lambda reply: not reply.form.no_prompt_echo),
        well_formed=count(lambda reply: reply.form.good),
        tokens=sum(reply.tokens for reply in replies) / max(1, len(replies)),
    )


def likely_by_chance(fewer: int, more: int, replies: int) -> float:
    """How likely so large a difference between two voices, each of so many replies, is by chance alone.

    Fisher's exact test, one-sided.
    """
    marked = fewer + more
    ways = sum(comb(replies, k) * comb(replies, marked - k) for k in range(max(0, marked - replies), fewer + 1))
    return ways / comb(2 * replies, marked)
