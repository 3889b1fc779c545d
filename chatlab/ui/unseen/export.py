"""The grid as a file to download."""

from __future__ import annotations

from typing import Any

import gradio as gr

from chatlab.clock import now
from chatlab.errors import DiskFull
from chatlab.lab.compare.grid_files import written
from chatlab.lab.compare.grid_view import GridView
from chatlab.system.temporary import discard, new_folder

FORMS = (("Markdown", "md"), ("CSV", "csv"), ("JSON lines", "jsonl"))

Updates = dict[Any, Any]


class UnseenExport:
    """The file is made when it is asked for, and the copy that was made is removed once the page has it."""

    def build(self) -> None:
        with gr.Accordion("Export", open=False, elem_id="unseen-out"):
            self.form = gr.Radio(
                list(FORMS), value="md", label="File", show_label=False, container=False, elem_classes="segments"
            )
            with gr.Row(elem_classes="tight"):
                self.make = gr.Button(
                    "Create file", variant="primary", size="sm", scale=0, min_width=120, elem_id="unseen-export"
                )
                self.download = gr.DownloadButton(
                    "Download", size="sm", scale=0, min_width=120, visible=False, elem_id="unseen-download"
                )
        self.made = gr.State("", delete_callback=discard)

    @property
    def shown(self) -> set[Any]:
        return {self.download, self.made}

    def write(self, sheet: GridView, form: str) -> Updates:
        """Raises InputError where nothing has been said, DiskFull."""
        data = written(sheet, form)
        try:
            with new_folder() as folder:
                path = folder / f"unseen-{now()[:10]}.{form}"
                path.write_bytes(data)
        except OSError as error:
            raise DiskFull(f"The file could not be made: {error.strerror}.", "Make space on the disk.") from error
        return {
            self.download: gr.DownloadButton(f"Download {path.name}", value=str(path), visible=True),
            self.made: str(path),
        }

    def swept(self, made: str) -> Updates:
        """The page has its own copy by now."""
        discard(made)
        return {self.made: ""}
