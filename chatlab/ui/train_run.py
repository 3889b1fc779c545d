"""The run on show: how far it is, how it came out, and what can be done with it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import gradio as gr

from chatlab.errors import TrainingError
from chatlab.lab import Lab
from chatlab.training.runs import RunView
from chatlab.ui import run_report as report
from chatlab.ui.markup import div, span
from chatlab.ui.plots import forgetting_plot, loss_plot
from chatlab.ui.shell import drawing
from chatlab.ui.train_samples import TrainSamples

Updates = dict[Any, Any]


class Pulse(NamedTuple):
    """Differs from the last one whenever something about the current run has changed."""

    run: str
    state: str
    steps: int
    phase: str
    left: int
    published: bool
    news: str


class TrainRun:
    """Shows one run, `chosen` or else the current one, and follows it while it is under way."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._samples = TrainSamples(lab)

    def build(self) -> None:
        self.chosen = gr.State(None)
        self.heard = gr.State(None)
        self.fresh = gr.Textbox(
            "", visible="hidden"
        )  # Not a State: those do not report changes made outside the queue.
        self.head = drawing(elem_id="run-head")
        self.progress = drawing(visible=False, elem_id="run-progress")
        with gr.Row(visible=False, elem_classes="tight") as self.running:
            self.stop = gr.Button("Stop …", size="sm", min_width=90, scale=0, elem_id="stop-run")
        with gr.Column(visible=False, elem_classes="dialog") as self.dialog:
            drawing(div("dialog-words", span("", "The run goes on until you say otherwise.")))
            with gr.Row(elem_classes="tight"):
                self.go_on = gr.Button("Go on", size="sm", variant="primary", min_width=90, scale=0)
                self.stop_keep = gr.Button("Stop and keep the adapter", size="sm", min_width=160, scale=0)
                self.stop_only = gr.Button("Stop; resume later", size="sm", min_width=140, scale=0)
        self.ended = drawing(visible=False, elem_id="run-ended")
        self.actions = gr.Row(visible=False, elem_classes="tight")
        with self.actions:
            self.live = gr.Button("Go live", size="sm", variant="primary", min_width=90, scale=0, elem_id="go-live")
            self.undo = gr.Button("Undo", size="sm", min_width=90, scale=0, elem_id="undo-live")
            self.compare = gr.Button("Compare", size="sm", min_width=90, scale=0)
            self.hear = gr.Button("Hear it", size="sm", min_width=90, scale=0)
            self.resume = gr.Button("Resume", size="sm", variant="primary", min_width=90, scale=0)
            self.discard = gr.Button("Discard", size="sm", min_width=90, scale=0)
        with gr.Row(visible=False, elem_classes="dialog tight") as self.sure:
            self.really = gr.Button(
                "Throw the run and its checkpoint away", size="sm", variant="stop", min_width=200, scale=0
            )
            self.spare = gr.Button("Keep it", size="sm", min_width=90, scale=0)
        self.samples = drawing(visible=False, elem_id="run-samples")
        with gr.Row(elem_classes="plots"):
            self.losses = drawing(elem_classes="plot-cell")
            self.forgetting = drawing(elem_classes="plot-cell")
        with gr.Accordion("What it learned from, and its settings", open=False, visible=False) as self.papers:
            with gr.Row(equal_height=False):
                with gr.Column(scale=3, min_width=280):
                    self.lineage = drawing()
                with gr.Column(scale=1, min_width=200):
                    self.settings = drawing()
                    self.copy = gr.Button("Copy these settings", size="sm")

    @property
    def shown(self) -> set[Any]:
        buttons = {self.live, self.undo, self.compare, self.hear, self.resume, self.discard}
        parts = {self.head, self.progress, self.running, self.dialog, self.ended, self.actions, self.sure, self.samples}
        plots = {self.losses, self.forgetting, self.papers, self.lineage, self.settings}
        return {self.chosen, self.heard, self.fresh, *buttons, *parts, *plots}

    def beat(self, chosen: str | None, heard: Pulse | None) -> Updates:
        """What is new since `heard`. Nothing is read from the disk while nothing moves."""
        now = self.pulse()
        if now == heard:
            return {}
        finished = heard is not None and heard.run == now.run and now.published and not heard.published
        drawn = self.draw(chosen) | {self.heard: now}
        run = self.run(chosen)
        if finished and run is not None and run.id == now.run:
            drawn[self.fresh] = self._lab.training.adapter_of(run.id) or ""
        return drawn

    def pulse(self) -> Pulse:
        status = self._lab.training.status()
        published = status.run is not None and (status.run / "published.json").exists()
        return Pulse(
            run=status.run.name if status.run else "",
            state=status.state,
            steps=len(status.steps),
            phase=status.phase,
            left=-1 if status.eta is None else round(status.eta),
            published=published,
            news=self._lab.training.news + status.message,
        )

    def run(self, chosen: str | None) -> RunView | None:
        """The chosen one, if it still exists, or the current one."""
        if chosen:
            try:
                return self._seen(self._lab.training.run(chosen))
            except TrainingError:
                pass
        current = self._lab.training.current()
        return self._seen(current) if current else None

    def _seen(self, run: RunView) -> RunView:
        """A run that the trainer has been given is under way, even before the first trace of it is on the disk."""
        status = self._lab.training.status()
        given = status.state == "training" and status.run is not None and status.run.name == run.id
        return replace(run, state="running") if given else run

    def draw(self, chosen: str | None) -> Updates:
        """Everything about one run."""
        run = self.run(chosen)
        if run is None:
            return self._draw_nothing()
        adapter = self._lab.training.adapter_of(run.id)
        under_way = run.state == "running"
        status = self._lab.training.status()
        length = run.steps[-1].steps if run.steps else 1
        last = status.run is not None and status.run.name == run.id
        news = (self._lab.training.news or status.message) if last and not under_way else ""
        samples = self._samples.known(adapter)
        return {
            self.head: report.heading(run, adapter, live=adapter is not None and adapter == self._lab.voices.live),
            self.progress: gr.Markdown(report.progress(run, status) if under_way else "", visible=under_way),
            self.running: gr.Row(visible=under_way),
            self.ended: gr.Markdown("" if under_way else report.ended(run, adapter, news), visible=not under_way),
            self.samples: gr.Markdown(samples, visible=bool(samples)),
            self.losses: loss_plot(run.steps, length),
            self.forgetting: forgetting_plot(run.steps, length, run.result.forgetting if run.result else None),
            self.papers: gr.Accordion(visible=True),
            self.lineage: report.lineage(run),
            self.settings: report.settings_table(run.request.settings),
            **({} if under_way else {self.dialog: gr.Column(visible=False)}),
        } | self._actions(run, adapter, samples)

    def _draw_nothing(self) -> Updates:
        return {
            self.head: div("empty", span("", "No run yet. What it learned and what it forgot will show here.")),
            self.progress: gr.Markdown(visible=False),
            self.running: gr.Row(visible=False),
            self.dialog: gr.Column(visible=False),
            self.ended: gr.Markdown(visible=False),
            self.actions: gr.Row(visible=False),
            self.sure: gr.Row(visible=False),
            self.samples: gr.Markdown(visible=False),
            self.losses: "",
            self.forgetting: "",
            self.papers: gr.Accordion(visible=False),
        }

    def _actions(self, run: RunView, adapter: str | None, samples: str) -> Updates:
        live, previous = self._lab.voices.live, self._lab.voices.previous
        halted = run.state in ("stopped", "interrupted", "failed", "waiting")
        return {
            self.actions: gr.Row(visible=run.state != "running"),
            self.live: gr.Button(visible=adapter is not None and adapter != live),
            self.undo: gr.Button(
                f"Undo: back to {previous}", visible=previous is not None and adapter is not None and adapter == live
            ),
            self.compare: gr.Button(visible=adapter is not None),
            self.hear: gr.Button("Hear more" if samples else "Hear it", visible=adapter is not None),
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
        run = self.run(chosen)
        if run is None:
            return {}
        self._lab.training.resume(run.id)
        return self.draw(None) | {self.chosen: None, self.sure: gr.Row(visible=False)}

    def gone_live(self, chosen: str | None) -> Updates:
        adapter = self.adapter(chosen)
        if adapter:
            self._lab.voices.go_live(adapter)
        return self.draw(chosen)

    def taken_back(self, chosen: str | None) -> Updates:
        self._lab.voices.undo()
        return self.draw(chosen)

    def make_sure(self) -> Updates:
        """Nothing brings a run back that has been thrown away."""
        return {self.sure: gr.Row(visible=True)}

    def spared(self) -> Updates:
        return {self.sure: gr.Row(visible=False)}

    def thrown_away(self, chosen: str | None) -> Updates:
        run = self.run(chosen)
        if run is not None:
            self._lab.training.discard(run.id)
        return self.draw(None) | {self.chosen: None, self.sure: gr.Row(visible=False)}

    def heard_first(self, chosen: str | None) -> Iterator[Updates]:
        """Before and after on the first few prompts, unless they have been heard already."""
        if not self._samples.known(self.adapter(chosen)):
            yield from self.heard_more(chosen)

    def heard_more(self, chosen: str | None) -> Iterator[Updates]:
        """Before and after on the next few prompts, as they are spoken."""
        run, adapter = self.run(chosen), self.adapter(chosen)
        if run is None or adapter is None:
            return
        for drawn in self._samples.hear(run, adapter):
            yield {self.samples: gr.Markdown(drawn, visible=True)}
        yield {self.hear: gr.Button("Hear more")}

    def adapter(self, chosen: str | None) -> str | None:
        """What the run on show became."""
        run = self.run(chosen)
        return self._lab.training.adapter_of(run.id) if run else None
