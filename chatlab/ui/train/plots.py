"""Line plots of a run, by Plotly: of the plots that Gradio shows as its own, these alone do without `eval`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from chatlab.measurements import Step
from chatlab.records import BEARABLE, GOOD

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

HEIGHT = 230
BLOCKS = "▁▂▃▄▅▆▇█"
INK, GRID = "#8a8f98", "rgba(138,143,152,0.22)"
BLUE, BROWN, GREEN = "#4a7fe5", "#c8772f", "#17988c"
"""Read on white and on black alike: a figure does not know the page's theme."""

Point = tuple[float, float]
T = TypeVar("T")


@dataclass(frozen=True)
class Line:
    """One line of a plot: (step, value) pairs."""

    points: Sequence[Point]
    colour: str
    label: str
    unit: str = ""
    dots: bool = True
    """Whether every point is marked."""


def loss_plot(steps: Sequence[Step], length: int) -> Figure:
    """Training and held-out loss, nats per token, against the step. `length` is the run's number of steps."""
    training = Line([(s.step, s.loss) for s in steps if s.step > 0], GREEN, "training", dots=False)
    held_out = Line([(s.step, s.held_out_loss) for s in steps if s.held_out_loss is not None], BLUE, "held out")
    return plot([training, held_out], length, "Loss")


def forgetting_plot(steps: Sequence[Step], length: int, final: float | None = None) -> Figure:
    """Per cent by which perplexity on some of the general text rose, against the step.

    `final` is what was measured at the end on more of that text; the dashed levels are its verdict's.
    """
    quick = Line([(s.step, s.forgetting) for s in steps if s.forgetting is not None], BROWN, "quick check", " %")
    whole = Line([(steps[-1].step, final)] if steps and final is not None else [], BLUE, "final", " %")
    return plot([quick, whole], length, "Forgetting, %", marks=(GOOD, BEARABLE), within=(0.0, 6.0))


def plot(
    lines: Sequence[Line], length: int, title: str, marks: Sequence[float] = (), within: Sequence[float] = ()
) -> Figure:
    """`marks` are dashed levels; the scale has room for everything in `within`."""
    from plotly.graph_objects import Figure  # half a second that the page does not wait for

    figure = Figure()
    for line in lines:
        _add(figure, line)
    for mark in marks:
        figure.add_hline(y=mark, line={"color": INK, "width": 1, "dash": "dash"})
    values = [y for line in lines for _, y in line.points if math.isfinite(y)]
    figure.update_xaxes(range=[0, max(1, length) * 1.02], title_text="step", **_axis())
    figure.update_yaxes(range=_range([*values, *within]), **_axis())
    figure.update_layout(
        title={"text": title, "font": {"size": 13}, "x": 0, "y": 0.98},
        height=HEIGHT,
        margin={"l": 44, "r": 10, "t": 34, "b": 38},
        dragmode=False,
        hovermode="x unified",
        font={"size": 12, "color": INK},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        legend={"orientation": "h", "x": 1, "xanchor": "right", "y": 1.02, "yanchor": "bottom"},
        showlegend=True,
        modebar={"remove": ["zoom", "pan", "select", "lasso", "zoomIn", "zoomOut", "autoScale", "resetScale"]},
    )
    return figure


def sparkline(values: Sequence[float]) -> str:
    """A line of block characters, for a list of runs."""
    known = [v for v in values if math.isfinite(v)]
    if len(known) < 2:
        return ""
    low, high = min(known), max(known)
    return "".join(BLOCKS[round((v - low) / ((high - low) or 1.0) * (len(BLOCKS) - 1))] for v in _thinned(known, 12))


def _add(figure: Figure, line: Line) -> None:
    known = _thinned([(x, y) for x, y in line.points if math.isfinite(y)], 300)
    if not known:
        return
    figure.add_scatter(
        x=[x for x, _ in known],
        y=[y for _, y in known],
        name=f"{line.label} {known[-1][1]:.2f}{line.unit}",
        mode="lines+markers" if line.dots else "lines",
        line={"color": line.colour, "width": 2},
        hovertemplate=f"{line.label} %{{y:.3f}}{line.unit}<extra></extra>",
    )


def _axis() -> dict[str, object]:
    return {"gridcolor": GRID, "zeroline": False, "fixedrange": True, "title_standoff": 6}


def _range(values: Sequence[float]) -> list[float]:
    low, high = min(values, default=0.0), max(values, default=1.0)
    spare = 0.08 * (high - low) or 0.5
    return [min(low, max(0.0, low - spare)) - 0.02 * (high - low), high + spare]


def _thinned(values: Sequence[T], most: int) -> list[T]:
    """First, last, and evenly between."""
    if len(values) <= most:
        return list(values)
    return [values[round(i * (len(values) - 1) / (most - 1))] for i in range(most)]
