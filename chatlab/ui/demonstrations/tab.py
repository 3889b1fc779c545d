"""The Demonstrations tab: find them, read them beside their mask picture, change them, decide on them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import gradio as gr
from markupsafe import Markup

from chatlab.errors import UnseenRepeated
from chatlab.lab import Lab
from chatlab.records import Demonstration, Status
from chatlab.ui.demonstrations.annotators import DemonstrationAnnotators
from chatlab.ui.demonstrations.beside import SimilarDemonstrations, mask_of
from chatlab.ui.demonstrations.datasets.exporting import DemonstrationExport
from chatlab.ui.demonstrations.datasets.importing import DemonstrationImport
from chatlab.ui.demonstrations.drafts import NEW, Drafts
from chatlab.ui.demonstrations.editor import DemonstrationEditor
from chatlab.ui.demonstrations.lineage import LearnedBy, asked_for
from chatlab.ui.demonstrations.list import DemonstrationList, ListView
from chatlab.ui.demonstrations.packs import DemonstrationPacks
from chatlab.ui.demonstrations.panels import QualityPanels
from chatlab.ui.demonstrations.unseen import UnseenQuestion
from chatlab.ui.html import div, escaped, span
from chatlab.ui.shell import Shell, html_block

Updates = dict[Any, Any]
Values = Mapping[Any, Any]
Undo = tuple[str, int, str] | None
"""What would be taken back: ("status", id, former status), ("delete", id, "") or ("quality", 0, "")."""


class DemonstrationsTab:
    """Handlers take and return `{component: value}`."""

    def __init__(self, lab: Lab) -> None:
        self._demonstrations = lab.demonstrations
        self._lab = lab
        self.annotators = DemonstrationAnnotators(lab)
        self.learned = LearnedBy(lab)
        self._quality = lab.quality
        self.list = DemonstrationList(lab.demonstrations, lab.quality)
        self.editor = DemonstrationEditor(lab.demonstrations, Drafts(lab.store), lab.toolbox)
        self.packs = DemonstrationPacks(lab.demonstrations)
        self.importing = DemonstrationImport(lab)
        self.exporting = DemonstrationExport(lab)
        self.panels = QualityPanels(lab, self)
        self.similar = SimilarDemonstrations(lab.quality, lab.demonstrations)
        self.unseen = UnseenQuestion(lab.demonstrations)

    def build(self, shell: Shell) -> None:
        self.list.build_meter()
        with gr.Row(elem_classes="folds", equal_height=False):
            for fold in (self.packs, self.importing, self.exporting, self.panels, self.annotators):
                fold.build()
        with gr.Row(elem_classes="curation", equal_height=False):
            with gr.Column(scale=4, min_width=300, elem_classes="curation-list"):
                self.list.build()
            with gr.Column(scale=9, min_width=320, elem_classes="curation-desk"):
                self._build_editor()
        self._wire_list(shell)
        self._wire_editor(shell)
        self.panels.wire(shell)

    def _build_editor(self) -> None:
        with gr.Row(elem_classes="tight desk-bar"):
            self.title = html_block(elem_classes="flat desk-title")
            self.approve = gr.Button(
                "Approve  (A)", size="sm", min_width=90, scale=0, elem_classes="key-a", interactive=False
            )
            self.discard = gr.Button(
                "Discard  (D)", size="sm", min_width=90, scale=0, elem_classes="key-d", interactive=False
            )
            self.next = gr.Button("Next  (N)", size="sm", min_width=80, scale=0, elem_classes="key-n")
            self.delete = gr.Button("Delete", size="sm", min_width=70, scale=0, interactive=False)
            self.undo = gr.Button("Undo  (U)", size="sm", min_width=70, scale=0, visible=False, elem_classes="key-u")
        self.undoable = gr.State(None)
        self.unseen.build()
        with gr.Column(elem_classes="desk-people"):
            self.learned.build()
            self.annotators.build_editing()
        with gr.Row(equal_height=False):
            with gr.Column(min_width=300):
                self.editor.build()
            with gr.Column(min_width=300):
                self.mask = html_block(elem_classes="flat", elem_id="mask-picture")
                self.similar.build()

    @property
    def editing(self) -> set[Any]:
        own = {self.title, self.mask, self.approve, self.discard, self.delete}
        return (
            own
            | self.editor.shown
            | self.similar.shown
            | self.annotators.editing
            | self.learned.shown
            | self.unseen.shown
        )

    def _wire_list(self, shell: Shell) -> None:
        rows, editor = self.list, self.editor
        everything = rows.shown | self.packs.shown | self.editing
        at_hand = rows.inputs | {editor.selected}
        for trigger in (rows.search.change, rows.tag.input, rows.status.input):
            shell.on(trigger, do=self.filter, inputs=at_hand, outputs=rows.shown, trigger_mode="always_last")
        shell.on(rows.newer.click, do=self.turn_back, inputs=rows.inputs, outputs=rows.shown)
        shell.on(rows.older.click, do=self.turn_on, inputs=rows.inputs, outputs=rows.shown)
        shell.on(rows.rows.input, do=self.open, inputs=[rows.rows], outputs=self.editing, trigger_mode="always_last")
        shell.on(rows.write.click, do=self.start_writing, inputs=rows.inputs, outputs=rows.shown | self.editing)
        for name, button in self.packs.buttons.items():
            loaded = shell.on(button.click, do=self.loader(name), outputs=everything | {rows.search})
            self.panels.follow(shell, loaded)
        shell.on(shell.items["demonstrations"].select, do=self.refresh, inputs=at_hand, outputs=everything)
        shell.on(self.importing.ended.change, do=self.refresh, inputs=at_hand, outputs=everything)
        self.importing.wire(shell)
        self.exporting.wire(shell)

    def _wire_editor(self, shell: Shell) -> None:
        rows, editor = self.list, self.editor
        shown = rows.shown | self.editing
        everything = shown | self.packs.shown | {self.undo, self.undoable}
        at_hand = rows.inputs | {editor.selected}
        for button, do in ((self.approve, self.approved), (self.discard, self.discarded), (self.delete, self.deleted)):
            shell.on(button.click, do=do, inputs=at_hand, outputs=everything, trigger_mode="once")
        shell.on(self.next.click, do=self.go_on, inputs=at_hand, outputs=shown)
        undone = shell.on(self.undo.click, do=self.undone, inputs=rows.inputs | {self.undoable}, outputs=everything)
        typed = rows.inputs | editor.inputs
        saved = shell.on(editor.save.click, do=self.saved, inputs=typed, outputs=shown)
        released = shell.on(
            self.unseen.release.click,
            do=self.released,
            inputs=typed | {self.unseen.about},
            outputs=everything,
            trigger_mode="once",
        )
        shell.on(self.unseen.leave.click, do=self.unseen.quiet, outputs=self.unseen.shown)
        self.panels.follow(shell, undone, saved, released)
        shell.on(editor.revert.click, do=self.reverted, inputs=[editor.selected], outputs=self.editing)
        editor.wire(shell)
        self.annotators.wire(shell, editor.selected, self.open, self.editing)
        self.similar.wire(shell, editor.selected)

    # What the list's events do.

    def filter(self, values: Values) -> Updates:
        view = replace(self.list.read(values), page=0)
        return self.list.draw(view, selected=values[self.editor.selected])

    def turn_on(self, values: Values) -> Updates:
        view = self.list.read(values)
        return self.list.draw(replace(view, page=view.page + 1))

    def turn_back(self, values: Values) -> Updates:
        view = self.list.read(values)
        return self.list.draw(replace(view, page=view.page - 1))

    def refresh(self, values: Values) -> Updates:
        """The list as the store has it now. The editor stays as it is, unless its demonstration is gone or another
        tab asked for one.
        """
        view, selected = self.list.read(values), values[self.editor.selected]
        wanted = asked_for(self._lab)
        if wanted == NEW:
            return self.start_writing(values) | self._packs_now()
        if wanted is not None:
            return self.list.draw(view, selected=wanted) | self._packs_now() | self.open(wanted)
        listed = self.list.draw(view, selected=selected) | self._packs_now()
        return listed if self.editor.holds(selected) else listed | self.open(None)

    def start_writing(self, values: Values) -> Updates:
        """Empty boxes, or the draft of a new demonstration."""
        return self.list.draw(self.list.read(values)) | self._writing()

    def loader(self, name: str) -> Callable[[], Updates]:
        """What the button of a pack does."""

        def load() -> Updates:
            ids = self._demonstrations.load_pack(name)
            self.unseen.tell(ids)
            newest = ids[-1] if ids else None
            updates = self.list.draw(ListView(), selected=newest) | self.list.clear() | self._packs_now()
            updates |= {self.packs.fold: gr.Accordion(open=False)}
            return updates | self.open(newest) if newest else updates

        return load

    # What the editor's events do.

    def open(self, selected: int | None) -> Updates:
        """Show one in the editor, with its unsaved draft."""
        if not selected:
            return self._nothing()
        demonstration = self._demonstrations.get(selected)
        return {
            self.title: _title(selected, demonstration),
            self.mask: mask_of(self._lab, demonstration),
            self.approve: gr.Button(interactive=demonstration.status != "approved"),
            self.discard: gr.Button(interactive=demonstration.status != "discarded"),
            self.delete: gr.Button(interactive=True),
            **self.similar.reset(selected),
            **self.annotators.draw(selected),
            **self.learned.draw(selected),
            **self.unseen.quiet(),
        } | self.editor.open(selected)

    def go_on(self, values: Values) -> Updates:
        """To the next in the list, turning the page where it ends."""
        following, view = self.list.after(values[self.editor.selected], self.list.read(values))
        return self.list.draw(view, selected=following) | self.open(following)

    def approved(self, values: Values) -> Updates:
        return self._decide("approved", values)

    def discarded(self, values: Values) -> Updates:
        return self._decide("discarded", values)

    def deleted(self, values: Values) -> Updates:
        view, selected = self.list.read(values), values[self.editor.selected]
        if not selected:
            return {}
        following = self.list.without(selected, view)
        self._demonstrations.delete([selected])
        updates = self.list.draw(view, selected=following) | self.open(following) | self._packs_now()
        return updates | self.offer_undo(("delete", selected, ""), f"Undo: deleted {selected}  (U)")

    def undone(self, values: Values) -> Updates:
        undoable: Undo = values[self.undoable]
        if undoable is None:
            return {}
        what, demonstration_id, former = undoable
        if what == "quality":
            self._quality.undo()
        elif what == "delete":
            self._demonstrations.undo()
        else:
            self._demonstrations.update(demonstration_id, status=former)  # type: ignore[arg-type]
        updates = self.list.draw(self.list.read(values), selected=demonstration_id)
        return updates | self.open(demonstration_id) | self._packs_now() | self.offer_undo(None, "")

    def saved(self, values: Values, release: bool = False) -> Updates:
        """Store the typed words. If they cannot be stored, they stay in their boxes."""
        try:
            kept = self.editor.keep(values, release)
        except UnseenRepeated as error:
            return self.unseen.ask(error, "save")
        return self.list.draw(self.list.read(values), selected=kept) | self.open(kept)

    def released(self, values: Values) -> Updates:
        """Save or approve what was asked about, and drop the unseen prompt."""
        about = values[self.unseen.about]
        if about == "save":
            return self.saved(values, release=True)
        return self._decide("approved", values, release=True) if about == "approve" else {}

    def reverted(self, selected: int | None) -> Updates:
        self.editor.forget(selected)
        return self.open(selected) if selected else self._writing()

    def _decide(self, verdict: Status, values: Values, release: bool = False) -> Updates:
        """Give a status, and go on to the next one."""
        view, selected = self.list.read(values), values[self.editor.selected]
        if not selected:
            return {}
        former = self._demonstrations.get(selected).status
        following = self.list.without(selected, view)
        try:
            self._demonstrations.update(selected, status=verdict, release=release)
        except UnseenRepeated as error:
            return self.unseen.ask(error, "approve")
        updates = self.list.draw(view, selected=following) | self.open(following)
        return updates | self.offer_undo(("status", selected, former), f"Undo: {verdict} {selected}  (U)")

    def offer_undo(self, undoable: Undo, label: str) -> Updates:
        return {self.undoable: undoable, self.undo: gr.Button(label or "Undo", visible=undoable is not None)}

    def _packs_now(self) -> Updates:
        return self.packs.draw(empty=not sum(self._demonstrations.counts().values()))

    def _writing(self) -> Updates:
        return self._nothing() | {self.title: div("desk-name", escaped("A new demonstration"))} | self.editor.open(NEW)

    def _nothing(self) -> Updates:
        off = gr.Button(interactive=False)
        editing = {self.title: "", self.mask: "", self.approve: off, self.discard: off, self.delete: off}
        annotators = self.annotators.draw(None) | self.learned.draw(None) | self.unseen.quiet()
        return editing | self.editor.clear() | self.similar.reset(None) | annotators


def _title(demonstration_id: int, demonstration: Demonstration) -> Markup:
    facts = [demonstration.source, demonstration.status, *demonstration.tags]
    return div("desk-name", span("", f"Demonstration {demonstration_id} "), *(span("chip", fact) for fact in facts))
