"""What may be wrong with the demonstrations, as cards: why, the words themselves side by side, and what can be done."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import gradio as gr
from markupsafe import Markup

from chatlab.errors import InputError
from chatlab.lab.data.demonstrations import Demonstrations
from chatlab.lab.data.quality import Quality
from chatlab.quality import ORDER, Action, Finding
from chatlab.quality.findings import Deed
from chatlab.records import Demonstration, Message
from chatlab.ui.html import NOTHING, button, counted, div, escaped, joined, one_line, progress_bar, span
from chatlab.ui.page_event import PageEvent
from chatlab.ui.shell import Bridge, Shell, html_block

PAGE = 8
BESIDE = 4
"""Demonstrations of one finding that are shown beside each other."""
AT_ONCE = 1500
"""Demonstrations that are looked at without being asked, when the tab is opened."""
ANY = ""
DONE: dict[Deed, str] = {"discard": "discarded", "mask": "masked"}

Updates = dict[Any, Any]


@dataclass(frozen=True)
class Pressed:
    """What a press on a card led to."""

    updates: Updates = field(default_factory=dict)
    show: int | None = None
    """A demonstration to open in the editor."""
    done: str = ""
    """What was done, in words, if demonstrations changed; it can be undone."""


class QualityPanel:
    """A fold with the findings. A place in it is (kind, page, key of the opened finding)."""

    def __init__(self, quality: Quality, demonstrations: Demonstrations) -> None:
        self._quality = quality
        self._demonstrations = demonstrations

    def build(self) -> None:
        with gr.Accordion("Quality", open=False, elem_id="quality") as self.fold:
            self.bridge = Bridge("quality")
            with gr.Row(elem_classes="tight"):
                self.kind = gr.Radio(
                    [("All", ANY)], value=ANY, label="Kind", show_label=False, container=False, elem_classes="segments"
                )
                self.look = gr.Button("Check again", size="sm", scale=0, min_width=110, elem_id="quality-look")
            self.board = html_block(elem_classes="flat", elem_id="quality-board")
        self.page = gr.State(0)
        self.opened = gr.State("")
        self.timer = gr.Timer(0.6, active=False)

    @property
    def place(self) -> list[Any]:
        return [self.kind, self.page, self.opened]

    def read(self, values: Mapping[Any, Any]) -> tuple[str, int, str]:
        """Kind, page and opened finding in the values of `place`."""
        return values[self.kind], values[self.page], values[self.opened]

    @property
    def shown(self) -> set[Any]:
        return {self.fold, self.kind, self.look, self.board, self.page, self.opened, self.timer}

    def wire(self, shell: Shell) -> None:
        for trigger, do in ((self.look.click, self.start), (self.timer.tick, self.draw)):
            shell.on(trigger, do=do, inputs=self.place, outputs=self.shown)
        shell.on(self.kind.input, do=self.narrow, inputs=[self.kind], outputs=self.shown)

    def draw(self, kind: str, page: int, opened: str) -> Updates:
        """What is known now. While a look is under way the timer goes, and this is called again."""
        found, share = self._quality.known(), self._quality.audit_progress
        kinds = Counter(each.kind for each in found)
        kind = kind if kind in kinds else ANY
        shown = [each for each in found if kind in (ANY, each.kind)]
        page = max(0, min(page, (len(shown) - 1) // PAGE))
        labels = [(f"All {len(found)}", ANY), *((f"{_name(k)} {kinds[k]}", k) for k in ORDER if k in kinds)]
        return {
            self.fold: gr.Accordion(label=self._label(len(found))),
            self.kind: gr.Radio(choices=labels, value=kind, visible=bool(found)),
            self.look: gr.Button(interactive=share is None, visible=not self._quality.is_audited or share is not None),
            self.board: self._board(shown, page, opened),
            self.page: page,
            self.opened: opened,
            self.timer: gr.Timer(active=share is not None),
        }

    def refresh(self, kind: str, page: int, opened: str) -> Updates:
        """As `draw`, after a check of what has changed where that is quick."""
        if sum(self._demonstrations.counts().values()) <= AT_ONCE:
            self._quality.audit()
        return self.draw(kind, page, opened)

    def start(self, kind: str, page: int, opened: str) -> Updates:
        """Look again, in the background."""
        self._quality.audit()
        return self.draw(kind, page, opened)

    def narrow(self, kind: str) -> Updates:
        return self.draw(kind, 0, "")

    def press(self, payload: str, kind: str, page: int, opened: str) -> Pressed:
        """What a button on a card asks for. Raises InputError for a finding that is no longer there."""
        event = PageEvent.read(payload)
        if event.do == "turn":
            return Pressed(self.draw(kind, event.turn, ""))
        if event.do == "desk":
            return Pressed(show=event.turn)
        finding = self._named(event.text)
        if event.do == "unfold":
            return Pressed(self.draw(kind, page, "" if opened == finding.key else finding.key))
        if event.do != "finding" or not 0 <= event.turn < len(finding.actions):
            raise InputError("The page sent an unknown request.", "Reload the page.")
        return self._do(finding, finding.actions[event.turn], kind, page)

    def _do(self, finding: Finding, action: Action, kind: str, page: int) -> Pressed:
        if action.deed == "edit":
            return Pressed(show=action.demonstrations[0])
        changed = self._quality.act(finding, action)
        self._quality.audit()
        text = f"{DONE[action.deed]} {changed}" if changed else "kept"
        return Pressed(self.draw(kind, page, ""), done=text)

    def _named(self, key: str) -> Finding:
        found = next((each for each in self._quality.known() if each.key == key), None)
        if found is None:
            raise InputError("That finding is already handled.", "Check again.")
        return found

    def _label(self, number: int) -> str:
        if not self._quality.is_audited and not number:
            return "Quality"
        return f"Quality: {counted(number, 'finding')}" if number else "Quality: no problems"

    def _board(self, shown: list[Finding], page: int, opened: str) -> Markup:
        share = self._quality.audit_progress
        progress = NOTHING if share is None else div("look", progress_bar(share))
        if not shown:
            return progress or div("empty", escaped(_nothing(self._quality.is_audited)))
        here = shown[page * PAGE : (page + 1) * PAGE]
        cards = joined(self._card(each, each.key == opened) for each in here)
        return div("findings", progress, cards, _pager(page, len(shown)))

    def _card(self, finding: Finding, opened: bool) -> Markup:
        head = div("finding-head", span("chip", _name(finding.kind)), *map(_number, finding.demonstrations[:8]))
        deeds = (
            button("finding", action.label, "small", turn=number, to="quality", text=finding.key)
            for number, action in enumerate(finding.actions)
        )
        look = button("unfold", "Close" if opened else "Read", "quiet", to="quality", text=finding.key)
        words = self._beside(finding) if opened else NOTHING
        return div(
            "finding", head, div("finding-why", span("", finding.why)), words, div("finding-deeds", look, *deeds)
        )

    def _beside(self, finding: Finding) -> Markup:
        ids = finding.demonstrations[:BESIDE]
        return div("beside", *(_words(i, self._demonstrations.get(i)) for i in ids))


def _words(demonstration_id: int, demonstration: Demonstration) -> Markup:
    turns = (part for m in demonstration.messages for part in _said(m))
    return div("beside-one", div("beside-head", _number(demonstration_id)), *turns)


def _said(message: Message) -> list[Markup]:
    """The thinking, then the text."""
    reasoning = [div("said said-thought", span("", message.reasoning))] if message.reasoning else []
    return [*reasoning, div(f"said said-{message.role}", span("", message.content))]


def _number(demonstration_id: int) -> Markup:
    """A demonstration's number, which opens it in the editor."""
    return button("desk", str(demonstration_id), "number", turn=demonstration_id, to="quality")


def row(demonstration_id: int, demonstration: Demonstration, *facts: str) -> Markup:
    """One line: number, prompt, answer and what else there is to say of it."""
    asked = next((m.content for m in reversed(demonstration.prompt) if m.role == "user"), "")
    words = f"{one_line(asked, 60)} → {one_line(demonstration.answer, 90)}"
    return div("fact-row", _number(demonstration_id), span("fact-words", words), *(span("fact", f) for f in facts))


def _name(kind: str) -> str:
    return f"{kind[0].upper()}{kind[1:]}"


def _nothing(looked: bool) -> str:
    return "No problems found." if looked else "Find duplicates, contradictions and odd formats."


def _pager(page: int, total: int) -> Markup:
    if total <= PAGE:
        return NOTHING
    last = (total - 1) // PAGE
    place = span("faint", f"{page * PAGE + 1}-{min(total, (page + 1) * PAGE)} of {total:,}")
    back = button("turn", "‹", "small", turn=max(0, page - 1), to="quality")
    on = button("turn", "›", "small", turn=min(last, page + 1), to="quality")
    return div("finding-pager", back, place, on)
