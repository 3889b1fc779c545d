"""The Knowledge tab: add documents, list them, and try a search."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr
from markupsafe import Markup

from chatlab.conversation import HOUSE
from chatlab.errors import InputError
from chatlab.lab import Lab
from chatlab.ui.current_user import current_user
from chatlab.ui.html import counted, div, span
from chatlab.ui.knowledge import render
from chatlab.ui.page_event import PageEvent
from chatlab.ui.shell import Bridge, Shell, html_block

TICK = 0.7
"""Seconds between looks while something is read or indexed."""
FOUND = 8
READ = 20
TAKES = "PDF, Word, HTML, Markdown, text and CSV, recognised by content. Nothing leaves this machine."

Updates = dict[Any, Any]


class KnowledgeTab:
    """Documents on the left, search results on the right."""

    def __init__(self, lab: Lab) -> None:
        self._knowledge = lab.knowledge
        self._auth = lab.settings.auth

    def build(self, shell: Shell) -> None:
        with gr.Row(elem_classes="knowing"):
            with gr.Column(scale=5, min_width=340):
                self._build_documents()
            with gr.Column(scale=6, min_width=340):
                self._build_question()
        self.bridge = Bridge("knowledge")
        self.timer = gr.Timer(TICK, active=False)
        self.tabs = shell.tabs
        self._wire(shell)

    def _build_documents(self) -> None:
        self.file = gr.File(
            label="Documents", show_label=False, file_count="multiple", height=132, elem_id="knowledge-file"
        )
        with gr.Row(elem_classes="tight"):
            self.folder = gr.UploadButton(
                "Add a folder", file_count="directory", size="sm", scale=0, min_width=120, elem_id="knowledge-folder"
            )
            self.stop = gr.Button("Stop", size="sm", scale=0, min_width=80, visible=False)
            self.undo = gr.Button("Undo", size="sm", scale=0, min_width=80, visible=False, elem_id="knowledge-undo")
        html_block(div("import-notes", span("", TAKES)), elem_classes="flat")
        self.adding = html_block(elem_classes="flat", elem_id="knowledge-adding")
        self.state = html_block(elem_classes="flat", elem_id="knowledge-state")
        self.filter = gr.Textbox(
            placeholder="Filter by name", show_label=False, container=False, max_lines=1, elem_id="knowledge-filter"
        )
        self.documents = html_block(elem_classes="flat", elem_id="knowledge-documents")
        with gr.Accordion("Search index", open=False, elem_id="knowledge-index"):
            self.model = gr.Textbox(
                label="Embedding model",
                info="Folder of a Hugging Face model. Leave empty for the built-in one.",
                max_lines=1,
            )
            with gr.Row(elem_classes="tight"):
                self.use = gr.Button("Use this model", size="sm", scale=0, min_width=130)
                self.rebuild = gr.Button("Rebuild index", size="sm", scale=0, min_width=160)
            html_block(
                div("import-notes", span("", "Rebuild it if search results look wrong. Your documents are kept.")),
                elem_classes="flat",
            )

    def _build_question(self) -> None:
        with gr.Row(elem_classes="tight asking"):
            self.question = gr.Textbox(
                placeholder="Try a question",
                show_label=False,
                container=False,
                max_lines=3,
                elem_id="knowledge-question",
            )
            self.ask = gr.Button("Search", variant="primary", size="sm", scale=0, min_width=90, elem_id="knowledge-ask")
        self.found = html_block(_NOTHING, elem_classes="flat", elem_id="knowledge-found")

    def _wire(self, shell: Shell) -> None:
        shown = [*self.shown]
        shell.on(self.file.upload, do=self.dropped, inputs=[self.file, self.filter], outputs=shown)
        shell.on(self.folder.upload, do=self.dropped, inputs=[self.folder, self.filter], outputs=shown)
        for opened in (shell.load, shell.items["knowledge"].select):
            shell.on(opened, do=self.look, inputs=[self.filter], outputs=shown)
        shell.on(self.timer.tick, do=self.look, inputs=[self.filter], outputs=shown)
        shell.on(self.stop.click, do=self.stopped, inputs=[self.filter], outputs=shown)
        shell.on(self.undo.click, do=self.undone, inputs=[self.filter], outputs=shown)
        shell.on(self.filter.change, do=self.look, inputs=[self.filter], outputs=shown, trigger_mode="always_last")
        shell.on(self.use.click, do=self.chosen, inputs=[self.model, self.filter], outputs=shown)
        shell.on(self.rebuild.click, do=self.made_again, inputs=[self.filter], outputs=shown)
        pressed = [*shown, self.found, shell.tabs]
        shell.on(self.bridge.pressed, do=self.pressed, inputs=[self.bridge.payload, self.filter], outputs=pressed)
        shell.on(shell.items["knowledge"].select, do=self.came, outputs=[self.model])
        for asked in (self.question.submit, self.ask.click):
            shell.on(asked, do=self.search, inputs=[self.question], outputs=[self.found], trigger_mode="once")

    @property
    def shown(self) -> set[Any]:
        return {self.file, self.stop, self.undo, self.adding, self.state, self.documents, self.timer}

    # What the events do.

    def dropped(self, files: list[str] | str | None, query: str) -> Updates:
        """Files are dropped. They are read in the background, and the uploaded copies are removed."""
        paths = [files] if isinstance(files, str) else files or []
        if not paths:
            return {}
        self._knowledge.add([Path(path) for path in paths], uploads=True)
        return self.look(query) | {self.file: gr.File(value=None)}

    def look(self, query: str | None) -> Updates:
        """The current state. The timer runs only while something changes."""
        knowledge = self._knowledge
        documents, state, progress = knowledge.documents(), knowledge.state(), knowledge.adding
        undoable = knowledge.undoable
        return {
            self.adding: render.adding(progress),
            self.state: render.state(state, len(documents)),
            self.documents: render.documents(documents, query or ""),
            self.stop: gr.Button(visible=knowledge.reading),
            self.undo: gr.Button(f"Undo: removed {counted(undoable, 'document')}", visible=undoable > 0),
            self.timer: gr.Timer(active=knowledge.reading or state.working),
        }

    def came(self) -> str:
        """The tab opens: load the index, and return the chosen model for its box."""
        self._knowledge.warm()
        return self._knowledge.chosen_model

    def stopped(self, query: str) -> Updates:
        self._knowledge.stop()
        return self.look(query)

    def undone(self, query: str) -> Updates:
        self._knowledge.undo_remove()
        return self.look(query) | {self.timer: gr.Timer(active=True)}

    def made_again(self, query: str) -> Updates:
        self._knowledge.rebuild()
        return self.look(query) | {self.timer: gr.Timer(active=True)}

    def chosen(self, folder: str, query: str, request: gr.Request | None = None) -> Updates:
        """Another embedding model; passages are embedded again by it. Raises EmbedderError, InputError."""
        if current_user(request, self._auth) != HOUSE:  # a path on this machine, and a model for everybody
            raise InputError("Only the first user can change the embedding model.", "Ask them to change it.")
        self._knowledge.choose_model(Path(folder.strip()) if folder.strip() else None)
        return self.look(query) | {self.timer: gr.Timer(active=True)}

    def pressed(self, payload: str, query: str) -> Updates:
        """A button in the list of documents, or one in chat that leads here."""
        event = PageEvent.read(payload)
        if event.do == "remove":
            self._knowledge.remove([event.text])
            return self.look(query) | {self.timer: gr.Timer(active=True)}
        if event.do == "read":
            document = self._knowledge.document(event.text)
            return {self.found: render.passages(document, self._knowledge.passages(event.text, 0, READ), 0)}
        if event.do == "around":
            return {self.found: self._around(event.text), self.tabs: gr.Tabs(selected="knowledge")}
        raise InputError(f"The page sent an unknown request: {event.do!r}.", "Reload the page.")

    def _around(self, place: str) -> Markup:
        """A passage in its document, named as `sha256:start:end`."""
        id, _, numbers = place.partition(":")
        try:
            start, end = map(int, numbers.split(":"))
        except ValueError as error:
            raise InputError("The page sent an unreadable request.", "Reload the page.") from error
        document = self._knowledge.document(id)
        return render.around(document.title, (start, end), self._knowledge.around(id, start, end))

    def search(self, question: str) -> Markup:
        if not question.strip():
            raise InputError("The question is empty.", "Write a question first.")
        if not self._knowledge.documents():
            raise InputError("There are no documents.", "Add one on the left first.")
        return render.hits(self._knowledge.search(question, FOUND), question)


_NOTHING = div(
    "empty",
    span(
        "",
        "Ask a question to see which passages an answer would get.",
    ),
)
