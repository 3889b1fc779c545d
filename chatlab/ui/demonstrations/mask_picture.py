"""The picture of what a demonstration teaches: grey is read, blue is learned, red would be cut off."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby

from markupsafe import Markup

from chatlab.template import Span
from chatlab.ui.html import NOTHING, counted, div, escaped, joined, span

LEGEND = div(
    "mask-legend",
    span("mask-read", "read"),
    span("mask-learned", "learned"),
    span("mask-cut", "cut off"),
)


def mask_picture(spans: Sequence[Span]) -> Markup:
    """One line of HTML for `gr.Markdown`."""
    if not spans:
        return div("mask-empty", escaped("Nothing to show yet."))
    sequences = [list(run) for _, run in groupby(spans, key=lambda s: s.sequence)]
    painted = (div("mask-text", _painted(sequence)) for sequence in sequences)
    return div("mask", LEGEND, *painted, div("mask-note", _note(spans)))


def _painted(sequence: Iterable[Span]) -> Markup:
    """Neighbours of one kind as one piece, so that a long demonstration stays quick to show."""
    runs = groupby(sequence, key=lambda s: s.kind)
    return joined(span(f"mask-{kind}", "".join(s.text for s in run)) for kind, run in runs)


def _note(spans: Sequence[Span]) -> Markup:
    cut = sum(len(s.text) for s in spans if s.kind == "cut")
    if cut:
        return span(
            "mask-warning", f"Too long: {counted(cut, 'character')} over the limit, so it is left out of training."
        )
    if not any(s.kind == "learned" and s.text for s in spans):
        return span("mask-warning", "No answer to train on.")
    return NOTHING
