"""Bring an adapter: one that was trained elsewhere, by its path or dropped on the page."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gradio as gr
from markupsafe import Markup

from chatlab.conversation import HOUSE
from chatlab.errors import AdapterError, InputError
from chatlab.lab import Lab
from chatlab.lab.runs.adapter_import import Brought
from chatlab.system.temporary import discard
from chatlab.ui.current_user import current_user
from chatlab.ui.html import div, element, escaped, joined, one_line, span
from chatlab.ui.shell import error_text, html_block

Updates = dict[Any, Any]

TAKES = "A PEFT folder, mlx-lm's folder, a zip of one, or a GGUF LoRA, made for the model that answers now."
DROP = "Or drop a zip, a GGUF, or adapter_config.json and adapter_model.safetensors together."
HOUSES_ONLY = "Only {name} can bring adapters; everybody can use them."


class BringAdapter:
    """Two ways in, a line that says what came of it, and one of the answers that were tried."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab

    def build(self) -> None:
        with gr.Accordion("Bring an adapter", open=False, elem_id="bring-adapter"):
            html_block(div("import-notes", span("", TAKES)), elem_classes="flat")
            with gr.Row(elem_classes="tight"):
                self.path = gr.Textbox(
                    label="Path on this machine",
                    placeholder="/home/me/lora",
                    max_lines=1,
                    min_width=180,
                    elem_id="bring-path",
                )
                self.bring = gr.Button("Bring", size="sm", scale=0, min_width=80, elem_id="bring-go")
            html_block(div("import-notes", span("", DROP)), elem_classes="flat")
            self.files = gr.File(
                label="Adapter files",
                show_label=False,
                file_count="multiple",
                file_types=[".zip", ".gguf", ".json", ".safetensors", ".bin"],
                height=120,
                elem_id="bring-drop",
            )
            self.told = html_block(elem_id="bring-told", elem_classes="flat")

    @property
    def shown(self) -> set[Any]:
        return {self.path, self.files, self.told}

    def from_path(self, path: str, request: gr.Request | None = None) -> tuple[str, Updates]:
        """Name of the adapter that lies at a path, once it is in the list, and what the page says."""
        self._check_house(request)
        if not path.strip():
            raise InputError("The path is empty.", "Write the path of an adapter's folder, or of a zip or GGUF.")
        try:
            brought = self._lab.adapter_import.bring([Path(path.strip())])
        except AdapterError as error:
            return "", {self.told: refused(error)}
        return brought.card.name, {self.path: "", self.told: told(brought)}

    def from_files(self, files: Sequence[str] | None, request: gr.Request | None = None) -> tuple[str, Updates]:
        """The same for files that were dropped; their copies are thrown away."""
        self._check_house(request)
        copies = [Path(file) for file in files or ()]
        if not copies:
            return "", {}
        try:
            brought = self._lab.adapter_import.bring(copies)
        except AdapterError as error:
            return "", {self.files: gr.File(value=None), self.told: refused(error)}
        finally:
            for copy in copies:
                with contextlib.suppress(OSError):
                    discard(copy)
        return brought.card.name, {self.files: gr.File(value=None), self.told: told(brought)}

    def _check_house(self, request: gr.Request | None) -> None:
        """Raises InputError for all but the first person: a path is one of this machine, the list is everybody's."""
        auth = self._lab.settings.auth
        if current_user(request, auth) != HOUSE:
            raise InputError(HOUSES_ONLY.format(name=auth[0][0] if auth else "the owner"), "Ask them to bring it.")


def refused(error: AdapterError) -> Markup:
    """Why it was not taken, which stays in place of what was said of the one before: how to convert is long to read."""
    return div("brought", div("warning", span("", error_text(error))))


def told(brought: Brought) -> Markup:
    """What it is called now, that it was loaded and speaks, and one answer beside the base's."""
    card = brought.card
    origin = span("faint", f"From {card.origin}. Nothing is known of its training.")
    proof = f"Loaded, sha256 {card.sha256[:16]}. "
    if not brought.changed:
        words = f"{proof}It answers all {brought.tried} prompts that were tried word for word as the base does."
        return div("brought", div("warning", span("", f"{card.name} is in the list. {words}")), origin)
    words = f"{proof}{brought.changed} of {brought.tried} answers differ from the base's."
    rows = (("Prompt", brought.prompt), ("Base", brought.base_answer), (card.name, brought.answer))
    table = element("table", joined(_row(label, text) for label, text in rows))
    return div("brought", div("good", escaped(f"{card.name} is in the list. {words}")), origin, div("samples", table))


def _row(label: str, text: str) -> Markup:
    return element(
        "tr", element("td", span("faint", label)) + element("td", span("", one_line(text, 200) or "(nothing)"))
    )
