"""Find similar: what else is like the demonstration on the desk."""

from __future__ import annotations

from typing import Any

import gradio as gr

from chatlab.lab.data.demonstrations import Demonstrations
from chatlab.lab.data.quality import Quality
from chatlab.ui.demonstrations.quality import row
from chatlab.ui.html import div, element, escaped, span
from chatlab.ui.shell import Shell, drawing

Updates = dict[Any, Any]


class SimilarDemonstrations:
    """A button, and the list that it brings."""

    def __init__(self, quality: Quality, demonstrations: Demonstrations) -> None:
        self._quality = quality
        self._demonstrations = demonstrations

    def build(self) -> None:
        self.button = gr.Button("Find similar", size="sm", scale=0, min_width=110, visible=False, elem_id="similar")
        self.list = drawing(elem_classes="flat", elem_id="similar-list")

    @property
    def shown(self) -> set[Any]:
        return {self.button, self.list}

    def wire(self, shell: Shell, selected: Any) -> None:
        shell.on(self.button.click, do=self.find, inputs=[selected], outputs=self.shown)

    def reset(self, selected: int | None) -> Updates:
        """Another one is on the desk, or none."""
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
