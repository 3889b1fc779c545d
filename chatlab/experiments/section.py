"""A claim's part of the page, as values: words, tables, charts and examples. Nothing here is markup yet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from chatlab.experiments.recipe import Recipe
from chatlab.experiments.results import RunMetrics
from chatlab.experiments.scale import Scale
from chatlab.experiments.verdict import Verdict

Found = Mapping[Recipe, RunMetrics]
"""Everything that was measured so far."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows of equal length under their heads; the first cell names its row."""

    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A value and its interval. `x` is a place on the axis of a chart of curves."""

    x: float
    y: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """Points of one thing, in the order in which they are joined."""

    label: str
    points: tuple[Point, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Curves:
    """Values against a number."""

    title: str
    across: str
    up: str
    series: tuple[Series, ...]
    ticks: tuple[float, ...] = ()
    """Places that were measured, where they grow by factors: the axis is logarithmic then."""
    level: float | None = None
    """A dashed line to be reached."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Whiskers:
    """Values of named things, one below the other, each with its interval."""

    title: str
    across: str
    names: tuple[str, ...]
    points: tuple[Point, ...]
    level: float | None = None
    limits: tuple[float, float] | None = None
    """Ends of the axis; None fits it to the points."""


Chart = Curves | Whiskers


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotedReply:
    """One reply, for a person to read."""

    who: str
    text: str
    remark: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """What several models replied to one prompt."""

    prompt: str
    said: tuple[QuotedReply, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """All that the page says of one claim."""

    verdict: Verdict
    tables: tuple[Table, ...] = ()
    charts: tuple[Chart, ...] = ()
    examples: tuple[Example, ...] = ()
    notes: tuple[str, ...] = ()


class Claim(Protocol):
    """One claim of the guide: what has to be carried out to judge it, and what came of that."""

    name: str
    """For `--only`."""
    title: str
    says: str
    """What the guide says, in a sentence or two."""

    def recipes(self, scale: Scale) -> Sequence[Recipe]:
        """Without doubles; claims may share recipes."""
        ...

    def section(self, scale: Scale, found: Found) -> Section:
        """`found` holds all of `recipes`."""
        ...
