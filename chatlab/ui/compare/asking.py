"""The boxes above the panes: the prompt, the adapters and the sampling; and what outlives a reload."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import gradio as gr

from chatlab.conversation import HOUSE
from chatlab.engines.base import Sampling
from chatlab.lab import Lab
from chatlab.lab.compare.compare import MOST
from chatlab.records import BASE
from chatlab.ui.adapter_choices import adapter_choices
from chatlab.ui.compare.session import FIRST, KINDS
from chatlab.ui.current_user import current_user
from chatlab.ui.shell import Shell

CHOSEN = "compare"
"""Key in the store's state: the adapters that are compared."""

TYPED = "compare typed"
"""Key in the store's state: prompt and system message as typed; each person but the first has a key of their own."""

Updates = dict[Any, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class AskSettings:
    """Values of the boxes above and below the panes."""

    prompt: str
    kind: str
    """Which set of unseen prompts."""
    variants: tuple[str, ...]
    blind: bool
    sampling: Sampling
    system: str


class Asking:
    """The boxes and buttons. The chosen adapters and the typed text are kept in the store."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab

    def build(self) -> None:
        with gr.Row(elem_classes="tight ask-row"):
            self.prompt = gr.Textbox(
                "",
                label="Prompt",
                placeholder="Ask all adapters",
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
            self.variants = gr.Dropdown(
                [BASE],
                value=[BASE],
                multiselect=True,
                max_choices=MOST,
                label="Adapters",
                show_label=False,
                container=False,
                scale=5,
                min_width=240,
                elem_id="compare-variants",
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
            self.next_unseen = gr.Button(
                "Next unseen prompt  (N)",
                size="md",
                scale=0,
                min_width=200,
                elem_classes="key-n",
                elem_id="compare-walk",
            )

    def build_more(self) -> None:
        """Settings that are seldom changed, further down."""
        with gr.Accordion("System message and sampling", open=False):
            self.system = gr.Textbox(
                "",
                label="System message",
                lines=2,
                max_lines=8,
                placeholder="{name}, {maker} and {date} are filled in.",
            )
            with gr.Row():
                self.temperature = gr.Slider(0, 1.5, Sampling().temperature, step=0.05, label="Temperature")
                self.tokens = gr.Slider(8, 512, 96, step=8, label="Max tokens")

    @property
    def typed(self) -> list[Any]:
        return [self.prompt, self.system]

    @property
    def inputs(self) -> set[Any]:
        return {*self.typed, self.kind, self.variants, self.blind, self.temperature, self.tokens}

    def read(self, values: Mapping[Any, Any]) -> AskSettings:
        """The settings in the values of `inputs`."""
        return AskSettings(
            prompt=values[self.prompt],
            kind=values[self.kind],
            variants=tuple(values[self.variants] or ()),
            blind=values[self.blind],
            sampling=Sampling(temperature=float(values[self.temperature]), max_tokens=int(values[self.tokens])),
            system=values[self.system],
        )

    def wire(self, shell: Shell) -> None:
        shell.on(self.variants.input, do=self.choose, inputs=[self.variants])
        changes = [event for box in self.typed for event in (box.input, box.blur)]
        shell.on(partial(gr.on, changes), do=self.remember, inputs=self.typed, trigger_mode="always_last", queue=False)

    # What the events do.

    def restore(self, person: str | None) -> Updates:
        """For a page that opens: what this person typed last. Later nothing writes into the boxes but the person."""
        typed = self._lab.store.state.read(_key(person), dict[str, str], {}) if person is not None else {}
        return {self.prompt: typed.get("prompt", ""), self.system: typed.get("system", "")}

    def refresh(self, chosen: Sequence[str] | None = None) -> Updates:
        """The adapters that can be asked now. Without an earlier choice: the base, and the live or newest adapter.

        `chosen` is the value on the page; it is written only where it differs, so that a quick choice is not lost.
        """
        names, choices = self._lab.variants.names(), adapter_choices(self._lab)
        kept = [name for name in self._lab.store.state.read(CHOSEN, list[str], []) if name in names]
        live = self._lab.variants.live
        other = live if live != BASE else next(iter(names[1:]), None)
        if len(kept) < 2 and other is not None:
            kept = [BASE, other]
        wanted = kept or [BASE]
        if list(chosen or ()) == wanted:
            return {self.variants: gr.Dropdown(choices=choices, multiselect=True)}
        return {self.variants: gr.Dropdown(choices=choices, value=wanted, multiselect=True)}

    def remember(self, prompt: str, system: str, request: gr.Request | None = None) -> None:
        """Store the text as it is typed, for after a reload."""
        person = current_user(request, self._lab.settings.auth)
        if person is not None:
            self._lab.store.state.set(_key(person), {"prompt": prompt or "", "system": system or ""})

    def choose(self, variants: list[str]) -> None:
        """Store the chosen adapters, for the next time the tab is opened."""
        choose(self._lab, variants)


def choose(lab: Lab, variants: Sequence[str]) -> None:
    """Have Compare open with these adapters chosen."""
    lab.store.state.set(CHOSEN, list(variants))


def _key(person: str) -> str:
    return TYPED if person == HOUSE else f"{TYPED} {person}"
