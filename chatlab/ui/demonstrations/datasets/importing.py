"""Import: a file dropped on the tab, what it was taken for, its first rows, its columns, and how far the import is."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import gradio as gr
from markupsafe import Markup

from chatlab.errors import ChatlabError, InputError
from chatlab.formats import LAYOUTS, Columns, LayoutName, Part, Proposal, layout, proposed, with_header
from chatlab.lab import Lab
from chatlab.records import Status
from chatlab.system.temporary import discard
from chatlab.ui.demonstrations.datasets.import_render import outcome, table, title
from chatlab.ui.html import div, span
from chatlab.ui.shell import Shell, error_text, html_block, notify

PARTS = max(len(one.parts) for one in LAYOUTS)
NONE = ""
AS_IT_IS = ""
TICK = 0.5
"""Seconds between looks at an import under way."""

TAKES = (
    "JSON lines, a JSON list, CSV, TSV or Parquet. OpenAI messages, ShareGPT, Alpaca, prompt and completion, DPO, KTO, "
    "and tables with columns of any name. Nothing leaves this machine."
)

Updates = dict[Any, Any]


class DemonstrationImport:
    """Three states: a place to drop a file, a file with its mapping, an import under way or ended."""

    def __init__(self, lab: Lab) -> None:
        self._exchange = lab.datasets

    def build(self) -> None:
        with gr.Accordion("Import a data set", open=False, elem_id="import"):
            self.file = gr.File(label="Data set", show_label=False, height=140, elem_id="import-file")
            self.takes = html_block(div("import-notes", span("", TAKES)), elem_classes="flat")
            with gr.Column(visible=False, elem_classes="import-found") as self.found:
                self._build_found()
            with gr.Column(visible=False) as self.result:
                self._build_result()
        self.path = gr.State("", delete_callback=discard)
        self.proposal = gr.State(None)
        self.ended = gr.State(0)
        """Changes when the store holds other demonstrations than before."""
        self.timer = gr.Timer(TICK, active=False)

    def _build_found(self) -> None:
        self.title = html_block(elem_classes="flat")
        with gr.Row(elem_classes="mapping"):
            self.layout = gr.Dropdown(_layouts(), label="Format", min_width=190, elem_id="import-layout")
            self.parts = [gr.Dropdown([], label=f"Part {n}", min_width=150, visible=False) for n in range(PARTS)]
        self.header = gr.Checkbox(label="The first line has column names", container=False, visible=False)
        self.preview = html_block(elem_classes="flat", elem_id="import-preview")
        with gr.Row(elem_classes="mapping"):
            self.tags = gr.Textbox(label="Tags to add", placeholder="comma, separated", max_lines=1, min_width=190)
            self.status = gr.Radio(
                [("As in the file", AS_IT_IS), ("Approved", "approved"), ("Waiting", "waiting")],
                value="approved",
                label="Status",
                elem_classes="segments",
                min_width=300,
            )
        with gr.Row(elem_classes="tight"):
            self.go = gr.Button("Import", variant="primary", size="sm", scale=0, min_width=110, elem_id="import-go")
            self.cancel = gr.Button("Cancel", size="sm", scale=0, min_width=80)

    def _build_result(self) -> None:
        self.progress = html_block(elem_classes="flat", elem_id="import-progress")
        with gr.Row(elem_classes="tight", visible=False, elem_id="import-aside") as self.aside:
            self.approve = gr.Button(
                "Train on them, drop the unseen prompts", size="sm", variant="primary", scale=0, min_width=300
            )
            self.discard = gr.Button("Discard them", size="sm", scale=0, min_width=120)
        with gr.Row(elem_classes="tight"):
            self.stop = gr.Button("Stop", size="sm", scale=0, min_width=80)
            self.undo = gr.Button("Undo this import", size="sm", scale=0, min_width=140, elem_id="import-undo")
            self.refused = gr.DownloadButton("Download refused rows", size="sm", scale=0, min_width=180)
            self.again = gr.Button("Import another", size="sm", scale=0, min_width=120)

    def wire(self, shell: Shell) -> None:
        found = [*self.shown_found]
        shell.on(self.file.upload, do=self.dropped, inputs=[self.file], outputs=found)
        at_hand = [self.path, self.proposal]
        shell.on(self.layout.input, do=self.laid_out, inputs=[*at_hand, self.layout], outputs=found)
        shell.on(self.header.input, do=self.headed, inputs=[*at_hand, self.header], outputs=found)
        for part in self.parts:
            shell.on(part.input, do=self.mapped, inputs=[*at_hand, *self.parts], outputs=[self.proposal, self.preview])
        given = [*at_hand, self.tags, self.status]
        shell.on(self.go.click, do=self.begun, inputs=given, outputs=[*self.shown], trigger_mode="once")
        shell.on(self.cancel.click, do=self.cancelled, inputs=[self.path], outputs=found)
        shell.on(self.timer.tick, do=self.look, inputs=[self.ended], outputs=[*self.shown_result])
        shell.on(shell.load, do=self.look, inputs=[self.ended], outputs=[*self.shown_result])
        shell.on(self.stop.click, do=self.stopped, inputs=[self.ended], outputs=[*self.shown_result])
        shell.on(self.undo.click, do=self.undone, inputs=[self.ended], outputs=[*self.shown_result])
        for button, keep in ((self.approve, True), (self.discard, False)):
            shell.on(
                button.click,
                do=partial(self.settled, keep),
                inputs=[self.ended],
                outputs=[*self.shown_result],
                trigger_mode="once",
            )
        shell.on(self.again.click, do=self.put_away, outputs=[*self.shown_result])

    @property
    def shown_found(self) -> set[Any]:
        boxes = {self.file, self.takes, self.header, self.found, self.title, self.layout, self.preview, self.status}
        return boxes | set(self.parts) | {self.path, self.proposal}

    @property
    def shown_result(self) -> set[Any]:
        buttons = {self.stop, self.undo, self.refused, self.again, self.aside}
        return {self.file, self.takes, self.result, self.progress, self.timer, self.ended} | buttons

    @property
    def shown(self) -> set[Any]:
        return self.shown_found | self.shown_result

    # What the events do.

    def dropped(self, file: str | None) -> Updates:
        """A file is dropped. One that is no data set is removed at once."""
        if not file:
            return {}
        path = Path(file)
        try:
            proposal = self._exchange.sniff(path)
        except ChatlabError as error:
            discard(file)
            notify(error)
            return {self.file: gr.File(value=None)}
        return self._found(path, proposal) | self._place(False)

    def laid_out(self, path: str, proposal: Proposal, name: str) -> Updates:
        """Another layout was chosen: columns are looked for again."""
        _at_hand(path)
        columns = proposed(cast(LayoutName, name), proposal.names)
        return self._found(Path(path), replace(proposal, columns=columns))

    def headed(self, path: str, proposal: Proposal, header: bool) -> Updates:
        """The person says whether the first line of a table has column names."""
        _at_hand(path)
        return self._found(Path(path), with_header(Path(path), proposal, header))

    def mapped(self, path: str, proposal: Proposal, *chosen: str) -> Updates:
        """Another column was chosen for a part."""
        _at_hand(path)
        parts = layout(proposal.columns.layout).parts
        of = {part.name: column for part, column in zip(parts, chosen, strict=False) if column}
        proposal = replace(proposal, columns=Columns(layout=proposal.columns.layout, of=of))
        return {self.proposal: proposal, self.preview: self._preview(Path(path), proposal)}

    def begun(self, path: str, proposal: Proposal, tags: str, status: str) -> Updates:
        _at_hand(path)
        words = [tag.strip() for tag in tags.split(",") if tag.strip()]
        given = cast(Status, status) if status != AS_IT_IS else None
        self._exchange.start(Path(path), proposal, words, given, after=partial(discard, path))
        return self._put_down() | self.look(0)

    def cancelled(self, path: str) -> Updates:
        discard(path)
        return self._put_down() | self._place(True)

    def look(self, ended: int) -> Updates:
        """How far it is. The timer runs only while there is something to see."""
        progress, running = self._exchange.progress, self._exchange.running
        if progress is None:
            return {self.result: gr.Column(visible=False), self.timer: gr.Timer(active=False)}
        _, left = self._exchange.undoable if not running else ("", 0)
        over = {} if running else {self.ended: ended + 1}
        return {
            **self._place(False),
            self.result: gr.Column(visible=True),
            self.progress: outcome(progress),
            self.timer: gr.Timer(active=running),
            self.stop: gr.Button(visible=running),
            self.undo: gr.Button(visible=not running and left > 0 and progress.kept > 0),
            self.refused: self._report(running),
            self.again: gr.Button(visible=not running),
            self.aside: gr.Row(visible=not running and bool(progress.aside)),
            **over,
        }

    def stopped(self, ended: int) -> Updates:
        self._exchange.stop()
        return self.look(ended)

    def undone(self, ended: int) -> Updates:
        """Everything that the import added goes, in one go."""
        gone = self._exchange.undo()
        text = div("import-said", span("", f"Undone: {gone:,} removed."))
        return self.look(ended) | {
            self.progress: text,
            self.undo: gr.Button(visible=False),
            self.aside: gr.Row(visible=False),
        }

    def settled(self, keep: bool, ended: int) -> Updates:
        """All that was set aside for repeating unseen prompts is approved, or discarded."""
        count = self._exchange.resolve(keep)
        what = "approved; the prompts are no longer unseen" if keep else "discarded"
        text = div("import-said", span("", f"{count:,} {what}."))
        return self.look(ended) | {self.progress: text}

    def put_away(self) -> Updates:
        self._exchange.forget()
        return self.look(0) | self._place(True)

    def _found(self, path: Path, proposal: Proposal) -> Updates:
        parts = layout(proposal.columns.layout).parts
        return {
            self.found: gr.Column(visible=True),
            self.title: title(path.name, proposal),
            self.layout: gr.Dropdown(choices=_layouts(), value=proposal.columns.layout),
            self.header: _header(proposal),
            self.preview: self._preview(path, proposal),
            self.status: _statuses(proposal),
            self.path: str(path),
            self.proposal: proposal,
            **{box: _choice(part, proposal) for box, part in zip(self.parts, parts, strict=False)},
            **{box: gr.Dropdown(visible=False) for box in self.parts[len(parts) :]},
        }

    def _place(self, shown: bool) -> Updates:
        """Where a file can be dropped."""
        return {self.file: gr.File(value=None, visible=shown), self.takes: gr.Markdown(visible=shown)}

    def _put_down(self) -> Updates:
        return {self.found: gr.Column(visible=False), self.path: "", self.proposal: None}

    def _preview(self, path: Path, proposal: Proposal) -> Markup:
        try:
            return table(self._exchange.preview(path, proposal), proposal)
        except ChatlabError as error:
            return div("import-said", span("mask-warning", error_text(error)))

    def _report(self, running: bool) -> Any:
        progress = self._exchange.progress
        if running or progress is None or progress.report is None or not progress.report.exists():
            return gr.DownloadButton(visible=False)
        return gr.DownloadButton(value=str(progress.report), visible=True)


def _layouts() -> list[tuple[str, str]]:
    return [(one.label, one.name) for one in LAYOUTS]


def _header(proposal: Proposal) -> Any:
    look = proposal.container.table
    return gr.Checkbox(value=bool(look and look.header), visible=look is not None)


def _choice(part: Part, proposal: Proposal) -> Any:
    none = [] if part.needed else [("(none)", NONE)]
    choices = [*none, *((name, name) for name in proposal.names)]
    return gr.Dropdown(choices=choices, value=proposal.columns.of.get(part.name, NONE), label=part.label, visible=True)


def _statuses(proposal: Proposal) -> Any:
    """What Chatlab wrote says itself which status each had."""
    own = [("As in the file", AS_IT_IS)] if proposal.own else []
    choices = [*own, ("Approved", "approved"), ("Waiting", "waiting")]
    return gr.Radio(
        choices=choices,
        value=AS_IT_IS if own else "approved",
        visible=layout(proposal.columns.layout).becomes == "demonstrations",
    )


def _at_hand(path: str) -> None:
    if not path or not Path(path).exists():
        raise InputError("The file is gone.", "Choose it again.")
