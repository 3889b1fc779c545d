"""The Guide tab: from what is wrong to what helps, the eight steps ticked by measurements, and what answers cost."""

from __future__ import annotations

from functools import partial
from typing import Any

import gradio as gr

from chatlab.lab import Lab
from chatlab.lab.guide.symptoms import SYMPTOMS, WISHES
from chatlab.ui.guide.plot import averages_plot
from chatlab.ui.guide.render import checklist, lengths, table
from chatlab.ui.shell import Shell, html_block

WRONG = ("What is wrong with the answers?", "Find the symptom and press a button to start the fix.")
WANTED = ("What do you want to change?", "Not everything needs training.")


class GuideTab:
    """Reads the store, the runs and the evaluations each time the tab is opened."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab

    def build(self, shell: Shell) -> None:
        with gr.Row(elem_classes="guide-tab", equal_height=False):
            with gr.Column(scale=5, min_width=320):
                self.steps = html_block(elem_classes="flat", elem_id="checklist")
                self.lengths = html_block(elem_classes="flat", elem_id="answer-lengths")
                self.plot = gr.Plot(show_label=False, container=False, visible=False, elem_id="answer-plot")
            with gr.Column(scale=6, min_width=320):
                self.wrong = html_block(elem_classes="flat", elem_id="symptoms")
                self.wanted = html_block(elem_classes="flat", elem_id="wishes")
        shell.on(
            partial(gr.on, [shell.items["guide"].select, shell.model.change]),
            do=self.refresh,
            outputs=self.shown,
            trigger_mode="always_last",
        )

    @property
    def shown(self) -> set[Any]:
        return {self.steps, self.lengths, self.plot, self.wrong, self.wanted}

    def refresh(self) -> dict[Any, Any]:
        """Everything as it is now."""
        lab = self._lab
        signs = lab.symptoms.evidence()
        lines = lab.answer_lengths.averages()
        plot = gr.Plot(averages_plot(lines), visible=True) if lines else gr.Plot(visible=False)
        return {
            self.steps: checklist(lab.checklist.items()),
            self.lengths: lengths(lab.answer_lengths.report()),
            self.plot: plot,
            self.wrong: table(*WRONG, SYMPTOMS, signs),
            self.wanted: table(*WANTED, WISHES, {}),
        }
