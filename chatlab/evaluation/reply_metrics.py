"""Format metrics over replies: do they end by themselves, leak role markers, repeat the prompt, how long are they?"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from chatlab.evaluation.unseen import Reply
from chatlab.measurements import ReplyMetrics


def reply_metrics(replies: Sequence[Reply]) -> ReplyMetrics:
    """Counts over `replies`, of which there may be none."""

    def count(holds: Callable[[Reply], bool]) -> int:
        return sum(holds(reply) for reply in replies)

    return ReplyMetrics(
        replies=len(replies),
        role_leaks=count(lambda reply: not reply.form.no_role_leak),
        stops=count(lambda reply: reply.form.stops),
        prompt_echoes=count(lambda reply: not reply.form.no_prompt_echo),
        well_formed=count(lambda reply: reply.form.well_formed),
        tokens=sum(reply.tokens for reply in replies) / max(1, len(replies)),
    )
