"""The Demonstrations tab: find them, read them beside their mask picture, change them, decide on them."""

from __future__ import annotations

from typing import Any

import gradio as gr

from chatlab.errors import ChatlabError
from chatlab.lab import Lab
from chatlab.records import Demonstration, Status, TrainSettings
from chatlab.ui.demonstration_editor import DemonstrationEditor
from chatlab.ui.demonstration_packs import DemonstrationPacks
from chatlab.ui.markup import div, one_line, span
from chatlab.ui.mask_picture import mask_picture
from chatlab.ui.readiness import readiness
from chatlab.ui.shell import Shell, drawing, told

PAGE = 20
MARKS: dict[Status, str] = {"approved": "✓", "waiting": "○", "discarded": "✕"}
ANY = ""

Updates = dict[Any, Any]
Undo = tuple[str, int, str] | None
"""What would be taken back: ("status", id, former status) or ("delete", id, "")."""


class DemonstrationsTab:
    """Handlers return `{component: value}`; every one that changes the store draws the list from the store again."""

    def __init__(self, lab: Lab) -> None:
        self._demonstrations = lab.demonstrations
        self._editor = DemonstrationEditor(lab.demonstrations)
        self._packs = DemonstrationPacks(lab.demonstrations)

    def build(self, shell: Shell) -> None:
        self.readiness = drawing(elem_classes="flat")
        self._packs.build()
        with gr.Row(elem_classes="curation", equal_height=False):
            with gr.Column(scale=4, min_width=300, elem_classes="curation-list"):
                self._build_list()
            with gr.Column(scale=9, min_width=320, elem_classes="curation-desk"):
                self._build_desk()
        self._wire(shell)

    def _build_list(self) -> None:
        with gr.Row(elem_classes="tight"):
            self.search = gr.Textbox(
                "", placeholder="Search", show_label=False, container=False, scale=3, min_width=120
            )
            self.tag = gr.Dropdown(
                [("Any tag", ANY)], value=ANY, show_label=False, container=False, scale=2, min_width=110
            )
            self.write = gr.Button("Write one", size="sm", scale=1, min_width=90)
        self.status = gr.Radio([("All", ANY)], value=ANY, show_label=False, container=False, elem_classes="segments")
        self.empty = drawing(visible=False, elem_classes="flat")
        self.rows = gr.Radio([], show_label=False, container=False, elem_classes="rows", elem_id="demonstration-rows")
        with gr.Row(elem_classes="tight pager"):
            self.newer = gr.Button("‹", size="sm", min_width=40, scale=0, elem_id="demonstrations-newer")
            self.place = drawing(elem_classes="flat place")
            self.older = gr.Button("›", size="sm", min_width=40, scale=0, elem_id="demonstrations-older")
        self.page = gr.State(0)

    def _build_desk(self) -> None:
        with gr.Row(elem_classes="tight desk-bar"):
            self.title = drawing(elem_classes="flat desk-title")
            self.approve = gr.Button(
                "Approve  (A)", size="sm", min_width=90, scale=0, elem_classes="key-a", interactive=False
            )
            self.discard = gr.Button(
                "Discard  (D)", size="sm", min_width=90, scale=0, elem_classes="key-d", interactive=False
            )
            self.next = gr.Button("Next  (N)", size="sm", min_width=80, scale=0, elem_classes="key-n")
            self.delete = gr.Button("Delete", size="sm", min_width=70, scale=0, interactive=False)
            self.undo = gr.Button("Undo", size="sm", min_width=70, scale=0, visible=False, elem_classes="key-u")
        self.undoable = gr.State(None)
        with gr.Row(equal_height=False):
            with gr.Column(min_width=300):
                self._editor.build()
            with gr.Column(min_width=300):
                self.picture = drawing(elem_classes="flat", elem_id="mask-picture")

    def _wire(self, shell: Shell) -> None:
        editor = self._editor
        filters = [self.search, self.tag, self.status, self.page]
        shown = {self.readiness, self.tag, self.status, self.rows, self.empty, self.place, self.newer, self.older}
        shown |= {self.page, *self._packs.shown}
        desk = {self.title, self.picture, self.approve, self.discard, self.delete, *editor.shown}
        undo = {self.undo, self.undoable}
        everything = shown | desk | undo

        for trigger in (self.search.change, self.tag.input, self.status.input):
            shell.on(
                trigger,
                do=self.filter,
                inputs=[*filters[:3], editor.selected],
                outputs=shown,
                trigger_mode="always_last",
            )
        shell.on(self.newer.click, do=self.turn_back, inputs=filters, outputs=shown)
        shell.on(self.older.click, do=self.turn_on, inputs=filters, outputs=shown)
        shell.on(self.rows.input, do=self.open, inputs=[self.rows], outputs=desk, trigger_mode="always_last")
        shell.on(self.next.click, do=self.go_on, inputs=[editor.selected, *filters], outputs=shown | desk)
        shell.on(self.write.click, do=self.start_writing, inputs=filters, outputs=shown | desk)

        decided = [editor.selected, *filters]
        shell.on(self.approve.click, do=self.approved, inputs=decided, outputs=everything)
        shell.on(self.discard.click, do=self.discarded, inputs=decided, outputs=everything)
        shell.on(self.delete.click, do=self.deleted, inputs=decided, outputs=everything)
        shell.on(self.undo.click, do=self.undone, inputs=[self.undoable, *filters], outputs=everything)
        shell.on(editor.save.click, do=self.saved, inputs=[*editor.typed, *filters], outputs=shown | desk)
        shell.on(editor.revert.click, do=self.reverted, inputs=[editor.selected], outputs=desk)
        editor.wire(shell)
        for name, button in self._packs.buttons.items():
            shell.on(button.click, do=self._loader(name), outputs=shown | desk | {self.search})
        opened = [editor.selected, *filters]
        shell.on(shell.items["demonstrations"].select, do=self.refresh, inputs=opened, outputs=shown | desk)

    # What the events do.

    def filter(self, text: str, tag: str, status: str, selected: int | None) -> Updates:
        return self._list(text, tag, status, 0, selected)

    def turn_on(self, text: str, tag: str, status: str, page: int) -> Updates:
        return self._list(text, tag, status, page + 1)

    def turn_back(self, text: str, tag: str, status: str, page: int) -> Updates:
        return self._list(text, tag, status, page - 1)

    def refresh(self, selected: int | None, text: str, tag: str, status: str, page: int) -> Updates:
        """The list as the store has it now; what is on the desk stays as it is."""
        listed = self._list(text, tag, status, page, selected) | self._packs_now()
        return listed if self._editor.holds(selected) else listed | self.open(None)

    def open(self, selected: int | None) -> Updates:
        """Put one on the desk, with what was typed and not yet saved."""
        if not selected:
            return self._nothing()
        demonstration = self._demonstrations.get(selected)
        return {
            self.title: _title(selected, demonstration),
            self.picture: self._picture(demonstration),
            self.approve: gr.Button(interactive=demonstration.status != "approved"),
            self.discard: gr.Button(interactive=demonstration.status != "discarded"),
            self.delete: gr.Button(interactive=True),
        } | self._editor.open(selected, demonstration)

    def go_on(self, selected: int | None, text: str, tag: str, status: str, page: int) -> Updates:
        """To the next in the list, turning the page where it ends."""
        rows, total = self._find(text, tag, status, page)
        ids = [demonstration_id for demonstration_id, _ in rows]
        if selected in ids[:-1] or selected not in ids:
            following = ids[ids.index(selected) + 1] if selected in ids else next(iter(ids), None)
            return self._list(text, tag, status, page, following) | self.open(following)
        turned = page + 1 if (page + 1) * PAGE < total else 0
        rows, _ = self._find(text, tag, status, turned)
        return self._list(text, tag, status, turned, rows[0][0]) | self.open(rows[0][0])

    def start_writing(self, text: str, tag: str, status: str, page: int) -> Updates:
        """An empty desk, or the one that was being written."""
        return self._list(text, tag, status, page) | self._writing()

    def approved(self, selected: int | None, text: str, tag: str, status: str, page: int) -> Updates:
        return self._decide("approved", selected, text, tag, status, page)

    def discarded(self, selected: int | None, text: str, tag: str, status: str, page: int) -> Updates:
        return self._decide("discarded", selected, text, tag, status, page)

    def deleted(self, selected: int | None, text: str, tag: str, status: str, page: int) -> Updates:
        if not selected:
            return {}
        following = self._following(selected, text, tag, status, page)
        self._demonstrations.delete([selected])
        drawn = self._list(text, tag, status, page, following) | self.open(following)
        return drawn | self._packs_now() | self._offer_undo(("delete", selected, ""), f"Undo: deleted {selected}")

    def undone(self, undoable: Undo, text: str, tag: str, status: str, page: int) -> Updates:
        if undoable is None:
            return {}
        what, demonstration_id, former = undoable
        if what == "delete":
            self._demonstrations.undo()
        else:
            self._demonstrations.update(demonstration_id, status=former)  # type: ignore[arg-type]
        drawn = self._list(text, tag, status, page, demonstration_id) | self.open(demonstration_id)
        return drawn | self._packs_now() | self._offer_undo(None, "")

    def saved(self, selected: int | None, system: str, tags: str, roles: str, *rest: Any) -> Updates:
        """Keep what was typed. When it cannot be kept, the words stay in their boxes."""
        texts, (text, tag, status, page) = rest[:-4], rest[-4:]
        kept = self._editor.keep(selected, system, tags, roles, texts)
        return self._list(text, tag, status, page, kept) | self.open(kept)

    def reverted(self, selected: int | None) -> Updates:
        self._editor.forget(selected)
        return self.open(selected) if selected else self._writing()

    def _loader(self, name: str) -> Any:
        def load() -> Updates:
            ids = self._demonstrations.load_pack(name)
            first = ids[-1] if ids else None
            drawn = self._list("", ANY, ANY, 0, first) | self._packs_now()
            return drawn | {self.search: ""} | ({} if first is None else self.open(first))

        return load

    def _decide(self, verdict: Status, selected: int | None, text: str, tag: str, status: str, page: int) -> Updates:
        """Give a status, and go on to the next one."""
        if not selected:
            return {}
        former = self._demonstrations.get(selected).status
        following = self._following(selected, text, tag, status, page)
        self._demonstrations.update(selected, status=verdict)
        drawn = self._list(text, tag, status, page, following) | self.open(following)
        return drawn | self._offer_undo(("status", selected, former), f"Undo: {verdict} {selected}")

    # What the screen shows.

    def _list(self, text: str, tag: str, status: str, page: int, selected: int | None = None) -> Updates:
        rows, total = self._find(text, tag, status, max(0, page))
        page = max(0, page) if rows else max(0, (total - 1) // PAGE)
        rows = rows or self._find(text, tag, status, page)[0]
        ids = [demonstration_id for demonstration_id, _ in rows]
        return {
            self.rows: gr.Radio(
                choices=[(_row(d), i) for i, d in rows], value=selected if selected in ids else None, visible=bool(rows)
            ),
            self.empty: gr.Markdown(_empty(bool(text or tag or status)), visible=not rows),
            self.page: page,
            self.place: _place(page, len(rows), total),
            self.newer: gr.Button(interactive=page > 0),
            self.older: gr.Button(interactive=(page + 1) * PAGE < total),
        } | self._totals(tag, status)

    def _totals(self, tag: str, status: str) -> Updates:
        counts = self._demonstrations.counts()
        statuses = [("All", ANY), *((name.capitalize(), name) for name in MARKS)]
        labels = [(f"{name} {counts.get(key, 0) if key else sum(counts.values())}", key) for name, key in statuses]
        tags = [("Any tag", ANY), *((name, name) for name in self._demonstrations.tags())]
        return {
            self.readiness: readiness(counts.get("approved", 0)),
            self.status: gr.Radio(choices=labels, value=status),
            self.tag: gr.Dropdown(choices=tags, value=tag if tag in {key for _, key in tags} else ANY),
        }

    def _packs_now(self) -> Updates:
        return self._packs.draw(empty=not sum(self._demonstrations.counts().values()))

    def _find(self, text: str, tag: str, status: str, page: int) -> tuple[list[tuple[int, Demonstration]], int]:
        return self._demonstrations.find(text=text, tag=tag, status=status, offset=page * PAGE, limit=PAGE)

    def _following(self, selected: int, text: str, tag: str, status: str, page: int) -> int | None:
        """Who is next in the list once `selected` has been dealt with."""
        ids = [demonstration_id for demonstration_id, _ in self._find(text, tag, status, page)[0]]
        if selected not in ids:
            return next(iter(ids), None)
        place = ids.index(selected)
        return next(iter([*ids[place + 1 :], *reversed(ids[:place])]), None)

    def _picture(self, demonstration: Demonstration) -> str:
        """Why there is none, where there is none."""
        try:
            spans = self._demonstrations.picture(demonstration.messages, TrainSettings().max_tokens)
        except ChatlabError as error:
            return div("mask-note", span("mask-warning", told(error)))
        return mask_picture(spans)

    def _offer_undo(self, undoable: Undo, label: str) -> Updates:
        return {self.undoable: undoable, self.undo: gr.Button(label or "Undo", visible=undoable is not None)}

    def _writing(self) -> Updates:
        return self._nothing() | {self.title: div("desk-name", "A new demonstration")} | self._editor.write()

    def _nothing(self) -> Updates:
        off = gr.Button(interactive=False)
        desk = {self.title: "", self.picture: "", self.approve: off, self.discard: off, self.delete: off}
        return desk | self._editor.clear()


def _row(demonstration: Demonstration) -> str:
    """Two lines: the prompt, and the answer."""
    asked = next((m.content for m in reversed(demonstration.prompt) if m.role == "user"), "(no prompt)")
    mark = MARKS[demonstration.status]
    return f"{mark} {one_line(asked, 70)}\n{one_line(demonstration.answer, 90) or '(no answer)'}"


def _title(demonstration_id: int, demonstration: Demonstration) -> str:
    facts = [demonstration.source, demonstration.status, *demonstration.tags]
    return div("desk-name", span("", f"Demonstration {demonstration_id} "), *(span("chip", fact) for fact in facts))


def _place(page: int, shown: int, total: int) -> str:
    return span("faint", f"{page * PAGE + 1}-{page * PAGE + shown} of {total:,}" if shown else "none")


def _empty(filtered: bool) -> str:
    if filtered:
        return div("empty", "Nothing matches. Clear the search or the filters.")
    return div(
        "empty",
        "No demonstrations yet. Load a starter pack above, write one, or talk in Chat and keep the answers you like.",
    )
