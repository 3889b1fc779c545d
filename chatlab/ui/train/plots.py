"""Small line plots as SVG. Drawn here because the plots that come with Gradio need `eval`, which the page forbids."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from chatlab.records import BEARABLE, GOOD, Step
from chatlab.ui.markup import escaped

WIDTH, HEIGHT = 560, 190
LEFT, RIGHT, TOP, BOTTOM = 44, 10, 12, 24
BLOCKS = "▁▂▃▄▅▆▇█"

Point = tuple[float, float]
T = TypeVar("T")


@dataclass(frozen=True)
class Line:
    """One line of a plot: (step, value) pairs, and the CSS class that colours it."""

    points: Sequence[Point]
    kind: str
    label: str
    unit: str = ""


def loss_plot(steps: Sequence[Step], length: int) -> str:
    """Training and held-out loss, nats a token, against the step. `length` is the run's number of steps."""
    training = Line([(s.step, s.loss) for s in steps if s.step > 0], "line-training", "training")
    held_out = Line(
        [(s.step, s.held_out_loss) for s in steps if s.held_out_loss is not None], "line-held-out", "held out"
    )
    return plot([training, held_out], length, "Loss")


def forgetting_plot(steps: Sequence[Step], length: int, final: float | None = None) -> str:
    """Per cent by which perplexity on some of the general text rose, against the step.

    `final` is what was measured at the end on all of that text; the dashed levels are its verdict's.
    """
    quick = Line(
        [(s.step, s.forgetting) for s in steps if s.forgetting is not None], "line-forgetting", "quick check", " %"
    )
    whole = Line(
        [(steps[-1].step, final)] if steps and final is not None else [], "line-final", "on all of the text", " %"
    )
    return plot([quick, whole], length, "Forgetting, %", marks=(GOOD, BEARABLE), within=(0.0, 6.0))


def plot(
    lines: Sequence[Line], length: int, title: str, marks: Sequence[float] = (), within: Sequence[float] = ()
) -> str:
    """`marks` are dashed levels; the scale has room for everything in `within`."""
    drawn = [line for line in lines if line.points]
    values = [y for line in drawn for _, y in line.points if math.isfinite(y)]
    scale = _Scale.around([*values, *within], max(1, length))
    body = "".join(_level(scale, y) for y in scale.ticks()) + "".join(_mark(scale, y) for y in marks)
    body += "".join(_line(scale, line) for line in drawn)
    heading = f'<div class="plot-head"><span class="plot-title">{escaped(title)}</span>{_legend(drawn)}</div>'
    return (
        f'<div class="plot">{heading}<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img"'
        f' aria-label="{escaped(_said(title, drawn))}">'
        f"{body}{_axis(scale)}</svg></div>"
    )


def sparkline(values: Sequence[float]) -> str:
    """A line of block characters, for a list of runs."""
    known = [v for v in values if math.isfinite(v)]
    if len(known) < 2:
        return ""
    low, high = min(known), max(known)
    return "".join(BLOCKS[round((v - low) / ((high - low) or 1.0) * (len(BLOCKS) - 1))] for v in _thinned(known, 12))


def _thinned(values: Sequence[T], most: int) -> list[T]:
    """First, last, and evenly between."""
    if len(values) <= most:
        return list(values)
    return [values[round(i * (len(values) - 1) / (most - 1))] for i in range(most)]


@dataclass(frozen=True)
class _Scale:
    """From steps and values to the picture's own units."""

    low: float
    high: float
    length: int

    @classmethod
    def around(cls, values: Sequence[float], length: int) -> _Scale:
        low, high = min(values, default=0.0), max(values, default=1.0)
        spare = 0.08 * (high - low) or 0.5
        return cls(min(low, max(0.0, low - spare)), high + spare, length)

    def x(self, step: float) -> float:
        return round(LEFT + (WIDTH - LEFT - RIGHT) * step / self.length, 1)

    def y(self, value: float) -> float:
        return round(TOP + (HEIGHT - TOP - BOTTOM) * (self.high - value) / (self.high - self.low), 1)

    def ticks(self) -> list[float]:
        """About four round levels."""
        rough = (self.high - self.low) / 4
        power = 10 ** math.floor(math.log10(rough))
        pace = next(p * power for p in (1, 2, 5, 10) if p * power >= rough)
        first = math.ceil(self.low / pace)
        return [round(i * pace, 10) for i in range(first, math.floor(self.high / pace) + 1)]


def _line(scale: _Scale, line: Line) -> str:
    known = [(x, y) for x, y in line.points if math.isfinite(y)]
    points = [(scale.x(x), scale.y(y)) for x, y in _thinned(known, 300)]
    if not points:
        return ""
    path = " ".join(f"{x},{y}" for x, y in points)
    dots = points if len(points) <= 24 else points[-1:]
    marks = "".join(f'<circle cx="{x}" cy="{y}" r="3" class="{line.kind}"/>' for x, y in dots)
    return f'<polyline points="{path}" class="{line.kind}"/>{marks}'


def _level(scale: _Scale, value: float) -> str:
    y = scale.y(value)
    return (
        f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}" class="plot-level"/>'
        f'<text x="{LEFT - 6}" y="{y + 4}" text-anchor="end">{value:g}</text>'
    )


def _mark(scale: _Scale, value: float) -> str:
    y = scale.y(value)
    return f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}" class="plot-mark"/>'


def _axis(scale: _Scale) -> str:
    y = HEIGHT - 6
    return (
        f'<text x="{LEFT}" y="{y}">0</text>'
        f'<text x="{WIDTH - RIGHT}" y="{y}" text-anchor="end">step {scale.length}</text>'
    )


def _legend(lines: Sequence[Line]) -> str:
    return "".join(
        f'<span class="plot-key {line.kind}">{escaped(f"{line.label} {line.points[-1][1]:.2f}{line.unit}")}</span>'
        for line in lines
    )


def _said(title: str, lines: Sequence[Line]) -> str:
    """The picture in words, for those who cannot see it."""
    ends = [f"{line.label} from {line.points[0][1]:.2f} to {line.points[-1][1]:.2f}" for line in lines]
    return f"{title}: {', '.join(ends) if ends else 'nothing measured yet'}"
