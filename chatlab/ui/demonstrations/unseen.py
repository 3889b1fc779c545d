"""The question that is asked before a demonstration that repeats an unseen prompt is trained on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gradio as gr

from chatlab.errors import UnseenRepeated
from chatlab.lab.data.demonstrations import Demonstrations
from chatlab.ui.html import div, span
from chatlab.ui.notices import added
from chatlab.ui.shell import html_block, warn

Updates = dict[Any, Any]


class UnseenQuestion:
    """A line and two buttons above the editor. Until one is pressed nothing is changed."""

    def __init__(self, demonstrations: Demonstrations) -> None:
        self._demonstrations = demonstrations

    def build(self) -> None:
        with gr.Row(elem_classes="tight", visible=False, elem_id="desk-unseen") as self.row:
            self.message = html_block(elem_classes="flat desk-title")
            self.release = gr.Button(
                "Train on it, drop the unseen prompt", size="sm", variant="primary", scale=0, min_width=250
            )
            self.leave = gr.Button("Do not train on it", size="sm", scale=0, min_width=120)
        self.about = gr.State("")
        """What would be done: `save` or `approve`."""

    @property
    def shown(self) -> set[Any]:
        return {self.row, self.message, self.about}

    def ask(self, error: UnseenRepeated, about: str) -> Updates:
        text = div("import-said", span("mask-warning", str(error)))
        return {self.row: gr.Row(visible=True), self.message: text, self.about: about}

    def quiet(self) -> Updates:
        return {self.row: gr.Row(visible=False), self.about: ""}

    def tell(self, ids: Sequence[int]) -> None:
        """Say how many demonstrations of a pack wait for a decision."""
        waiting = sum(self._demonstrations.get(one).status == "waiting" for one in ids)
        if waiting:
            warn(f"{added(len(ids), waiting)} Approve one to drop its prompt from the unseen prompts.")
