"""The checkpoints of the run on show: which to keep and why, what each answers, and onto the shelf with one."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import gradio as gr
from markupsafe import Markup

from chatlab.engines.base import Sampling
from chatlab.lab import Lab
from chatlab.lab.runs.checkpoints import Checkpoint, CheckpointReply
from chatlab.training.process.runs import RunView
from chatlab.ui.html import NOTHING, div, element, escaped, joined, span
from chatlab.ui.shell import html_block

PACE = 0.12
"""Seconds between two drawings."""
GREEDY = Sampling(temperature=0.0, max_tokens=96)
"""What differs between two checkpoints is theirs, not the dice's."""

Updates = dict[Any, Any]


class RunCheckpoints:
    """Folded away until it is wanted."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab

    def build(self) -> None:
        with gr.Accordion("Checkpoints", open=False, visible=False, elem_id="run-checkpoints") as self.fold:
            self.table = html_block()
            with gr.Row(elem_classes="tight"):
                self.prompt = gr.Textbox(
                    label="Prompt",
                    placeholder="A prompt that is not in the training data",
                    lines=1,
                    scale=4,
                    elem_id="checkpoint-prompt",
                )
                self.ask = gr.Button("Ask", size="sm", scale=0, min_width=80, elem_id="checkpoint-ask")
                self.stop = gr.Button("Stop", size="sm", scale=0, min_width=80)
            self.answers = html_block(elem_id="checkpoint-answers")
            with gr.Row(elem_classes="tight"):
                self.step = gr.Dropdown([], label="Checkpoint", scale=0, min_width=160, elem_id="checkpoint-step")
                self.publish = gr.Button("Save as adapter", size="sm", scale=0, min_width=160)
            self.message = html_block()

    @property
    def shown(self) -> set[Any]:
        return {self.fold, self.table, self.answers, self.step, self.message}

    def draw(self, run: RunView) -> Updates:
        """The checkpoints of one run; nothing where it kept none."""
        kept = self._lab.checkpoints.of(run)
        choice = self._lab.checkpoints.proposed(run)
        steps = [(f"step {each.metrics.step}", each.metrics.step) for each in kept if not each.last]
        proposed = choice.step if choice and any(step == choice.step for _, step in steps) else None
        words = f"Proposed: step {choice.step}. {choice.why}" if choice else ""
        return {
            self.fold: gr.Accordion(visible=bool(steps)),
            self.table: div("checkpoint-choice", span("", words)) + table(kept, choice.step if choice else None),
            self.answers: "",
            self.step: gr.Dropdown(choices=steps, value=proposed or (steps[-1][1] if steps else None)),
            self.message: "",
        }

    def nothing(self) -> Updates:
        return {self.fold: gr.Accordion(visible=False)}

    def asked(self, run: RunView | None, prompt: str) -> Iterator[Updates]:
        """The answers as they grow."""
        if run is None:
            return
        shown = 0.0
        for replies in self._lab.checkpoints.ask(run.id, prompt, GREEDY):
            if time.monotonic() - shown > PACE:
                shown = time.monotonic()
                yield {self.answers: answers(replies)}
        yield {self.answers: answers(replies)}

    def published(self, run: RunView | None, step: int | None) -> Updates:
        if run is None or step is None:
            return {}
        name = self._lab.checkpoints.publish(run.id, int(step))
        return {self.message: div("run-ended", span("", f"{name} is saved. Compare it, or go live with it."))}


def table(kept: list[Checkpoint], proposed: int | None) -> Markup:
    """A line a checkpoint; the proposed one is marked."""
    names = ("Step", "Held-out loss", "Forgetting (estimate)", "KL to base")
    head = element("tr", joined(element("th", escaped(name)) for name in names))
    return div("samples checkpoints", element("table", head + joined(_row(each, proposed) for each in kept)))


def answers(replies: list[CheckpointReply]) -> Markup:
    rows = joined(
        element("tr", element("td", escaped(f"step {each.step}" if each.step else "base")) + element("td", _said(each)))
        for each in replies
    )
    return div("samples answers", element("table", rows))


def _row(kept: Checkpoint, proposed: int | None) -> Markup:
    metrics = kept.metrics
    mark = span("chip good", "proposed") if metrics.step == proposed else NOTHING
    loss = "" if metrics.held_out_loss is None else f"{metrics.held_out_loss:.2f}"
    kl = "" if metrics.kl is None else f"{metrics.kl:.2f}"
    cells = (loss, f"{metrics.forgetting:+.1f} %", kl)
    name = span("", f"{metrics.step} (last)" if kept.last else str(metrics.step)) + mark
    return element("tr", element("td", name) + joined(element("td", escaped(cell)) for cell in cells))


def _said(replies: CheckpointReply) -> Markup:
    if replies.error:
        return span("warning", replies.error)
    proof = replies.sha256[:8] or ("base" if replies.text and not replies.step else "")
    return span("sample-text", replies.text) + div("proof", span("", proof))
