"""What held-out pairs say of a run on preferences, in words and with how far they can be trusted."""

from __future__ import annotations

from chatlab.evaluation.statistics import wilson
from chatlab.measurements import PreferenceMetrics

FEW = 10
"""Held-out pairs below which a share says nothing."""
LOST = 0.25
"""Nats a token that chosen answers may become less likely by."""


def why_worse(found: PreferenceMetrics) -> str:
    """A sentence that says why an adapter should not go live unasked; empty where nothing speaks against it."""
    if found.pairs < FEW:
        return ""
    if wilson(found.by_reward, found.pairs)[1] < 0.5:
        return f"ranks held-out pairs against you ({found.by_reward} of {found.pairs} as you did)."
    before, after = found.by_log_prob_before, found.by_log_prob
    if wilson(after, found.pairs)[1] < before / found.pairs:
        return f"ranks fewer held-out pairs as you did: {after} of {found.pairs}, {before} before."
    if found.chosen_after < found.chosen_before - LOST:
        return "makes the answers that you chose less likely."
    return ""


def headline(found: PreferenceMetrics | None) -> str:
    """What a person should take from it."""
    if found is None or found.pairs < FEW:
        return "Not enough pairs to tell whether it learned what you prefer. Compare it blind."
    if worse := why_worse(found):
        return f"It {worse}"
    low, _ = wilson(found.by_reward, found.pairs)
    share = f"{found.by_reward} of {found.pairs} held-out pairs"
    if low <= 0.5:
        return f"It moved towards your choice in {share}: too few to tell from chance."
    if found.by_length >= found.by_reward:
        return f"It moved towards your choice in {share}, but choosing the longer answer would do as well."
    return f"It moved towards your choice in {share} that it never saw."


def share(count: int, found: PreferenceMetrics) -> str:
    """A count of pairs with its 95 % interval."""
    low, high = wilson(count, found.pairs)
    return f"{count} of {found.pairs} ({100 * low:.0f}-{100 * high:.0f} %)"
