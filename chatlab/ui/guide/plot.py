"""Tokens per answer over time, one line per adapter, by Plotly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from chatlab.lab.guide.answer_length import Average
from chatlab.ui.train.plots import BLUE, BROWN, GREEN, GRID, HEIGHT, INK

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

MOST = 5
"""Adapters in the plot: those that answered last."""
AIR = timedelta(hours=1)
"""Margin on both sides: around a lone point plotly would show milliseconds."""
COLOURS = (BLUE, BROWN, GREEN, "#9a6bd6", INK)


def averages_plot(lines: Mapping[str, Sequence[Average]]) -> Figure:
    """Each point is the mean of an hour, a day or a week; the adapters that answered last are plotted."""
    from plotly.graph_objects import Figure  # half a second that the page does not wait for

    figure = Figure()
    newest = sorted(lines, key=lambda name: lines[name][-1].at)[-MOST:]
    for name, colour in zip(reversed(newest), COLOURS, strict=False):
        line = lines[name]
        figure.add_scatter(
            x=[datetime.fromisoformat(one.at) for one in line],
            y=[one.mean for one in line],
            name=_plain(name),
            mode="lines+markers",
            line={"color": colour, "width": 2},
            customdata=[one.count for one in line],
            hovertemplate=f"{_plain(name)}: %{{y:.0f}} tokens, %{{customdata}} answers<extra></extra>",
        )
    ends = [datetime.fromisoformat(one.at) for name in newest for one in lines[name]]
    width = [min(ends) - AIR, max(ends) + AIR] if ends else None
    figure.update_xaxes(gridcolor=GRID, zeroline=False, fixedrange=True, nticks=4, tickangle=0, range=width)
    figure.update_yaxes(gridcolor=GRID, zeroline=False, fixedrange=True, rangemode="tozero", title_text="tokens")
    figure.update_layout(
        height=HEIGHT,
        margin={"l": 48, "r": 10, "t": 34, "b": 30},
        dragmode=False,
        hovermode="closest",
        font={"size": 12, "color": INK},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        legend={"orientation": "h", "x": 0, "xanchor": "left", "y": 1.02, "yanchor": "bottom"},
        showlegend=True,
        modebar={"remove": ["zoom", "pan", "select", "lasso", "zoomIn", "zoomOut", "autoScale", "resetScale"]},
    )
    return figure


def _plain(name: str) -> str:
    """Plotly takes some of HTML for its own."""
    return name.replace("&", "&amp;").replace("<", "&lt;").replace("%{", "% {")
