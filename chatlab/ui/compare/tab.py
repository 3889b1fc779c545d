"""The Compare tab: one prompt, several voices, and a vote that does not know the names."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import gradio as gr

from chatlab.engines.base import Sampling
from chatlab.lab import Lab
from chatlab.lab.compare import MOST
from chatlab.records import BASE, Verdict
from chatlab.ui.compare.panes import LETTERS, Round, panes
from chatlab.ui.compare.win_rates import win_rates
from chatlab.ui.markup import div, span
from chatlab.ui.shell import Shell, drawing
from chatlab.ui.unseen import EVERYDAY, LABELS, unseen_prompts

PACE = 0.12
"""Seconds between two drawings."""

CHOSEN = "compare"
"""Under which the store keeps who is compared."""

TYPED = "compare typed"
"""Under which the store keeps the prompt and the system message as they stand in their boxes."""

Updates = dict[Any, Any]


class CompareTab:
    """A Round travels from handler to handler; what is shown is drawn from it and from nothing else."""

    def __init__(self, lab: Lab, shuffle: Callable[[list[str]], None] = random.shuffle) -> None:
        self._lab = lab
        self._shuffle = shuffle

    def build(self, shell: Shell) -> None:
        with gr.Row(elem_classes="tight ask-row"):
            self.prompt = gr.Textbox(
                "", label="Prompt", placeholder="Ask them all the same thing", show_label=False, container=False,
                lines=1, max_lines=8,
                scale=8, min_width=240, elem_id="compare-prompt",
            )  # fmt: skip
            self.ask = gr.Button("Ask", variant="primary", scale=1, min_width=80, elem_id="compare-ask")
            self.stop = gr.Button("Stop", variant="stop", scale=1, min_width=80, visible=False)
        with gr.Row(elem_classes="tight"):
            self.voices = gr.Dropdown(
                [BASE], value=[BASE], multiselect=True, max_choices=MOST, label="Voices", show_label=False,
                container=False, scale=5, min_width=240, elem_id="compare-voices",
            )  # fmt: skip
            self.blind = gr.Checkbox(True, label="Blind", container=False, scale=1, min_width=80)
            self.kind = gr.Dropdown(
                [(label, kind) for kind, label in LABELS.items()], value=EVERYDAY, label="Unseen prompts",
                show_label=False, container=False,
                scale=2, min_width=150,
            )  # fmt: skip
            self.unseen = gr.Button("Next unseen prompt  (N)", size="md", scale=0, min_width=200, elem_classes="key-n")
        self.panes = drawing(_NOTHING, elem_id="panes")
        self._build_votes()
        with gr.Accordion("System message and sampling", open=False):
            self.system = gr.Textbox("", label="System message", lines=2, max_lines=8)
            with gr.Row():
                self.temperature = gr.Slider(0, 1.5, 0.7, step=0.05, label="Temperature")
                self.tokens = gr.Slider(8, 512, 96, step=8, label="Longest answer, tokens")
        gr.Markdown("#### Votes so far")
        self.rates = drawing(elem_id="win-rates")
        self.round = gr.State(None)
        self.place = gr.State(0)
        self._wire(shell)

    def _build_votes(self) -> None:
        with gr.Row(visible=False, elem_classes="tight votes") as self.two:
            for_two: list[tuple[str, Verdict, int | None]] = [
                ("A is better  (1)", "best", 0),
                ("B is better  (2)", "best", 1),
                ("Tie  (3)", "tie", None),
                ("Both bad  (4)", "both bad", None),
            ]
            self._two = [
                (gr.Button(label, size="sm", min_width=110, elem_classes=f"key-{i + 1}"), verdict, winner)
                for i, (label, verdict, winner) in enumerate(for_two)
            ]
        with gr.Row(visible=False, elem_classes="tight votes") as self.many:
            best: list[tuple[gr.Button, Verdict, int | None]] = [
                (
                    gr.Button(f"{letter} is best  ({i + 1})", size="sm", min_width=90, elem_classes=f"key-{i + 1}"),
                    "best",
                    i,
                )
                for i, letter in enumerate(LETTERS)
            ]
            self._many = [
                *best,
                (gr.Button("No difference  (7)", size="sm", min_width=90, elem_classes="key-7"), "tie", None),
                (gr.Button("All bad  (8)", size="sm", min_width=90, elem_classes="key-8"), "both bad", None),
            ]

    @property
    def votes(self) -> set[Any]:
        return {self.two, self.many, *(button for button, *_ in self._many)}

    def _wire(self, shell: Shell) -> None:
        asked = [self.prompt, self.system, self.voices, self.blind, self.temperature, self.tokens]
        outputs = {self.panes, self.round, self.ask, self.stop, *self.votes}
        asking = [
            shell.on(trigger, do=self.answered, inputs=asked, outputs=outputs, concurrency_limit=2, trigger_mode="once")
            for trigger in (self.ask.click, self.prompt.submit)
        ]
        walk = shell.on(self.unseen.click, do=self.next_prompt, inputs=[self.kind, self.place],
                        outputs={self.prompt, self.place})  # fmt: skip
        asking.append(shell.on(walk.then, do=self.answered, inputs=asked, outputs=outputs, concurrency_limit=2))
        shell.on(self.stop.click, do=self.stopped, inputs=[self.round], outputs=outputs, cancels=asking)
        shell.on(self.voices.input, do=self.choose, inputs=[self.voices])
        shell.on(self.kind.input, do=lambda: 0, outputs=[self.place])
        for button, verdict, winner in (*self._two, *self._many):
            shell.on(
                button.click, do=self.voter(verdict, winner), inputs=[self.round], outputs=outputs | {self.rates},
                trigger_mode="once",
            )  # fmt: skip
        typed = [self.prompt, self.system]
        changes = [event for box in typed for event in (box.input, box.blur)]
        shell.on(partial(gr.on, changes), do=self.remember, inputs=typed, trigger_mode="always_last", queue=False)
        restored = {self.voices, self.rates, *typed}
        shell.on(shell.items["compare"].select, do=self.refresh, inputs=typed, outputs=restored)

    # What the events do.

    def refresh(self, prompt: str = "", system: str = "") -> Updates:
        """Who can be asked now, and the votes. At first the base and who is live, or newest, are chosen.

        Empty boxes, as after a reload, get back what was typed last.
        """
        typed = self._lab.store.state.get(TYPED, {})
        names = self._lab.voices.names()
        kept = [name for name in self._lab.store.state.get(CHOSEN, []) if name in names]
        live = self._lab.voices.live
        other = live if live != BASE else next(iter(names[1:]), None)
        if len(kept) < 2 and other is not None:
            kept = [BASE, other]
        return {
            self.voices: gr.Dropdown(choices=names, value=kept or [BASE], multiselect=True),
            self.rates: win_rates(self._lab.compare.tally()),
            self.prompt: prompt or typed.get("prompt", ""),
            self.system: system or typed.get("system", ""),
        }

    def remember(self, prompt: str, system: str) -> None:
        """Keep what is being typed, for after a reload."""
        self._lab.store.state.set(TYPED, {"prompt": prompt or "", "system": system or ""})

    def choose(self, voices: list[str]) -> None:
        """Remember who is to be compared, for the next time the tab is opened."""
        choose(self._lab, voices)

    def next_prompt(self, kind: str, place: int) -> Updates:
        prompts = unseen_prompts(kind)
        return {self.prompt: prompts[place % len(prompts)], self.place: place + 1}

    def answered(
        self, prompt: str, system: str, voices: list[str], blind: bool, temperature: float, tokens: float
    ) -> Iterator[Updates]:
        """All voices answer at once, a token each in turn."""
        order = list(voices or [])
        if blind:
            self._shuffle(order)
        sampling = Sampling(temperature=float(temperature), max_tokens=int(tokens))
        shown = 0.0
        round_: Round | None = None
        for given in self._lab.compare.ask(prompt, order, sampling, system):
            round_ = Round(prompt, system, tuple(given), blind)
            if time.monotonic() - shown > PACE:
                shown = time.monotonic()
                yield self._draw(round_) | {self.ask: gr.Button(visible=False), self.stop: gr.Button(visible=True)}
        if round_ is not None:
            yield self._draw(round_) | self._idle()

    def stopped(self, round_: Round | None) -> Updates:
        """What was said so far can still be voted on."""
        if round_ is None:
            return self._idle()
        whole = tuple(replace(pane, done=True) for pane in round_.panes)
        return self._draw(replace(round_, panes=whole)) | self._idle()

    def voter(self, verdict: Verdict, winner: int | None) -> Callable[[Round | None], Updates]:
        """What one of the buttons does."""

        def vote(round_: Round | None) -> Updates:
            return self.vote(round_, verdict, winner)

        return vote

    def vote(self, round_: Round | None, verdict: Verdict, winner: int | None) -> Updates:
        """Keep it, then show the names."""
        if round_ is None or not round_.can_vote:
            return {}
        self._lab.compare.vote(round_.prompt, round_.panes, verdict, winner, round_.system)
        told = replace(round_, verdict=verdict, winner=winner)
        return self._draw(told) | {self.rates: win_rates(self._lab.compare.tally())}

    def _draw(self, round_: Round) -> Updates:
        several = len(round_.panes) > 2
        return {
            self.panes: panes(round_),
            self.round: round_,
            self.two: gr.Row(visible=round_.can_vote and not several),
            self.many: gr.Row(visible=round_.can_vote and several),
        } | {
            button: gr.Button(visible=winner is None or winner < len(round_.panes)) for button, _, winner in self._many
        }

    def _idle(self) -> Updates:
        return {self.ask: gr.Button(visible=True), self.stop: gr.Button(visible=False)}


def choose(lab: Lab, voices: Sequence[str]) -> None:
    """Have Compare open with these voices."""
    lab.store.state.set(CHOSEN, list(voices))


_NOTHING = div(
    "empty",
    span(
        "",
        "Choose two or more voices and ask. Their order is shuffled and their names stay hidden until you have voted.",
    ),
)
