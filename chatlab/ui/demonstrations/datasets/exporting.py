"""Export of demonstrations or preferences as a file to download."""

from __future__ import annotations

from typing import Any, Literal, cast

import gradio as gr
from markupsafe import Markup

from chatlab.formats import FORMATS, WriteResult, format_of
from chatlab.lab import Lab
from chatlab.lab.data.datasets import ExportFilter
from chatlab.system.temporary import discard, new_folder
from chatlab.ui.html import counted, div, joined, span
from chatlab.ui.shell import Shell, html_block

ANY = ""
Updates = dict[Any, Any]


class DemonstrationExport:
    """The file is created on request, and removed once the page has its own copy."""

    def __init__(self, lab: Lab) -> None:
        self._exchange = lab.datasets
        self._demonstrations = lab.demonstrations

    def build(self) -> None:
        with gr.Accordion("Export", open=False, elem_id="export") as self.fold:
            with gr.Row(elem_classes="mapping"):
                self.what = gr.Dropdown(
                    [("Demonstrations", "demonstrations"), ("Preferences", "preferences")],
                    value="demonstrations",
                    label="What",
                    min_width=160,
                )
                self.status = gr.Dropdown(
                    [("Any status", ANY), ("Approved", "approved"), ("Waiting", "waiting"), ("Discarded", "discarded")],
                    value="approved",
                    label="Status",
                    min_width=140,
                )
                self.tag = gr.Dropdown([("Any tag", ANY)], value=ANY, label="Tag", min_width=140)
                self.text = gr.Textbox(label="Search", max_lines=1, min_width=160)
                self.format = gr.Dropdown(_formats("demonstrations"), value="openai", label="Format", min_width=180)
            self.about = html_block(_about("openai"), elem_classes="flat")
            self.own = gr.Checkbox(True, label="Include tags, status, source, dates and names", container=False)
            with gr.Row(elem_classes="tight"):
                self.make = gr.Button("Create file", variant="primary", size="sm", scale=0, min_width=120)
                self.download = gr.DownloadButton(
                    "Download", size="sm", scale=0, min_width=120, visible=False, elem_id="export-download"
                )
            self.message = html_block(elem_classes="flat", elem_id="export-said")
        self.made = gr.State("", delete_callback=discard)

    def wire(self, shell: Shell) -> None:
        shown = [self.status, self.tag, self.format, self.about]
        shell.on(self.fold.expand, do=self.opened, inputs=[self.tag], outputs=[self.tag])
        shell.on(self.what.input, do=self.chosen, inputs=[self.what], outputs=shown)
        shell.on(self.format.input, do=_about, inputs=[self.format], outputs=[self.about])
        asked = [self.what, self.status, self.tag, self.text, self.format, self.own]
        made = shell.on(
            self.make.click,
            do=self.written,
            inputs=asked,
            outputs=[self.download, self.message, self.made],
            trigger_mode="once",
        )
        shell.on(made.then, do=self.swept, inputs=[self.made], outputs=[self.made])

    # What the events do.

    def opened(self, tag: str) -> Updates:
        tags = self._demonstrations.tags()
        choices = [("Any tag", ANY), *((name, name) for name in tags)]
        return {self.tag: gr.Dropdown(choices=choices, value=tag if tag in tags else ANY)}

    def chosen(self, what: str) -> Updates:
        """Preferences have no status and no tags, and formats of their own."""
        formats = _formats(what)
        first = formats[0][1]
        ours = what == "demonstrations"
        return {
            self.status: gr.Dropdown(visible=ours),
            self.tag: gr.Dropdown(visible=ours),
            self.format: gr.Dropdown(choices=formats, value=first),
            self.about: _about(first),
        }

    def written(self, what: str, status: str, tag: str, text: str, format: str, own: bool) -> Updates:
        which = ExportFilter(
            what=cast(Literal["demonstrations", "preferences"], what), text=text, tag=tag, status=status
        )
        with new_folder() as folder:
            written = self._exchange.export(format, which, folder, own)
        size = _size(written.path.stat().st_size)
        return {
            self.download: gr.DownloadButton(
                f"Download {written.path.name} ({size})", value=str(written.path), visible=True
            ),
            self.message: _told(written),
            self.made: str(written.path),
        }

    def swept(self, made: str) -> Updates:
        """Remove the file: the page has its own copy by now."""
        discard(made)
        return {self.made: ""}


def _formats(what: str) -> list[tuple[str, str]]:
    return [(f.label, f.name) for f in FORMATS if (f.demonstrations if what == "demonstrations" else f.preferences)]


def _about(format: str) -> Markup:
    return div("import-notes", span("", format_of(format).about))


def _told(written: WriteResult) -> Markup:
    """How many went into the file, and how many had no place in it and why."""
    left = [f"{n:,} left out: {why}" for why, n in written.left_out.items()]
    if n := written.dropped_reasoning:
        how = "is not supported by this format and was" if n == 1 else "are not supported by this format and were"
        left.append(f"{counted(n, 'thought')} {how} left out; OpenAI messages supports them.")
    notes = joined(div("import-notes", span("mask-warning", note)) for note in left)
    return div("import-said", span("", f"{counted(written.records, 'record')} in the file.")) + notes


def _size(size: int) -> str:
    return f"{size / 2**20:.1f} MB" if size >= 2**20 else f"{max(1, size // 1024):,} KB"
