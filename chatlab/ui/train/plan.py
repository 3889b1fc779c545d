"""The upper part of the Train tab: what a run would do, whether anything stands in its way, and the button."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gradio as gr
from markupsafe import Markup

from chatlab.errors import ChatlabError
from chatlab.lab import Lab
from chatlab.training.defaults import Plan
from chatlab.ui.html import counted, div, duration, element, escaped, span
from chatlab.ui.shell import Shell, error_text, html_block
from chatlab.ui.train.preflight import Preflight, render
from chatlab.ui.train.settings import TrainSettingsForm


class TrainPlan:
    """Says in a sentence what a run would do before it is started."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._preflight = Preflight(lab)
        self.form = TrainSettingsForm()

    def build(self) -> None:
        self.sentence = html_block(elem_id="train-sentence")
        self.button = gr.Button("Retrain", variant="primary", size="lg", elem_id="retrain")
        with gr.Row(elem_classes="tight"):
            self.name = gr.Textbox(
                "",
                label="Name",
                placeholder="Adapter name (optional)",
                show_label=False,
                container=False,
                max_lines=1,
                scale=1,
                min_width=120,
            )
            self.live = gr.Checkbox(True, label="Go live when done", container=False, scale=1, min_width=190)
        self.ticks = html_block(elem_id="preflight")
        self.form.build()

    def wire(self, shell: Shell) -> None:
        for box in self.form.inputs:
            shell.on(box.input, do=self.draw, inputs=self.form.inputs, outputs=self.shown, trigger_mode="always_last")
        self.redraw(shell, shell.on(self.form.clear.click, do=self.form.automatic, outputs=self.form.inputs))

    def redraw(self, shell: Shell, done: Any) -> None:
        """Draw again after an event that filled the form."""
        shell.on(done.then, do=self.draw, inputs=self.form.inputs, outputs=self.shown)

    @property
    def shown(self) -> set[Any]:
        return {self.sentence, self.button, self.ticks, *self.form.boxes.values()}

    @property
    def inputs(self) -> set[Any]:
        return {self.name, self.live} | self.form.inputs

    def draw(self, values: Mapping[Any, Any]) -> dict[Any, Any]:
        """The sentence and the ticks for the settings in the form."""
        busy = self._lab.training.status().state == "training"
        try:
            plan = self._lab.training.plan(**self.form.overrides(values))
            automatic = self._lab.training.plan()
        except ChatlabError as error:
            return {
                self.sentence: div("sentence", span("warning", error_text(error))),
                self.ticks: "",
                self.button: gr.Button(interactive=False),
            }
        ticks = self._preflight.check(plan)
        return {
            self.sentence: sentence(plan),
            self.ticks: render(ticks),
            self.button: gr.Button(
                "A run is in progress" if busy else "Retrain",
                interactive=not busy and all(tick.state != "bad" for tick in ticks),
            ),
        } | self.form.show_automatic(automatic.settings)

    def start(self, values: Mapping[Any, Any]) -> str:
        """Start a run; its id. Raises what `retrain` raises, and then nothing is started."""
        overrides = self.form.overrides(values)
        return self._lab.training.retrain(name=values[self.name].strip(), live=values[self.live], **overrides)


def sentence(plan: Plan) -> Markup:
    """What the button will do."""
    if not plan.demonstrations:
        return div("sentence", span("", "Nothing to train on yet."))
    aside = f", hold out {plan.held_out}" if plan.held_out else ""
    what = element("b", escaped(counted(plan.learned, "demonstration")))
    how = f"{counted(plan.settings.epochs, 'epoch')} ({counted(plan.steps, 'step')})"
    return div(
        "sentence",
        span("", "Train on "),
        what,
        span("", f", {how}{aside}. About "),
        element("b", escaped(duration(max(1, plan.seconds)))),
        span("", f", {plan.memory_mb:,} MB of memory."),
    )
