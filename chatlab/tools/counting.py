"""Counting letters and words, which a model does not see in its tokens."""

from __future__ import annotations

from collections.abc import Callable

from chatlab.errors import ToolFailed

KINDS: dict[str, Callable[[str], bool]] = {
    "letters": str.isalpha,
    "characters": bool,
    "digits": str.isdigit,
    "vowels": lambda c: c in "aeiou",
}
LONGEST = 20_000


def count(what: str, text: str) -> str:
    """How often `what` stands in `text`, capitals or not; or how many `letters`, `words`, `digits` ... it has."""
    if len(text) > LONGEST:
        raise ToolFailed(f"Up to {LONGEST:,} characters can be counted in.")
    wanted, within = _bare(what).casefold(), text.strip().casefold()
    if wanted == "words":
        return str(len(within.split()))
    if wanted in KINDS:
        return str(sum(KINDS[wanted](char) for char in within))
    if not wanted:
        raise ToolFailed("There is nothing to count.", "Give a letter.")
    return str(within.count(wanted))


def _bare(what: str) -> str:
    """Without the quotation marks that somebody put around a letter."""
    what = what.strip()
    return what[1:-1] if len(what) > 2 and what[0] == what[-1] and what[0] in "'\"`" else what
