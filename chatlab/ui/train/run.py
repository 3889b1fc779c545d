"""The run on the screen: its progress, its outcome, and what can be done with it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gradio as gr

from chatlab.errors import AdapterForgets
from chatlab.lab import Lab
from chatlab.training.process.runs import RunView
from chatlab.ui.html import div, span
from chatlab.ui.run_watch import Pulse, RunWatch
from chatlab.ui.shell import html_block, notify
from chatlab.ui.train import lineage, report
from chatlab.ui.train.checkpoints import RunCheckpoints
from chatlab.ui.train.plots import forgetting_plot, loss_plot
from chatlab.ui.train.samples import TrainSamples

Updates = dict[Any, Any]


class TrainRun:
    """Shows one run, `chosen` or else the current one, and follows it while it is under way."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._samples = TrainSamples(lab)
        self.watch = RunWatch(lab)
        self.checkpoints = RunCheckpoints(lab)

    def build(self) -> None:
        self.chosen = gr.State(None)
        self.pulse = gr.State(None)
        self.warned = gr.State(None)
        self.fresh = gr.Textbox(
            "", visible="hidden"
        )  # Not a State: those do not report changes made outside the queue.
        self.head = html_block(elem_id="run-head")
        self.progress = html_block(visible=False, elem_id="run-progress")
        with gr.Row(visible=False, elem_classes="tight") as self.running:
            self.stop = gr.Button("Stop …", size="sm", min_width=90, scale=0, elem_id="stop-run")
        with gr.Column(visible=False, elem_classes="dialog") as self.dialog:
            html_block(div("dialog-words", span("", "The run continues until you choose.")))
            with gr.Row(elem_classes="tight"):
                self.go_on = gr.Button("Continue", size="sm", variant="primary", min_width=90, scale=0)
                self.stop_keep = gr.Button("Stop and keep the adapter", size="sm", min_width=160, scale=0)
                self.stop_only = gr.Button("Stop and resume later", size="sm", min_width=140, scale=0)
        self.ended = html_block(visible=False, elem_id="run-ended")
        self.actions = gr.Row(visible=False, elem_classes="tight")
        with self.actions:
            self.live = gr.Button("Go live", size="sm", variant="primary", min_width=90, scale=0, elem_id="go-live")
            self.undo = gr.Button("Undo", size="sm", min_width=90, scale=0, elem_id="undo-live")
            self.compare = gr.Button("Compare", size="sm", min_width=90, scale=0)
            self.show_answers = gr.Button("Show answers", size="sm", min_width=90, scale=0)
            self.resume = gr.Button("Resume", size="sm", variant="primary", min_width=90, scale=0)
            self.discard = gr.Button("Discard", size="sm", min_width=90, scale=0)
        with gr.Row(visible=False, elem_classes="dialog tight") as self.sure:
            self.really = gr.Button(
                "Delete the run and its checkpoint", size="sm", variant="stop", min_width=200, scale=0
            )
            self.spare = gr.Button("Cancel", size="sm", min_width=90, scale=0)
        self.samples = html_block(visible=False, elem_id="run-samples")
        with gr.Row(elem_classes="plots"):
            self.losses = gr.Plot(show_label=False, container=False, elem_classes="plot-cell", visible=False)
            self.forgetting = gr.Plot(show_label=False, container=False, elem_classes="plot-cell", visible=False)
        self.checkpoints.build()
        with gr.Accordion("Training data and settings", open=False, visible=False) as self.details:
            with gr.Row(equal_height=False):
                with gr.Column(scale=3, min_width=280):
                    self.lineage = html_block()
                with gr.Column(scale=1, min_width=200):
                    self.settings = html_block()
                    self.copy = gr.Button("Copy settings", size="sm")

    @property
    def shown(self) -> set[Any]:
        buttons = {self.live, self.undo, self.compare, self.show_answers, self.resume, self.discard}
        parts = {self.head, self.progress, self.running, self.dialog, self.ended, self.actions, self.sure, self.samples}
        plots = {self.losses, self.forgetting, self.details, self.lineage, self.settings}
        return {self.chosen, self.pulse, self.fresh, self.warned, *buttons, *parts, *plots} | self.checkpoints.shown

    def tick(self, chosen: str | None, before: Pulse) -> Updates:
        """What is new since `before`. Nothing is read from the disk while nothing moves."""
        now = self.watch.pulse()
        if now == before:
            return {}
        run = self.watch.run(chosen)
        if run is not None and now.stage == before.stage:
            return self._draw_moving(run) | {self.pulse: now}
        updates = self.draw(chosen) | {self.pulse: now}
        if run is not None and run.id == now.run == before.run and now.published and not before.published:
            updates[self.fresh] = self._lab.training.adapter_of(run.id) or ""
        return updates

    def draw(self, chosen: str | None) -> Updates:
        """Everything about one run."""
        run = self.watch.run(chosen)
        return self._draw_moving(run) | self._draw_rest(run) if run else self._draw_nothing()

    def _draw_moving(self, run: RunView) -> Updates:
        """What changes from step to step."""
        under_way = run.state == "running"
        length = run.steps[-1].steps if run.steps else 1
        final = run.result.forgetting if run.result else None
        moving = report.progress(run, self._lab.training.status()) if under_way else ""
        return {
            self.progress: gr.Markdown(moving, visible=under_way),
            self.losses: gr.Plot(loss_plot(run.steps, length), visible=True),
            self.forgetting: gr.Plot(forgetting_plot(run.steps, length, final), visible=True),
        }

    def _draw_rest(self, run: RunView) -> Updates:
        under_way = run.state == "running"
        adapter = self._lab.training.adapter_of(run.id)
        live = adapter is not None and adapter == self._lab.variants.live
        card = self._lab.variants.card(adapter) if adapter else None
        ended = "" if under_way else report.ended(run, card, self.watch.news(run), self._lab.training.evaluated(run.id))
        samples = self._samples.known(adapter)
        return (
            {
                self.head: report.heading(run, adapter, live),
                self.running: gr.Row(visible=under_way),
                self.dialog: gr.Column(visible=False),
                self.ended: gr.Markdown(ended, visible=not under_way),
                self.samples: gr.Markdown(samples, visible=bool(samples)),
                self.details: gr.Accordion(visible=True),
                self.lineage: lineage.of_run(self._lab, run),
                self.settings: report.settings_table(run.request.settings),
            }
            | self._actions(run, adapter, bool(samples))
            | self.checkpoints.draw(run)
        )

    def _draw_nothing(self) -> Updates:
        return {
            self.head: div("empty", span("", "No run yet. Results show here.")),
            self.progress: gr.Markdown(visible=False),
            self.running: gr.Row(visible=False),
            self.dialog: gr.Column(visible=False),
            self.ended: gr.Markdown(visible=False),
            self.actions: gr.Row(visible=False),
            self.sure: gr.Row(visible=False),
            self.samples: gr.Markdown(visible=False),
            self.losses: gr.Plot(visible=False),
            self.forgetting: gr.Plot(visible=False),
            self.details: gr.Accordion(visible=False),
        } | self.checkpoints.nothing()

    def _actions(self, run: RunView, adapter: str | None, answered: bool) -> Updates:
        live, previous = self._lab.variants.live, self._lab.variants.previous
        halted = run.state in ("stopped", "interrupted", "failed", "waiting")
        return {
            self.actions: gr.Row(visible=run.state != "running"),
            self.live: gr.Button("Go live", variant="primary", visible=adapter is not None and adapter != live),
            self.undo: gr.Button(
                f"Undo: back to {previous}", visible=previous is not None and adapter is not None and adapter == live
            ),
            self.compare: gr.Button(visible=adapter is not None),
            self.show_answers: gr.Button("Show more" if answered else "Show answers", visible=adapter is not None),
            self.resume: gr.Button(visible=halted),
            self.discard: gr.Button(visible=halted or adapter is not None),
        }

    # What the buttons do.

    def ask_stop(self) -> Updates:
        return {self.dialog: gr.Column(visible=True)}

    def keep_going(self) -> Updates:
        return {self.dialog: gr.Column(visible=False)}

    def stop_for_now(self) -> Updates:
        self._lab.training.stop(keep=False)
        return {self.dialog: gr.Column(visible=False)}

    def stop_and_keep(self) -> Updates:
        self._lab.training.stop(keep=True)
        return {self.dialog: gr.Column(visible=False)}

    def resumed(self, chosen: str | None) -> Updates:
        run = self.watch.run(chosen)
        if run is None:
            return {}
        self._lab.training.resume(run.id)
        return self.draw(None) | {self.chosen: None, self.sure: gr.Row(visible=False)}

    def gone_live(self, chosen: str | None, warned: str | None = None) -> Updates:
        """Go live; an adapter that forgot too much only after a warning and a second press."""
        adapter = self.watch.adapter(chosen)
        if adapter is None:
            return self.draw(chosen)
        try:
            self._lab.variants.go_live(adapter, knowingly=warned == adapter)
        except AdapterForgets as forgets:
            notify(forgets)
            return {self.live: gr.Button("Go live anyway", variant="stop"), self.warned: adapter}
        return self.draw(chosen) | {self.warned: None}

    def tried(self, chosen: str | None, prompt: str) -> Iterator[Updates]:
        """Ask the checkpoints of the run."""
        yield from self.checkpoints.asked(self.watch.run(chosen), prompt)

    def saved_checkpoint(self, chosen: str | None, step: int | None) -> Updates:
        """Save a checkpoint of the run as an adapter."""
        return self.checkpoints.published(self.watch.run(chosen), step)

    def undone_live(self, chosen: str | None) -> Updates:
        self._lab.variants.undo()
        return self.draw(chosen)

    def make_sure(self) -> Updates:
        """Ask first: a deleted run cannot be restored."""
        return {self.sure: gr.Row(visible=True)}

    def kept(self) -> Updates:
        return {self.sure: gr.Row(visible=False)}

    def deleted(self, chosen: str | None) -> Updates:
        run = self.watch.run(chosen)
        if run is not None:
            self._lab.training.discard(run.id)
        return self.draw(None) | {self.chosen: None, self.sure: gr.Row(visible=False)}

    def first_answers(self, chosen: str | None) -> Iterator[Updates]:
        """Before and after on the first few prompts, unless they are shown already."""
        if not self._samples.known(self.watch.adapter(chosen)):
            yield from self.more_answers(chosen)

    def more_answers(self, chosen: str | None) -> Iterator[Updates]:
        """Before and after on the next few prompts, as they are duration."""
        run, adapter = self.watch.run(chosen), self.watch.adapter(chosen)
        if run is None or adapter is None:
            return
        for updates in self._samples.ask(run, adapter):
            yield {self.samples: gr.Markdown(updates, visible=True)}
        # All of it once more: of answers that come in quick succession the page may show only the last.
        yield {self.samples: gr.Markdown(updates, visible=True), self.show_answers: gr.Button("Show more")}
