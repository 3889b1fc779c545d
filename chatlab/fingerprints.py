"""The fingerprint of a base, taken apart: what differs between the base that an adapter was made for and another."""

from __future__ import annotations

WHOLE, PART = 16, 12
"""Hex digits of the hash of everything, and of each part."""
PARTS = ("its config", "its tokenizer", "its chat template", "its weights")
LENGTH = WHOLE + PART * len(PARTS)


def differing(one: str, other: str) -> tuple[str, ...]:
    """Which parts differ, in words; none where that cannot be told, as of a single file or of an earlier version."""
    if len(one) != LENGTH or len(other) != LENGTH:
        return ()
    starts = range(WHOLE, LENGTH, PART)
    found = tuple(name for name, at in zip(PARTS, starts, strict=True) if one[at : at + PART] != other[at : at + PART])
    return found if len(found) < len(PARTS) else ()
