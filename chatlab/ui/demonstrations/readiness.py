"""How far a set of demonstrations reaches, by the guide's sizes: format, persona or domain, production."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from markupsafe import Markup

from chatlab.ui.html import NOTHING, counted, div, element, escaped, joined, span

MOST = 50_000


@dataclass(frozen=True)
class Size:
    """What so many demonstrations can teach."""

    at_least: int
    name: str
    range: str


SIZES = (
    Size(100, "a format", "100-500"),
    Size(1_000, "a persona or a domain", "1K-5K"),
    Size(5_000, "production quality", "5K-50K"),
)


def readiness(usable: int, not_usable: Mapping[str, int] | None = None) -> Markup:
    """A meter on a logarithmic scale, with the sentence that goes with it, and why some do not count."""
    marks = joined(element("b", style=f"left:{100 * _share(size.at_least):.1f}%") for size in SIZES)
    scale = div("ready-scale", element("i", style=f"width:{100 * _share(usable):.1f}%"), marks)
    sizes = joined(_size(size, usable) for size in SIZES)
    said = div("ready-said", _said(usable, not_usable or {}))
    return div("ready", said, scale, div("ready-sizes", sizes))


def _said(usable: int, not_usable: Mapping[str, int]) -> Markup:
    kind = "usable" if not_usable else "approved"
    said = span("ready-count", counted(usable, f"{kind} demonstration")) + span("ready-advice", advice(usable))
    return said + (span("ready-not", _why_not(usable, not_usable)) if not_usable else NOTHING)


def _why_not(usable: int, not_usable: Mapping[str, int]) -> str:
    out = sum(not_usable.values())
    reasons = ", ".join(f"{number:,} {reason}" for reason, number in sorted(not_usable.items()))
    return f"{out:,} of {usable + out:,} approved are not usable: {reasons}."


def advice(approved: int) -> str:
    """What that many are good for, and what comes next."""
    if approved == 0:
        return "Load a starter pack, or write a demonstration."
    nearest = next((size for size in SIZES if approved < size.at_least), None)
    if nearest is None:
        return "Enough for production. Check quality before adding more."
    reached = [size for size in SIZES if approved >= size.at_least]
    start = f"Enough to teach {reached[-1].name}." if reached else _beginning(approved)
    return f"{start} {nearest.at_least - approved:,} more for {nearest.name}."


def _beginning(approved: int) -> str:
    return "Enough to see a change." if approved >= 40 else "A start."


def _size(size: Size, approved: int) -> Markup:
    done = "ready-size ready-reached" if approved >= size.at_least else "ready-size"
    mark = "✓ " if approved >= size.at_least else ""
    return element(
        "span",
        escaped(f"{mark}{size.range}"),
        element("i", escaped(f": {size.name}")),
        kind=done,
        style=f"left:{100 * _share(size.at_least):.1f}%",
        title=f"{size.range}: {size.name}",
    )


def _share(approved: int) -> float:
    """Where on the bar: each tenfold takes the same room."""
    return min(1.0, math.log10(approved + 1) / math.log10(MOST))
