"""Beside the editor: the demonstration as the loss mask paints it, and others like it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any

import gradio as gr
from markupsafe import Markup

from chatlab.errors import ChatlabError
from chatlab.lab import Lab
from chatlab.lab.data.demonstrations import Demonstrations
from chatlab.lab.data.quality import Quality
from chatlab.records import Demonstration, TrainSettings
from chatlab.template import Span
from chatlab.ui.demonstrations.quality import row
from chatlab.ui.html import NOTHING, counted, div, element, escaped, joined, span
from chatlab.ui.shell import Shell, error_text, html_block

Updates = dict[Any, Any]


class SimilarDemonstrations:
    """A button, and the list that it brings."""

    def __init__(self, quality: Quality, demonstrations: Demonstrations) -> None:
        self._quality = quality
        self._demonstrations = demonstrations

    def build(self) -> None:
        self.button = gr.Button("Find similar", size="sm", scale=0, min_width=110, visible=False, elem_id="similar")
        self.list = html_block(elem_classes="flat", elem_id="similar-list")

    @property
    def shown(self) -> set[Any]:
        return {self.button, self.list}

    def wire(self, shell: Shell, selected: Any) -> None:
        shell.on(self.button.click, do=self.find, inputs=[selected], outputs=self.shown)

    def reset(self, selected: int | None) -> Updates:
        """Another demonstration is open, or none."""
        return {self.button: gr.Button(visible=bool(selected)), self.list: ""}

    def find(self, selected: int | None) -> Updates:
        if not selected:
            return self.reset(None)
        found = self._quality.similar(int(selected))
        rows = (row(i, self._demonstrations.get(i), f"{100 * share:.0f} % overlap") for i, share in found)
        shown = (
            div("going", element("h4", escaped("Similar")), *rows)
            if found
            else div("", span("faint", "Nothing similar."))
        )
        return {self.button: gr.Button(), self.list: shown}


LEGEND = div(
    "mask-legend",
    span("mask-read", "context"),
    span("mask-learned", "trained on"),
    span("mask-cut", "cut off"),
)


def mask_of(lab: Lab, demonstration: Demonstration) -> Markup:
    """The demonstration as a run would train on it; or why it cannot be shown."""
    try:
        longest = min(TrainSettings().max_tokens, lab.machine.base.context)
        return mask_html(lab.demonstrations.token_spans(demonstration.messages, longest))
    except ChatlabError as error:
        return div("mask-note", span("mask-warning", error_text(error)))


def mask_html(spans: Sequence[Span]) -> Markup:
    """The text of a demonstration, coloured by what is trained on."""
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
