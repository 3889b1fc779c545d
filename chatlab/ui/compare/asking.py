"""What is asked, of whom and how: the boxes above the panes, and what of them outlives a reload."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import gradio as gr

from chatlab.lab import Lab
from chatlab.lab.compare.compare import MOST
from chatlab.records import BASE
from chatlab.ui.compare.next_prompt import FIRST, KINDS
from chatlab.ui.shell import Shell

CHOSEN = "compare"
"""Under which the store keeps who is compared."""

TYPED = "compare typed"
"""Under which the store keeps the prompt and the system message as they stand in their boxes."""

Updates = dict[Any, Any]


class Asking:
    """The boxes and buttons. Voices and what was typed are kept in the store."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab

    def build(self) -> None:
        with gr.Row(elem_classes="tight ask-row"):
            self.prompt = gr.Textbox(
                "",
                label="Prompt",
                placeholder="Ask all of them",
                show_label=False,
                container=False,
                lines=1,
                max_lines=8,
                scale=8,
                min_width=240,
                elem_id="compare-prompt",
            )
            self.ask = gr.Button("Ask", variant="primary", scale=1, min_width=80, elem_id="compare-ask")
            self.stop = gr.Button("Stop", variant="stop", scale=1, min_width=80, visible=False, elem_id="compare-stop")
        with gr.Row(elem_classes="tight"):
            self.voices = gr.Dropdown(
                [BASE],
                value=[BASE],
                multiselect=True,
                max_choices=MOST,
                label="Adapters",
                show_label=False,
                container=False,
                scale=5,
                min_width=240,
                elem_id="compare-voices",
            )
            self.blind = gr.Checkbox(
                True, label="Blind", container=False, scale=1, min_width=80, elem_id="compare-blind"
            )
            self.kind = gr.Dropdown(
                KINDS,
                value=FIRST,
                label="Unseen prompts",
                show_label=False,
                container=False,
                scale=2,
                min_width=150,
            )
            self.walk = gr.Button(
                "Next unseen prompt  (N)",
                size="md",
                scale=0,
                min_width=200,
                elem_classes="key-n",
                elem_id="compare-walk",
            )

    def build_more(self) -> None:
        """What is seldom touched, further down."""
        with gr.Accordion("System message and sampling", open=False):
            self.system = gr.Textbox(
                "",
                label="System message",
                lines=2,
                max_lines=8,
                placeholder="{name}, {maker} and {date} are filled in.",
            )
            with gr.Row():
                self.temperature = gr.Slider(0, 1.5, 0.7, step=0.05, label="Temperature")
                self.tokens = gr.Slider(8, 512, 96, step=8, label="Max tokens")

    @property
    def typed(self) -> list[Any]:
        return [self.prompt, self.system]

    @property
    def how(self) -> list[Any]:
        """What every question is asked with: voices, blind, temperature, tokens, system message."""
        return [self.voices, self.blind, self.temperature, self.tokens, self.system]

    def wire(self, shell: Shell) -> None:
        shell.on(self.voices.input, do=self.choose, inputs=[self.voices])
        changes = [event for box in self.typed for event in (box.input, box.blur)]
        shell.on(partial(gr.on, changes), do=self.remember, inputs=self.typed, trigger_mode="always_last", queue=False)

    # What the events do.

    def refresh(self, prompt: str = "", system: str = "") -> Updates:
        """Who can be asked now. At first the base and who is live, or newest, are chosen.

        Empty boxes, as after a reload, get back what was typed last.
        """
        typed = self._lab.store.state.read(TYPED, dict[str, str], {})
        names = self._lab.voices.names()
        kept = [name for name in self._lab.store.state.read(CHOSEN, list[str], []) if name in names]
        live = self._lab.voices.live
        other = live if live != BASE else next(iter(names[1:]), None)
        if len(kept) < 2 and other is not None:
            kept = [BASE, other]
        return {
            self.voices: gr.Dropdown(choices=names, value=kept or [BASE], multiselect=True),
            self.prompt: prompt or typed.get("prompt", ""),
            self.system: system or typed.get("system", ""),
        }

    def remember(self, prompt: str, system: str) -> None:
        """Keep what is being typed, for after a reload."""
        self._lab.store.state.set(TYPED, {"prompt": prompt or "", "system": system or ""})

    def choose(self, voices: list[str]) -> None:
        """Remember who is to be compared, for the next time the tab is opened."""
        choose(self._lab, voices)


def choose(lab: Lab, voices: Sequence[str]) -> None:
    """Have Compare open with these voices."""
    lab.store.state.set(CHOSEN, list(voices))
