"""Export: an adapter as a file that other programs load."""

from __future__ import annotations

from typing import Any

import gradio as gr
from markupsafe import Markup

from chatlab.lab import Lab
from chatlab.lab.runs.exports import KINDS
from chatlab.records import BASE
from chatlab.system.temporary import discard, new_folder
from chatlab.ui.html import div, span
from chatlab.ui.shell import Shell, html_block

Updates = dict[Any, Any]


class AdapterExport:
    """The file is created on request, and removed once the page has its own copy."""

    def __init__(self, lab: Lab) -> None:
        self._exports = lab.exports

    def build(self) -> None:
        with gr.Accordion("Export", open=False, visible=False, elem_id="adapter-export") as self.fold:
            self.kind = gr.Dropdown([(k.title, k.name) for k in KINDS], value=KINDS[0].name, label="Format")
            self.about = html_block(_about(KINDS[0].name), elem_classes="flat")
            self.strength = gr.Slider(0.0, 2.0, 1.0, step=0.05, label="Strength when merged", visible=False)
            with gr.Row(elem_classes="tight"):
                self.make = gr.Button("Create file", variant="primary", size="sm", scale=0, min_width=120)
                self.download = gr.DownloadButton(
                    "Download", size="sm", scale=0, min_width=120, visible=False, elem_id="adapter-download"
                )
        self.made = gr.State("", delete_callback=discard)

    @property
    def of_variant(self) -> set[Any]:
        """The components that depend on the chosen adapter."""
        return {self.fold, self.download}

    def wire(self, shell: Shell, variant: gr.Radio) -> None:
        shell.on(
            self.kind.input, do=self.chosen, inputs=[self.kind], outputs=[self.about, self.strength, self.download]
        )
        made = shell.on(
            self.make.click,
            do=self.written,
            inputs=[variant, self.kind, self.strength],
            outputs=[self.download, self.made, self.about],
            trigger_mode="once",
            show_progress="minimal",
        )
        shell.on(made.then, do=self.swept, inputs=[self.made], outputs=[self.made])

    def picked(self, variant: str | None) -> Updates:
        """Another adapter is chosen: hide the file of the one before."""
        wanted = variant is not None and variant != BASE
        return {self.fold: gr.Accordion(visible=wanted), self.download: gr.DownloadButton(visible=False)}

    def chosen(self, kind: str) -> Updates:
        whole = next(k.whole for k in KINDS if k.name == kind)
        return {
            self.about: _about(kind),
            self.strength: gr.Slider(visible=whole),
            self.download: gr.DownloadButton(visible=False),
        }

    def written(self, variant: str | None, kind: str, strength: float) -> Updates:
        with new_folder() as folder:
            made = self._exports.make(variant or BASE, kind, folder, strength)
        label = f"Download {made.name} ({made.stat().st_size / 2**20:.1f} MB)"
        return {
            self.download: gr.DownloadButton(label, value=str(made), visible=True),
            self.made: str(made),
            self.about: _about(kind, self._exports.remark(kind)),
        }

    def swept(self, made: str) -> Updates:
        discard(made)
        return {self.made: ""}


def _about(kind: str, remark: str = "") -> Markup:
    told = div("import-notes", span("", next(k.about for k in KINDS if k.name == kind) + "."))
    return told + div("warning", span("", remark)) if remark else told
