"""The results of the votes so far, and the export of votes and preferences."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr

from chatlab.lab import Lab
from chatlab.lab.data.datasets import ExportFilter
from chatlab.system.temporary import discard, new_folder
from chatlab.ui.compare.results import results
from chatlab.ui.shell import Shell, html_block

Updates = dict[Any, Any]


class VotesPanel:
    """Files are created on request, and removed once the page has its copy."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab

    def build(self) -> None:
        gr.Markdown("#### Votes so far")
        self.results = html_block(elem_id="vote-results")
        with gr.Row(elem_classes="tight"):
            self.votes = gr.Button("Export votes", size="sm", scale=0, min_width=120, elem_id="export-votes")
            self.preferences = gr.Button("Export preferences", size="sm", scale=0, min_width=150)
            self.file = gr.DownloadButton(
                "Download", size="sm", scale=0, min_width=120, visible=False, elem_id="votes-file"
            )
        self.made = gr.State("", delete_callback=discard)

    def wire(self, shell: Shell) -> None:
        for button, make in ((self.votes, self.exported_votes), (self.preferences, self.exported_preferences)):
            made = shell.on(button.click, do=make, outputs=[self.file, self.made], trigger_mode="once")
            shell.on(made.then, do=self.swept, inputs=[self.made], outputs=[self.made])

    # What the events do.

    def draw(self) -> Updates:
        return {self.results: results(self._lab.votes.results())}

    def exported_votes(self) -> Updates:
        return self._offered(self._lab.votes.export)

    def exported_preferences(self) -> Updates:
        """All of them, those from edits as well: each says where it came from."""
        datasets = self._lab.datasets
        return self._offered(lambda folder: datasets.export("dpo", ExportFilter(what="preferences"), folder).path)

    def swept(self, made: str) -> Updates:
        """Remove the file: the page has its own copy by now."""
        discard(made)
        return {self.made: ""}

    def _offered(self, make: Callable[[Path], Path]) -> Updates:
        with new_folder() as folder:
            path = make(folder)
        return {
            self.file: gr.DownloadButton(f"Download {path.name}", value=str(path), visible=True),
            self.made: str(path),
        }
