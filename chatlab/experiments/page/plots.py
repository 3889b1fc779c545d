"""Charts as SVG inside the page, drawn by matplotlib, in the page's own colours, so that they follow light and dark."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from chatlab.errors import InputError
from chatlab.experiments.section import Chart, Curves, Series, Whiskers

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, FAINT = "#010101", "#020202"
SERIES = ("#030301", "#030302", "#030303", "#030304", "#030305", "#030306", "#030307")
"""Stand for the page's variables: no chart has such colours of its own."""
MARKS = "osD^v"
WIDE, HIGH = 4.6, 2.9
"""Inches at 72 points: text stays readable where the page is 390 pixels wide."""


def check() -> None:
    """Raises InputError where the plotting library is not installed."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise InputError(
            "The report's plots are drawn by matplotlib, which is not installed.",
            "Install it: python -m pip install 'matplotlib>=3.9,<4' (or chatlab[report]), then ask again.",
        ) from error


def drawn(chart: Chart) -> str:
    """One <svg> element, with a title for those who cannot see it."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(_style(chart.title)):
        high = _height(chart)
        figure = Figure(figsize=(WIDE, high), layout="constrained")
        axes = figure.subplots()
        axes.spines[["top", "right"]].set_visible(False)
        if isinstance(chart, Curves):
            _curves(axes, chart)
        else:
            _whiskers(axes, chart)
        return _page_colours(_svg(figure), chart.title)


def _height(chart: Chart) -> float:
    """Inches."""
    if isinstance(chart, Whiskers):
        return 0.9 + 0.32 * len(chart.names)
    return HIGH + (0.1 * len(chart.series) if len(chart.series) > 3 else 0.0)


def _curves(axes: Axes, chart: Curves) -> None:
    for number, series in enumerate(chart.series):
        colour, mark = SERIES[number % len(SERIES)], MARKS[number % len(MARKS)]
        xs, ys, reach = _lists(series)
        axes.errorbar(
            xs,
            ys,
            yerr=reach,
            color=colour,
            marker=mark,
            markersize=4,
            linewidth=1.4,
            elinewidth=0.8,
            capsize=2,
            label=series.label,
        )
    if chart.ticks:
        axes.set_xscale("log")
        axes.set_xticks(chart.ticks, labels=[f"{tick:g}" for tick in chart.ticks])
        axes.minorticks_off()
    if chart.level is not None:
        axes.axhline(chart.level, color=FAINT, linewidth=0.8, linestyle="--")
    axes.set(xlabel=chart.across, ylabel=chart.up)
    axes.grid(color=FAINT, alpha=0.25, linewidth=0.6)
    if len(chart.series) > 3:
        axes.figure.legend(frameon=False, fontsize=7.5, ncols=2, loc="outside lower left")
    else:
        axes.legend(frameon=False, fontsize=8)


def _whiskers(axes: Axes, chart: Whiskers) -> None:
    places = range(len(chart.points), 0, -1)
    for place, point, number in zip(places, chart.points, range(len(chart.points)), strict=True):
        reach = [[max(0.0, point.y - point.low)], [max(0.0, point.high - point.y)]]
        axes.errorbar(
            [point.y],
            [place],
            xerr=reach,
            fmt="o",
            markersize=4.5,
            capsize=2.5,
            elinewidth=1.2,
            color=SERIES[number % len(SERIES)],
        )
    axes.set_yticks(places, labels=[_folded(name) for name in chart.names])
    axes.set_ylim(0.4, len(chart.points) + 0.6)
    if chart.limits is not None:
        low, high = chart.limits
        axes.set_xlim(low - 2, high + 2)
    elif all(point.y > 0 for point in chart.points) and "logarithmic" in chart.across:
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(_plain)
    if chart.level is not None:
        axes.axvline(chart.level, color=FAINT, linewidth=0.8, linestyle="--")
    axes.set_xlabel(chart.across)
    axes.grid(axis="x", color=FAINT, alpha=0.25, linewidth=0.6)


def _plain(value: float, _: Any) -> str:
    return f"{value:g}"


def _folded(name: str) -> str:
    """At most about twenty characters a line."""
    lines = [""]
    for word in name.split():
        if len(lines[-1]) + len(word) > 20 and lines[-1]:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return "\n".join(lines)


def _lists(series: Series) -> tuple[list[float], list[float], list[list[float]]]:
    known = [point for point in series.points if math.isfinite(point.y)]
    reach = [[max(0.0, p.y - p.low) for p in known], [max(0.0, p.high - p.y) for p in known]]
    return [p.x for p in known], [p.y for p in known], reach


def _style(title: str) -> Any:
    return {
        "svg.fonttype": "none",
        "svg.hashsalt": title,
        "font.size": 9,
        "font.family": "sans-serif",
        "text.color": INK,
        "axes.labelcolor": INK,
        "axes.edgecolor": FAINT,
        "xtick.color": INK,
        "ytick.color": INK,
        "axes.facecolor": "none",
        "figure.facecolor": "none",
        "savefig.facecolor": "none",
    }


def _svg(figure: Figure) -> str:
    out = io.StringIO()
    figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    text = out.getvalue()
    return text[text.index("<svg") :]


def _page_colours(svg: str, title: str) -> str:
    names = {INK: "--ink", FAINT: "--faint", **{colour: f"--series-{n}" for n, colour in enumerate(SERIES, 1)}}
    for colour, name in names.items():
        svg = svg.replace(colour, f"var({name})")
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(<svg[^>]*?) (?:width|height)="[^"]*"', r"\1", svg)
    svg = re.sub(r'(<svg[^>]*?) (?:width|height)="[^"]*"', r"\1", svg)
    return svg.replace("<svg", f'<svg role="img" aria-label="{_attribute(title)}"', 1)


def _attribute(text: str) -> str:
    return re.sub(r"[&<>\"']", "", text)


def sequence(charts: Sequence[Chart]) -> list[tuple[str, str]]:
    """Title and picture of each."""
    return [(chart.title, drawn(chart)) for chart in charts]
