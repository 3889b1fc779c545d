"""The set as a text, a prompt a line: to write, paste, reorder and strike out. Nothing changes until it is saved."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr
from markupsafe import Markup

from chatlab.errors import UnseenRepeated
from chatlab.lab import Lab
from chatlab.lab.data.prompts import MOST, packaged, read, sifted
from chatlab.lab.data.unseen import Change
from chatlab.system.lines import split_lines
from chatlab.system.temporary import discard
from chatlab.ui.html import counted, div, one_line, span
from chatlab.ui.shell import Shell, error_text, html_block
from chatlab.ui.unseen.kinds import LABELS

DRAFT = "unseen draft"
"""Under which the store keeps what was typed and not yet saved, with the set that it was made from."""

Updates = dict[Any, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """What was typed, as the store keeps it."""

    text: str
    before: tuple[str, ...]


class UnseenEditor:
    """What is typed outlives a reload. `changed` counts up whenever the set has become another."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._unseen = lab.unseen

    def build(self) -> None:
        with gr.Accordion("Edit the prompts", open=False, elem_id="unseen-edit") as self.fold:
            self.about = html_block(div("import-notes", span("", _ABOUT)), elem_classes="flat")
            self.text = gr.Textbox(
                label="Unseen prompts, one per line",
                show_label=False,
                container=False,
                lines=8,
                max_lines=20,
                placeholder="One prompt per line",
                elem_id="unseen-text",
            )
            self.question = html_block(visible=False, elem_classes="flat", elem_id="unseen-question")
            with gr.Row(elem_classes="tight", visible=False) as self.answers:
                self.anyway = gr.Button("Save and set to waiting", size="sm", variant="primary", scale=0, min_width=190)
                self.leave = gr.Button("Keep editing", size="sm", scale=0, min_width=110)
            with gr.Row(elem_classes="tight"):
                self.save = gr.Button(
                    "Save", size="sm", variant="primary", scale=0, min_width=90, elem_id="unseen-save"
                )
                self.revert = gr.Button("Discard changes", size="sm", scale=0, min_width=150, visible=False)
                self.undo = gr.Button("Undo", size="sm", scale=0, min_width=80, visible=False, elem_id="unseen-undo")
                self.file = gr.UploadButton("Add a text file", size="sm", scale=0, min_width=130, elem_id="unseen-file")
                self.sets = [
                    (gr.Button(f"Default: {label.lower()}", size="sm", scale=0, min_width=160), kind)
                    for kind, label in LABELS.items()
                ]
            self.message = html_block(elem_classes="flat", elem_id="unseen-said")
        self.before = gr.State([])
        """The set as it was when the text was made from it."""
        self.changed = gr.State(0)

    @property
    def shown(self) -> set[Any]:
        buttons = {self.save, self.revert, self.undo, self.question, self.answers}
        return {self.text, self.message, self.before, self.changed, *buttons}

    def wire(self, shell: Shell) -> None:
        typed = [self.text, self.before]
        # Gradio reports typing key by key, but neither pasting nor deleting: those are caught when the box is left.
        shell.on(
            partial(gr.on, [self.text.input, self.text.blur]),
            do=self.remember,
            inputs=typed,
            outputs=[self.revert],
            trigger_mode="always_last",
            queue=False,
        )
        at_hand = [*typed, self.changed]
        shell.on(self.save.click, do=self.saved, inputs=at_hand, outputs=self.shown, trigger_mode="once")
        shell.on(self.anyway.click, do=self.saved_anyway, inputs=at_hand, outputs=self.shown, trigger_mode="once")
        shell.on(self.leave.click, do=self.left, outputs=self.shown)
        shell.on(self.revert.click, do=self.reverted, outputs=self.shown)
        shell.on(self.undo.click, do=self.undone, inputs=[self.changed], outputs=self.shown, trigger_mode="once")
        shell.on(self.file.upload, do=self.taken_in, inputs=[self.file, *typed], outputs=self.shown)
        for button, kind in self.sets:
            shell.on(button.click, do=partial(self.taken_up, kind), inputs=[self.before], outputs=self.shown)

    # What the events do.

    def draw(self) -> Updates:
        """The set, or what was typed over it and not saved."""
        prompts = self._unseen.prompts()
        draft = self._lab.store.state.read(DRAFT, Draft, None)
        text, before = (draft.text, list(draft.before)) if draft else ("\n".join(prompts), prompts)
        return self._quiet() | {
            self.text: text,
            self.before: before,
            self.revert: gr.Button(visible=bool(draft)),
            self.undo: gr.Button(visible=self._unseen.undoable),
        }

    def remember(self, text: str, before: list[str]) -> Any:
        """Keep the typed text until it is saved or discarded."""
        text, kept = text or "", self._lab.store.state.get(DRAFT)
        draft = {"text": text, "before": list(before)} if text != "\n".join(before) else None
        if draft != kept:
            self._lab.store.state.set(DRAFT, draft)
        return gr.Button(visible=draft is not None)

    def saved(self, text: str, before: list[str], changed: int, anyway: bool = False) -> Updates:
        """Keep the set. What cannot be kept stays in the box."""
        self.remember(text, before)
        try:
            change = self._unseen.rewrite(split_lines(text or ""), before, anyway)
        except UnseenRepeated as error:
            return self._ask(error)
        self._lab.store.state.set(DRAFT, None)
        return self.draw() | {self.message: _told(change), self.changed: changed + 1}

    def saved_anyway(self, text: str, before: list[str], changed: int) -> Updates:
        return self.saved(text, before, changed, anyway=True)

    def left(self) -> Updates:
        return self._quiet()

    def reverted(self) -> Updates:
        self._lab.store.state.set(DRAFT, None)
        return self.draw() | {self.message: ""}

    def undone(self, changed: int) -> Updates:
        """The last change to the set is taken back; what is being typed stays."""
        count = self._unseen.undo()
        text = div("import-said", span("", f"Undone. {counted(count, 'prompt')} in the set."))
        return self.draw() | {self.message: text, self.changed: changed + 1}

    def taken_in(self, file: str | None, text: str, before: list[str]) -> Updates:
        """Add the lines of a file to the box, less duplicates."""
        if not file:
            return {}
        path = Path(file)
        try:
            lines = read(path)
        finally:
            discard(path)
        new, known = sifted(lines, split_lines(text or ""))
        longer = "\n".join(part for part in ((text or "").rstrip("\n"), *new) if part)
        words = f"{counted(len(new), 'line')} of {one_line(path.name, 40)} added below, {len(known):,} already there. "
        return self._typed(longer, before, words + "Save to keep them.")

    def taken_up(self, kind: str, before: list[str]) -> Updates:
        """One of the sets that come with the app, in the box."""
        text = f"{LABELS[kind]} replace the text below. Save to keep them."
        return self._typed("\n".join(packaged(kind)), before, text)

    def _typed(self, text: str, before: list[str], said: str) -> Updates:
        shown = {self.text: text, self.revert: self.remember(text, before)}
        return self._quiet() | shown | {self.message: div("import-said", span("", said))}

    def _ask(self, error: UnseenRepeated) -> Updates:
        return {
            self.question: gr.Markdown(div("import-said", span("mask-warning", error_text(error))), visible=True),
            self.answers: gr.Row(visible=True),
            self.message: "",
        }

    def _quiet(self) -> Updates:
        return {self.question: gr.Markdown(visible=False), self.answers: gr.Row(visible=False)}


def _told(change: Change) -> Markup:
    """The outcome of saving, in a sentence."""
    parts = [f"{len(change.added):,} new", f"{len(change.gone):,} removed"]
    if change.known:
        parts.append(f"{counted(len(change.known), 'duplicate')} skipped: “{one_line(change.known[0], 60)}”")
    if change.aside:
        parts.append(f"{counted(len(change.aside), 'demonstration')} set to waiting")
    return div("import-said", span("", f"Saved: {', '.join(parts)}."))


_ABOUT = f"Never trained on, so replies show generalisation, not memorisation. One per line, up to {MOST}."
