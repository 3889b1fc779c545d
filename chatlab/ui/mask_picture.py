"""The picture of what a demonstration teaches: grey is read, blue is learned, red would be cut off."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby

from chatlab.template import Span
from chatlab.ui.markup import counted, div, span

LEGEND = div(
    "mask-legend",
    span("mask-read", "read"),
    span("mask-learned", "learned"),
    span("mask-cut", "cut off"),
)


def mask_picture(spans: Sequence[Span]) -> str:
    """One line of HTML for `gr.Markdown`."""
    if not spans:
        return div("mask-empty", "Nothing to show yet.")
    painted = "".join(span(f"mask-{kind}", text) for kind, text in _merged(spans))
    return div("mask", LEGEND, div("mask-text", painted), div("mask-note", _note(spans)))


def _merged(spans: Iterable[Span]) -> list[tuple[str, str]]:
    """Neighbours of one kind as one piece, so that a long demonstration stays quick to show."""
    return [(kind, "".join(s.text for s in run)) for kind, run in groupby(spans, key=lambda s: s.kind)]


def _note(spans: Sequence[Span]) -> str:
    cut = sum(len(s.text) for s in spans if s.kind == "cut")
    if cut:
        return span("mask-warning", f"Too long: {counted(cut, 'character')} would be cut off, so it is left out.")
    if not any(s.kind == "learned" and s.text for s in spans):
        return span("mask-warning", "Nothing blue: there is no answer to learn here.")
    return ""
