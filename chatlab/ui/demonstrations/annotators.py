"""Several annotators: their names, who wrote and approved a demonstration, their ratings and their agreement."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import gradio as gr
from markupsafe import Markup

from chatlab.lab import Lab
from chatlab.lab.data.annotators import MOST, Disagreement, current
from chatlab.quality.agreement import ENOUGH, RELIABLE, TENTATIVE, Agreement
from chatlab.records import Annotation, Demonstration
from chatlab.ui.html import NOTHING, counted, div, one_line, span
from chatlab.ui.shell import Shell, html_block

LISTED = 50
"""Disagreements in the list."""
ABOUT = "1 is harmful, 5 is ideal. Other ratings show after yours."

Updates = dict[Any, Any]


class DemonstrationAnnotators:
    """A fold for the people, and a few lines above the editor."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab

    def build(self) -> None:
        with gr.Accordion("Annotators", open=False, elem_id="annotators") as self.fold:
            with gr.Row(elem_classes="tight"):
                self.name = gr.Textbox(
                    "",
                    label="Your name",
                    placeholder="Your name",
                    show_label=False,
                    container=False,
                    max_lines=1,
                    scale=0,
                    min_width=260,
                    elem_id="annotator-name",
                )
                self.message = html_block(elem_classes="flat")
            self.agreement = html_block(elem_classes="flat")
            self.apart = gr.Radio(
                [],
                label="Disagreements",
                show_label=False,
                container=False,
                elem_classes="rows",
                visible=False,
                elem_id="disagreements",
            )

    def build_editing(self) -> None:
        self.who = html_block(elem_classes="flat", elem_id="written-by")
        with gr.Row(visible=False, elem_classes="tight judge") as self.judge:
            html_block(div("judge-label", span("", "Your rating", ABOUT)), elem_classes="flat judge-label")
            self.stars = gr.Radio(
                [(str(n), n) for n in range(1, MOST + 1)],
                label="Your rating in stars",
                show_label=False,
                elem_classes="segments stars",
                elem_id="opinion",
                container=False,
                scale=0,
                min_width=220,
            )
            self.note = gr.Textbox(
                "",
                label="Why",
                placeholder="Why (optional)",
                show_label=False,
                container=False,
                max_lines=3,
                scale=1,
                min_width=140,
            )
            self.back = gr.Button("Remove rating", size="sm", min_width=80, scale=0, visible=False)
        self.others = html_block(elem_classes="flat", elem_id="opinions")

    @property
    def editing(self) -> set[Any]:
        return {self.who, self.judge, self.stars, self.note, self.back, self.others}

    @property
    def shown(self) -> set[Any]:
        """The components that may change while a name is typed: never the name itself."""
        return {self.message, self.agreement, self.apart}

    def wire(self, shell: Shell, selected: Any, open_: Callable[[int | None], Updates], editing: set[Any]) -> None:
        """`selected` holds the open demonstration; `open_` opens another one and updates `desk`."""
        everything = self.editing | self.shown
        shell.on(shell.load, do=lambda: self._lab.annotators.me, outputs=[self.name])
        events = [self.name.submit, self.name.blur]
        shell.on(partial(gr.on, events), do=self.named, inputs=[self.name, selected], outputs=everything)
        annotation = [selected, self.stars, self.note]
        shell.on(self.stars.input, do=self.judged, inputs=annotation, outputs=everything, trigger_mode="always_last")
        noted = [self.note.submit, self.note.blur]
        shell.on(partial(gr.on, noted), do=self.judged, inputs=annotation, outputs=everything)
        shell.on(self.back.click, do=self.taken_back, inputs=[selected], outputs=everything)
        shell.on(self.fold.expand, do=self.draw_people, outputs=self.shown)
        shell.on(self.apart.input, do=open_, inputs=[self.apart], outputs=editing)

    # What the events do.

    def named(self, name: str, selected: int | None) -> Updates:
        """From now on this person is at work."""
        self._lab.annotators.call(name or "")
        return self.draw_people() | self.draw(selected)

    def judged(self, selected: int | None, stars: int | None, note: str) -> Updates:
        """Keep an annotation; a note alone is none."""
        if not selected or stars is None:
            return {}
        mine = _of(self._lab.demonstrations.get(int(selected)), self._lab.annotators.me)
        if mine and (mine.stars, mine.note) == (int(stars), (note or "").strip()):
            return {}
        self._lab.annotators.judge(int(selected), int(stars), note or "")
        return self.draw_people() | self.draw(selected)

    def taken_back(self, selected: int | None) -> Updates:
        if not selected:
            return {}
        self._lab.annotators.take_back(int(selected))
        return self.draw_people() | self.draw(selected)

    # What is shown.

    def draw(self, selected: int | None) -> Updates:
        """The lines above the editor. Other ratings stay hidden until one's own is given, so as not to bias it."""
        if not selected:
            hidden = {self.who: "", self.judge: gr.Row(visible=False), self.back: gr.Button(visible=False)}
            return hidden | {self.stars: gr.Radio(value=None), self.note: "", self.others: ""}
        demonstration, name = self._lab.demonstrations.get(int(selected)), self._lab.annotators.me
        mine = _of(demonstration, name)
        return {
            self.who: written_by(demonstration),
            self.judge: gr.Row(visible=True),
            self.stars: gr.Radio(value=mine.stars if mine else None),
            self.note: mine.note if mine else "",
            self.back: gr.Button(visible=mine is not None),
            self.others: other_annotations(demonstration, name),
        }

    def draw_people(self) -> Updates:
        """The current annotator, and the agreement of all."""
        found = self._lab.annotators.agreement()
        apart = self._lab.annotators.disagreements()[:LISTED] if found.shared else []
        rows = [(self._row(one), one.demonstration) for one in apart]
        return {
            self.message: _at_work(self._lab.annotators.me),
            self.agreement: agreed(found, len(rows)),
            self.apart: gr.Radio(choices=rows, value=None, visible=bool(rows)),
        }

    def _row(self, one: Disagreement) -> str:
        asked = self._lab.demonstrations.get(one.demonstration).prompt
        stars = ", ".join(
            f"{o.by} {o.stars}" + (f" ({one_line(o.note, 40)})" if o.note else "") for o in one.annotations
        )
        return f"{one.demonstration} · {one_line(asked[-1].content if asked else '', 70)}\n{stars}"


def written_by(demonstration: Demonstration) -> Markup:
    """Who wrote and who approved it."""
    authors = " and ".join(demonstration.authors)
    model = "the model" if demonstration.source == "liked" else ""
    facts = [f"Written by {authors or model}" if authors or model else "Author unknown"]
    if demonstration.approved_by:
        facts.append(f"approved by {demonstration.approved_by}")
    return div("people-line", span("faint", " · ".join(facts)))


def other_annotations(demonstration: Demonstration, name: str) -> Markup:
    """The ratings of others; only their number as long as `name` has not rated."""
    known = [annotation for annotation in current(demonstration) if annotation.by != name]
    gone = len(demonstration.annotations) - len(current(demonstration))
    earlier = span("faint", f"{counted(gone, 'rating')} of an earlier version") if gone else NOTHING
    if _of(demonstration, name) is None:
        waiting = span("faint", ABOUT + (f" Rated by {counted(len(known), 'other')}." if known else NOTHING))
        return div("people-line", waiting, earlier)
    text = (span("chip", f"{o.by}: {o.stars}", o.note) for o in known)
    return div("people-line", *text, earlier) if known or earlier else NOTHING


def agreed(found: Agreement, apart: int) -> Markup:
    """The figure, and what it is worth."""
    if not found.shared:
        words = "No demonstration has two ratings yet. Ask a second person to enter their name and rate the same ones."
        return div("agreement", span("faint", words))
    alpha = "-" if found.alpha is None else f"{found.alpha:.2f}"
    figure = div("figure", span("figure-label", "Krippendorff's alpha"), span(f"figure-value {_colour(found)}", alpha))
    people = f"{counted(found.shared, 'demonstration')} rated by two or more of {', '.join(found.annotators)}."
    talk = " Discuss the ones below, then rate them again." if apart else ""
    return div("agreement", figure, div("agreement-words", span("", verdict(found) + talk), span("faint", people)))


def verdict(found: Agreement) -> str:
    """By Krippendorff's own marks."""
    if found.alpha is None:
        return "All ratings are the same, so agreement cannot be measured."
    if not found.tells:
        return f"Not enough ratings: {found.shared} of {ENOUGH} needed."
    if found.alpha >= RELIABLE:
        return "Good agreement."
    if found.alpha >= TENTATIVE:
        return "Moderate agreement: fine for a first look."
    return "Poor agreement: the model would learn a mixture."


def _colour(found: Agreement) -> str:
    if not found.tells or found.alpha is None:
        return "unknown"
    return "good" if found.alpha >= RELIABLE else "doubtful" if found.alpha >= TENTATIVE else "bad"


def _at_work(name: str) -> Markup:
    words = "Your edits, approvals and ratings carry this name." if name else "Enter your name to sign your work."
    return div("people-line", span("faint", words))


def _of(demonstration: Demonstration, name: str) -> Annotation | None:
    return next((o for o in current(demonstration) if o.by == name), None) if name else None
