"""Giving a chat template to a model that has none: from a list of those that fit its vocabulary, or by hand."""

from __future__ import annotations

from typing import Any

import gradio as gr

from chatlab.errors import ChatlabError, InputError
from chatlab.lab import Lab
from chatlab.models.library.entry import ModelEntry
from chatlab.ui.html import div, one_line, span
from chatlab.ui.shell import html_block

Updates = dict[Any, Any]

OWN = "By hand"
ABOUT = (
    "It says how a conversation is written for the model, and belongs to this model alone. Training then teaches the "
    "model to answer in it. Adapters made with another template do not fit any more."
)


class TemplateForm:
    """Shown for one model at a time."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab

    def build(self) -> None:
        with gr.Column(visible=False, elem_id="models-template") as self.form:
            self.head = html_block(elem_classes="flat")
            self.format = gr.Radio([], label="Chat template", elem_id="models-format")
            self.source = gr.Textbox(
                label="Jinja", lines=6, max_lines=14, elem_id="models-jinja", info="As transformers reads it."
            )
            with gr.Row(elem_classes="tight"):
                self.give = gr.Button("Use this template", variant="primary", size="sm", scale=0, min_width=150)
                self.cancel = gr.Button("Cancel", size="sm", scale=0, min_width=90)
        self.model = gr.State("")

    @property
    def shown(self) -> set[Any]:
        return {self.form, self.head, self.format, self.source, self.model}

    def opened(self, entry: ModelEntry) -> Updates:
        """With the templates whose turn marks this model's vocabulary has. Raises what reading the model raises."""
        offered = self._lab.templates.offered(entry.path)
        kept = self._lab.templates.of(entry.path)
        name = next((one.name for one in offered if one.source == kept), OWN) if kept else offered[0].name
        words = f"A chat template for {one_line(entry.title or entry.name, 60)}"
        return {
            self.form: gr.Column(visible=True),
            self.head: div("template-head", span("template-name", words), span("", ABOUT)),
            self.format: gr.Radio([one.name for one in offered] + [OWN], value=name),
            self.source: kept or offered[0].source,
            self.model: entry.id,
        }

    def closed(self) -> Updates:
        return {self.form: gr.Column(visible=False), self.model: ""}

    def chosen(self, name: str | None, entry: ModelEntry) -> Updates:
        """The text of a template from the list; one by hand begins with what is there."""
        found = next((one for one in self._lab.templates.offered(entry.path) if one.name == name), None)
        return {self.source: found.source} if found else {}

    def given(self, entry: ModelEntry, source: str) -> None:
        """Keep the template and have the model answer with it. One that it cannot be opened with is forgotten again."""
        before = self._lab.templates.of(entry.path)
        if not source.strip():
            raise InputError("The chat template is empty.", "Choose one from the list, or write one.")
        self._lab.templates.give(entry.path, source)
        try:
            self._lab.switch.use(entry.path)
        except ChatlabError:
            if before:
                self._lab.templates.give(entry.path, before)
            else:
                self._lab.templates.take_back(entry.path)
            raise
