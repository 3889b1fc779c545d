"""Learn from preferences: what there is to learn from, what it would take, and the button."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

import gradio as gr
from markupsafe import Markup

from chatlab.errors import ChatlabError
from chatlab.lab import Lab
from chatlab.lab.preferences.collected import Usable
from chatlab.lab.preferences.learning import PreferencePlan, Source
from chatlab.ui.html import NOTHING, counted, div, duration, element, escaped, joined, progress_bar, span
from chatlab.ui.shell import Shell, error_text, html_block

SOURCES: tuple[tuple[str, Source], ...] = (
    ("Votes and edits", "pairs"),
    ("Free pairs", "free"),
    ("Thumbs", "thumbs"),
)
ABOUT: Mapping[Source, str] = {
    "pairs": "Of two answers to one prompt, the one that you chose on Compare, or your edit, is made more likely.",
    "free": "Each demonstration against what the model itself answers. Nothing to write or vote on.",
    "thumbs": "Answers that you liked are made more likely, disliked ones less.",
}
LOSSES = (
    ("Automatic", ""),
    ("DPO", "dpo"),
    ("DPO, length-normalised", "dpo_norm"),
    ("APO-zero", "apo_zero"),
    ("APO-down", "apo_down"),
    ("IPO", "ipo"),
    ("DPOP", "dpop"),
    ("ORPO", "orpo"),
    ("SimPO", "simpo"),
    ("SFT on the chosen answers", "sft"),
)
FROM = {"edit": "edit", "compare": "Compare vote", "imported": "imported pair"}
LONGER = 0.8
"""Share of pairs with a longer chosen answer from which it is said that length may be all that is learned."""

Updates = dict[Any, Any]


class PreferencesPanel:
    """Folded away until it is wanted."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab

    def build(self) -> None:
        with gr.Accordion("Learn from preferences", open=False, elem_id="preferences"):
            self.source = gr.Radio(
                list(SOURCES), value="pairs", label="Learn from", show_label=False, elem_id="preference-source"
            )
            self.about = html_block(elem_classes="flat", elem_id="preference-plan")
            with gr.Row(elem_classes="tight"):
                self.button = gr.Button(
                    "Learn from my votes", variant="primary", size="sm", scale=0, min_width=170, elem_id="prefer"
                )
                self.loss = gr.Dropdown(list(LOSSES), value="", label="Loss", scale=0, min_width=190)
                self.live = gr.Checkbox(True, label="Go live when done", container=False, scale=0, min_width=190)
            self.progress = html_block(elem_id="preference-progress")

    @property
    def shown(self) -> set[Any]:
        return {self.about, self.button, self.loss}

    @property
    def inputs(self) -> list[Any]:
        return [self.source, self.loss]

    def wire(self, shell: Shell) -> None:
        for box in self.inputs:
            shell.on(box.input, do=self.draw, inputs=self.inputs, outputs=self.shown)

    def draw(self, source: Source, loss: str) -> Updates:
        """What there is, and what the button would do."""
        busy = self._lab.training.status().state == "training"
        try:
            usable = self._lab.preferences.usable()
            plan = self._lab.preferences.plan(source, usable, **_overrides(source, loss))
        except ChatlabError as error:
            return {
                self.about: div("warning", span("", error_text(error))),
                self.button: gr.Button(interactive=False),
            }
        words = {"pairs": "Learn from my votes", "free": "Learn from free pairs", "thumbs": "Learn from my thumbs"}
        return {
            self.about: described(source, usable, plan),
            self.button: gr.Button(
                "A run is in progress" if busy else words[source], interactive=not busy and not plan.too_few
            ),
            self.loss: gr.Dropdown(visible=source != "thumbs"),
        }

    def draw_all(self, values: Mapping[Any, Any]) -> Updates:
        """The same for what is chosen on the page."""
        return self.draw(values.get(self.source, "pairs"), values.get(self.loss, ""))

    def started(self, source: Source, loss: str, live: bool) -> Iterator[Updates]:
        """Free pairs are sampled first, which takes a while; then the run begins."""
        try:
            if source == "free":
                began = time.monotonic()
                for done, wanted in self._lab.preferences.free_pairs.sample():
                    bar = progress_bar(done / max(1, wanted))
                    left = (time.monotonic() - began) * (wanted - done) / done if done else 0.0
                    said = f"Sampling answers · {done} of {wanted}" + (f" · {duration(left)} left" if left else "")
                    yield {self.progress: div("run-progress", bar, span("run-phase", said))}
            self._lab.preferences.learn(source, live=live, **_overrides(source, loss))
        except ChatlabError:
            yield {self.progress: ""}
            raise
        yield {self.progress: ""}


def described(source: Source, usable: Usable, plan: PreferencePlan) -> Markup:
    """What is learned, what is left out and why, and what it takes."""
    lines = [div("faint", span("", ABOUT[source]))]
    if source == "pairs":
        lines.append(_pairs(usable))
    elif source == "thumbs":
        liked = sum(thumb.liked for thumb in usable.thumbs)
        lines.append(div("sentence", span("", f"{liked} liked, {len(usable.thumbs) - liked} disliked answers.")))
    if plan.too_few:
        return div("preference-plan", *lines, div("warning", span("", plan.too_few)))
    what = "thumb" if source == "thumbs" else "pair"
    aside = f", hold out {plan.held_out}" if plan.held_out else ""
    lines.append(
        div(
            "sentence",
            span("", "Goes on from "),
            element("b", escaped(plan.start)),
            span("", ". Train on "),
            element("b", escaped(counted(plan.learned, what))),
            span("", f"{aside}. About {duration(max(1, plan.seconds))}"),
            span("", ", after sampling." if source == "free" else "."),
        )
    )
    return div("preference-plan", *lines)


def _pairs(usable: Usable) -> Markup:
    """Where they come from, what is left out, and whether length alone would tell them apart."""
    count = len(usable.pairs)
    parts = ", ".join(counted(number, FROM.get(name, "other pair")) for name, number in usable.sources.most_common())
    words = f"{counted(count, 'pair')} on {counted(usable.prompts, 'prompt')}"
    lines = [div("sentence", span("", f"{words}: {parts}." if count else "No pairs yet."))]
    if usable.left_out:
        out = joined(element("li", escaped(f"{number} left out: {why}")) for why, number in usable.left_out.items())
        lines.append(element("ul", out, kind="faint"))
    if count and usable.longer / count >= LONGER:
        said = f"The longer answer was chosen in {usable.longer} of {count}: length may be all that is learned."
        lines.append(div("warning", span("", said)))
    return joined(lines) if lines else NOTHING


def _overrides(source: Source, loss: str) -> dict[str, Any]:
    return {"loss": loss} if loss and source != "thumbs" else {}
