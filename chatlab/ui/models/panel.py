"""The Models panel, which the header's chip opens on every tab: choose a model, add one, fetch one from the hub."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr
from markupsafe import Markup

from chatlab.conversation import HOUSE
from chatlab.errors import ChatlabError, InputError
from chatlab.lab import Lab
from chatlab.models.library.entry import ModelEntry
from chatlab.records import BASE
from chatlab.ui.current_user import current_user
from chatlab.ui.html import NOTHING, div, span
from chatlab.ui.models import render
from chatlab.ui.models.known import KnownModels
from chatlab.ui.models.template_form import TemplateForm
from chatlab.ui.page_event import PageEvent
from chatlab.ui.shell import Bridge, Shell, error_text, html_block, inform

Updates = dict[Any, Any]

SAFETENSORS = "safetensors"
"""The choice of a repository's own weights in place of one of its GGUFs."""
HOUSES_ONLY = "Only {name} can add, fetch and remove models here; everybody can switch between them."
DROP = "Or drop a GGUF of up to 256 MB. Add larger ones by their path: they stay where they are."


class ModelsPanel:
    """Draws the list from what is known at once, and follows what is read, opened and fetched in the background."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._known = KnownModels(lab)
        self.template = TemplateForm(lab)

    def build(self, shell: Shell) -> None:
        with gr.Column(visible=False, elem_id="models") as self.panel:
            html_block(render.HEAD, elem_classes="flat")
            self.note = html_block(elem_id="models-note", elem_classes="flat")
            self.template.build()
            self.list = html_block(elem_id="models-list", elem_classes="flat")
            with gr.Accordion("Add a model", open=False, elem_id="models-add") as self.adding:
                with gr.Row(elem_classes="tight"):
                    self.path = gr.Textbox(
                        label="Path on this machine",
                        info="A GGUF file, or a folder with config.json and safetensors.",
                        max_lines=1,
                        elem_id="models-path",
                    )
                    self.add = gr.Button("Add", size="sm", scale=0, min_width=80, elem_id="models-add-path")
                html_block(div("import-notes", span("", DROP)), elem_classes="flat")
                self.file = gr.File(
                    label="GGUF file", show_label=False, file_types=[".gguf"], height=140, elem_id="models-drop"
                )
                with gr.Row(elem_classes="tight"):
                    self.repository = gr.Textbox(
                        label="Hugging Face id",
                        placeholder="HuggingFaceTB/SmolLM2-135M-Instruct",
                        max_lines=1,
                        scale=3,
                        min_width=220,
                        elem_id="models-hub",
                    )
                    self.revision = gr.Textbox(
                        label="Revision", placeholder="main", max_lines=1, scale=1, min_width=100
                    )
                    self.look = gr.Button("Look", size="sm", scale=0, min_width=80, elem_id="models-look")
                self.files = gr.Radio([], label="What to fetch", visible=False, elem_id="models-files")
                self.fetch = gr.Button("Download", variant="primary", size="sm", visible=False, elem_id="models-fetch")
                self.downloads = html_block(elem_id="models-downloads", elem_classes="flat")
            self.others = html_block(elem_classes="flat")
        self.open = gr.State(False)
        self.bridge = Bridge("models")
        self._model = shell.model
        self._wire(shell)

    @property
    def shown(self) -> set[Any]:
        return {self.panel, self.note, self.list, self.downloads, self.adding, self.others, self.open}

    def _wire(self, shell: Shell) -> None:
        done = shell.on(
            self.bridge.pressed,
            do=self.pressed,
            inputs=[self.bridge.payload],
            outputs=self.shown | self.template.shown | {shell.model},
            concurrency_limit=None,
            trigger_mode="multiple",
        )
        form = self.template
        shell.on(form.cancel.click, do=form.closed, outputs=form.shown)
        shell.on(form.format.input, do=self.format_chosen, inputs=[form.format, form.model], outputs={form.source})
        given = shell.on(
            form.give.click,
            do=self.template_given,
            inputs=[form.model, form.source],
            outputs=self.shown | form.shown | {shell.model},
            trigger_mode="once",
        )
        shell.refresh(given)
        shell.refresh(done)
        hub = {self.files, self.fetch, self.note}
        for added in (self.add.click, self.path.submit):
            shell.on(added, do=self.added, inputs=[self.path], outputs=self.shown | {self.path}, trigger_mode="once")
        shell.on(self.file.upload, do=self.dropped, inputs=[self.file], outputs=self.shown | {self.file})
        for asked in (self.look.click, self.repository.submit):
            shell.on(asked, do=self.looked, inputs=[self.repository, self.revision], outputs=hub, trigger_mode="once")
        shell.on(
            self.fetch.click,
            do=self.fetched,
            inputs=[self.repository, self.revision, self.files],
            outputs=self.shown | hub,
            trigger_mode="once",
        )
        shell.on(shell.timer.tick, do=self.tick, inputs=[self.open], outputs={self.list, self.downloads}, queue=False)

    # What the events do.

    def pressed(self, payload: str, request: gr.Request | None = None) -> Updates:
        """A button of the list, or the header's chip."""
        event = PageEvent.read(payload)
        acts = {"use": self._use, "retrain": self._retrain}
        if event.do == "open":
            self._known.refresh()
            return {self.panel: gr.Column(visible=True), self.open: True, **self._drawn(request)}
        if event.do == "close":
            return {self.panel: gr.Column(visible=False), self.open: False}
        if event.do in acts:
            return self._tried(acts[event.do], event.text, request) | {self._model: self._lab.machine.fingerprint}
        self._check_house(request)
        if event.do == "template":
            return self.template.opened(self._entry(event.text))
        if event.do == "remove":
            return self._tried(self._remove, event.text, request)
        if event.do in ("cancel", "dismiss"):
            self._ended(event.do, event.text)
            return self._drawn(request)
        if event.do in ("resume", "discard"):
            self._unfinished(event.do, event.text)
            return self._drawn(request)
        raise InputError(f"There is no press {event.do[:40]!r}.")

    def format_chosen(self, name: str | None, id: str) -> Updates:
        """Another template of the list, into the box."""
        return self.template.chosen(name, self._entry(id))

    def template_given(self, id: str, source: str, request: gr.Request | None = None) -> Updates:
        """Keep the template, and have the model answer with it."""
        self._check_house(request)
        entry = self._entry(id)
        self.template.given(entry, source)
        said = f"{render.title(entry)} answers in this template. Train it, so that it learns to."
        return self._drawn(request, said) | self.template.closed() | {self._model: self._lab.machine.fingerprint}

    def added(self, path: str, request: gr.Request | None = None) -> Updates:
        """Add a file or folder where it lies."""
        self._check_house(request)
        if not path.strip():
            raise InputError("The path is empty.", "Write the path of a GGUF file, or of a model's folder.")
        entry = self._lab.library.add(Path(path.strip()))
        return self._drawn(request, f"{render.title(entry)} is in the list.") | {self.path: ""}

    def dropped(self, file: str | None, request: gr.Request | None = None) -> Updates:
        """Keep a GGUF that was dropped, in the app's own folder."""
        self._check_house(request)
        if not file:
            return {}
        entry = self._lab.library.add_upload(Path(file), Path(file).name)
        return self._drawn(request, f"{render.title(entry)} is in the list.") | {self.file: gr.File(value=None)}

    def looked(self, repository: str, revision: str, request: gr.Request | None = None) -> Updates:
        """What a repository of the hub has to choose from."""
        self._check_house(request)
        found = self._lab.library.look(repository.strip(), revision.strip())
        choices = render.files([(file.name, file.size) for file in found.ggufs])
        if found.safetensors:
            whole = sum(file.size for file in found.safetensors)
            choices.insert(0, (f"The model itself, safetensors ({render.size(whole)})", SAFETENSORS))
        said = "" if choices else f"{repository.strip()} holds no safetensors and no GGUF that can be used."
        return {
            self.files: gr.Radio(choices, value=choices[0][1] if choices else None, visible=bool(choices)),
            self.fetch: gr.Button(visible=bool(choices)),
            self.note: render.note(said, bad=True),
        }

    def fetched(self, repository: str, revision: str, file: str | None, request: gr.Request | None = None) -> Updates:
        """Begin to download."""
        self._check_house(request)
        self._lab.library.download(repository.strip(), revision.strip(), "" if file == SAFETENSORS else file or "")
        return {
            self.files: gr.Radio([], value=None, visible=False),
            self.fetch: gr.Button(visible=False),
        } | self._drawn(request)

    def tick(self, is_open: bool) -> Updates:
        """What moves by itself, while the panel is open."""
        if not is_open:
            return {}
        moving = any(one.under_way for one in self._lab.library.downloads)
        if not (moving or self._known.moving or self._lab.machine.opening):
            return {}
        return {self.list: self._list(), self.downloads: render.downloads(self._lab.library)}

    def _use(self, id: str) -> str:
        entry = self._entry(id)
        self._lab.switch.use(entry.path)
        try:
            self._lab.library.choose(entry.id)
        except ChatlabError as error:
            return f"{render.title(entry)} answers from the next reply on. {error_text(error)}"
        live = self._lab.variants.live
        adapter = "" if live == BASE else f", with {live} live"
        return f"{render.title(entry)} answers from the next reply on{adapter}."

    def _remove(self, id: str) -> str:
        entry = self._entry(id)
        self._lab.library.remove(id)
        return f"{render.title(entry)} is removed."

    def _retrain(self, name: str) -> str:
        card = self._lab.variants.card(name)
        if card is None:
            raise InputError("That adapter is gone.", "Train from the Train tab.")
        self._lab.training.retrain_like(card)
        return f"Training on this model as {name} was trained. The header shows how far it is."

    def _tried(self, do: Any, text: str, request: gr.Request | None) -> Updates:
        """What it says in the panel, whether it went well or not."""
        try:
            said, bad = do(text), False
        except ChatlabError as error:
            said, bad = error_text(error), True
        if not bad:
            inform(said)
        return self._drawn(request, said, bad)

    def _ended(self, act: str, text: str) -> None:
        """Cancel a download, or take its line away."""
        downloads = self._lab.library.downloads
        number = int(text) if text.isdecimal() else len(downloads)
        if number < len(downloads) and act == "cancel":
            downloads[number].cancel()
        elif number < len(downloads) and not downloads[number].under_way:
            del downloads[number]

    def _unfinished(self, act: str, text: str) -> None:
        """Go on with a download that ended before it was whole, or delete what is here of it."""
        halves = render.halves(self._lab.library)
        number = int(text) if text.isdecimal() else len(halves)
        if number >= len(halves):
            raise InputError("That download is no longer in the list.", "Close the panel and open it again.")
        if act == "discard":
            self._lab.library.discard(halves[number])
        else:
            self._lab.library.download(halves[number].repository, halves[number].revision, halves[number].file)

    def _drawn(self, request: gr.Request | None, said: str = "", bad: bool = False) -> Updates:
        self._known.refresh()
        house = self._person(request) == HOUSE
        auth = self._lab.settings.auth
        return {
            self.note: render.note(said, bad),
            self.list: self._list(),
            self.downloads: render.downloads(self._lab.library),
            self.adding: gr.Accordion(visible=house),
            self.others: NOTHING if house else render.note(HOUSES_ONLY.format(name=auth[0][0])),
        }

    def _list(self) -> Markup:
        opening = self._lab.machine.opening
        others = self._lab.variants.others()
        approved = len(self._lab.demonstrations.approved())
        like = others[0].name if others and approved and len(self._lab.variants.names()) == 1 else ""
        return render.model_list(
            self._known.all(), str(opening) if opening else "", like, approved, self._known.looking
        )

    def _entry(self, id: str) -> ModelEntry:
        found = next((entry for entry in self._lab.library.entries() if entry.id == id), None)
        if found is None:
            raise InputError("That model is no longer in the list.", "Choose another one.")
        return found

    def _person(self, request: gr.Request | None) -> str | None:
        return current_user(request, self._lab.settings.auth)

    def _check_house(self, request: gr.Request | None) -> None:
        """Raises InputError for anybody but the first person: a path is one of this machine, a model is everybody's."""
        if self._person(request) != HOUSE:
            auth = self._lab.settings.auth
            raise InputError(HOUSES_ONLY.format(name=auth[0][0] if auth else "the owner"), "Ask them to add it.")
