"""The Compare tab: one prompt, several voices, and a vote that does not know the names."""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import gradio as gr

from chatlab.engines.base import Sampling
from chatlab.errors import InputError, NotFound
from chatlab.lab import Lab
from chatlab.records import Verdict
from chatlab.ui.compare.asking import Asking
from chatlab.ui.compare.ballot import Ballot
from chatlab.ui.compare.next_prompt import next_step, prompts
from chatlab.ui.compare.panes import last_vote, panes
from chatlab.ui.compare.session import CompareSession, Round, SessionStore, Step
from chatlab.ui.compare.votes import VotesPanel
from chatlab.ui.html import div, span
from chatlab.ui.shell import Shell, drawing

PACE = 0.12
"""Seconds between two drawings."""

Updates = dict[Any, Any]


class CompareTab:
    """A Round and a Sitting travel from handler to handler; what is shown is drawn from them and nothing else.

    While voices speak, only the round changes, so that a vote can be taken back meanwhile.
    """

    def __init__(self, lab: Lab, shuffle: Callable[[list[str]], None] = random.shuffle) -> None:
        self._lab = lab
        self._shuffle = shuffle
        self._desk = SessionStore()
        self.asking = Asking(lab)
        self.ballot = Ballot()
        self.votes = VotesPanel(lab)

    def build(self, shell: Shell) -> None:
        self.asking.build()
        self.panes = drawing(_NOTHING, elem_id="panes")
        self.ballot.build()
        with gr.Row(elem_classes="tight beside-votes"):
            self.skip = gr.Button("Skip  (S)", size="sm", scale=0, min_width=90, visible=False, elem_classes="key-s")
            self.undo = gr.Button(
                "Undo vote  (U)", size="sm", scale=0, min_width=120, visible=False, elem_classes="key-u"
            )
            self.last = drawing(elem_id="last-vote")
        self.asking.build_more()
        self.votes.build()
        self.round = gr.State(None)
        self.sitting = gr.State(CompareSession())
        self._wire(shell)

    def _wire(self, shell: Shell) -> None:
        asks, how, at = self.asking, self.asking.how, [self.sitting, self.round]
        drawn = {self.panes, self.round, asks.ask, asks.stop, asks.walk, self.skip, *self.ballot.parts}
        noted = {self.sitting, self.undo, self.last}
        speaking: dict[str, Any] = {"outputs": drawn | noted, "concurrency_limit": 2, "concurrency_id": "compare"}
        asking = [
            shell.on(trigger, do=self.answered, inputs=[asks.prompt, *how, *at], trigger_mode="once", **speaking)
            for trigger in (asks.ask.click, asks.prompt.submit)
        ]
        walking = [asks.kind, *how, *at]
        asking.append(shell.on(asks.walk.click, do=self.walked, inputs=walking, trigger_mode="once", **speaking))
        # One at a time, so that of two keys pressed at once the second finds what the first has done.
        deed: dict[str, Any] = {"concurrency_limit": 1, "concurrency_id": "vote", "trigger_mode": "once"}
        for button, verdict, winner in self.ballot.verdicts:
            do = self.voter(verdict, winner)
            cast = shell.on(button.click, do=do, inputs=at, outputs=drawn | noted, **deed)
            asking.append(shell.on(cast.then, do=self.went_on, inputs=walking, **speaking))
            shell.on(cast.then, do=self.votes.drawn, outputs={self.votes.results})
        skipped = shell.on(self.skip.click, do=self.skipped, inputs=at, outputs=drawn | noted, **deed)
        asking.append(shell.on(skipped.then, do=self.went_on, inputs=walking, **speaking))
        undone = shell.on(self.undo.click, do=self.undone, inputs=at, outputs=drawn | noted, **deed)
        shell.on(undone.then, do=self.votes.drawn, outputs={self.votes.results})
        shell.on(asks.stop.click, do=self.stopped, inputs=at, outputs=drawn | noted, cancels=asking)
        self._wire_windows(shell, drawn | noted)
        asks.wire(shell)
        self.votes.wire(shell)

    def _wire_windows(self, shell: Shell, drawn: set[Any]) -> None:
        """What is found again after a reload."""
        opened = shell.on(
            shell.items["compare"].select,
            do=self.opened,
            inputs=[*self.asking.typed, self.sitting, self.round],
            outputs=drawn | {self.asking.voices, *self.asking.typed},
        )
        shell.on(opened.then, do=self.votes.drawn, outputs={self.votes.results})
        shell.when_left(self._desk.leave)

    # What the events do.

    def opened(
        self, prompt: str, system: str, sitting: CompareSession, round_: Round | None, request: gr.Request
    ) -> Updates:
        window = request.session_hash or uuid.uuid4().hex
        sitting, kept = self._desk.enter(window, sitting, round_)
        updates = self.asking.refresh(prompt, system)
        if kept is not None and kept is not round_:
            updates |= self._draw(kept) | self._noted(sitting, kept) | self._idle(sitting)
        return updates | {self.sitting: sitting}

    def answered(
        self,
        prompt: str,
        voices: list[str],
        blind: bool,
        temperature: float,
        tokens: float,
        system: str,
        sitting: CompareSession,
        round_: Round | None,
    ) -> Iterator[Updates]:
        """All voices answer at once, a token each in turn."""
        sitting = replace(sitting.skipped(round_), walking=False)
        begun = Round(prompt=prompt, system=self._lab.systems.filled(system), blind=blind)
        yield from self._spoken(
            begun, voices, Sampling(temperature=float(temperature), max_tokens=int(tokens)), sitting
        )

    def walked(
        self,
        kind: str,
        voices: list[str],
        blind: bool,
        temperature: float,
        tokens: float,
        system: str,
        sitting: CompareSession,
        round_: Round | None,
    ) -> Iterator[Updates]:
        """The next unseen prompt that waits for a vote between these voices; from now on a vote leads to the next."""
        if len(voices or []) < 2:
            raise InputError("A vote needs at least two adapters.", "Choose two or more; the base counts.")
        sitting = replace(sitting.skipped(round_), walking=True)
        step = self._step(kind, voices, sitting)
        if step is None:  # only what was skipped is left: begin with that again
            sitting = replace(sitting, passed=())
            step = self._step(kind, voices, sitting)
        if step is None:
            raise InputError("There are no unseen prompts.", "Ask one of your own.")
        begun = Round(prompt=step.prompt, system=self._lab.systems.filled(system), blind=blind, step=step)
        yield from self._spoken(
            begun, voices, Sampling(temperature=float(temperature), max_tokens=int(tokens)), sitting
        )

    def went_on(
        self,
        kind: str,
        voices: list[str],
        blind: bool,
        temperature: float,
        tokens: float,
        system: str,
        sitting: CompareSession,
        round_: Round | None,
    ) -> Iterator[Updates]:
        """After a vote or a skip: the next unseen prompt, unless that was the last, or the prompt was typed."""
        if not sitting.walking or (round_ is not None and round_.open and round_.prompt not in sitting.passed):
            return
        step = self._step(kind, voices, sitting)
        lap = round_ is not None and round_.verdict is not None and len(round_.spoke) == len(round_.panes)
        if step is None or (lap and step.judged == 0):
            yield self._ended(sitting, round_)
            return
        yield from self.walked(kind, voices, blind, temperature, tokens, system, sitting, round_)

    def stopped(self, sitting: CompareSession, round_: Round | None) -> Updates:
        """What was said so far can still be voted on; the walk ends here."""
        sitting = replace(sitting, walking=False)
        if round_ is None:
            return self._idle(sitting) | {self.sitting: sitting}
        round_ = round_.stopped()
        return self._draw(round_) | self._noted(sitting, round_) | self._idle(sitting)

    def voter(self, verdict: Verdict, winner: int | None) -> Callable[[CompareSession, Round | None], Updates]:
        """What one of the buttons does."""

        def vote(sitting: CompareSession, round_: Round | None) -> Updates:
            return self.vote(sitting, round_, verdict, winner)

        return vote

    def vote(
        self, sitting: CompareSession, round_: Round | None, verdict: Verdict, winner: int | None = None
    ) -> Updates:
        """Keep it, then show the names."""
        if round_ is None or not round_.can_vote:
            return {}
        id = self._lab.votes.cast(round_.prompt, round_.panes, verdict, winner, round_.system, round_.blind)
        told = replace(round_, verdict=verdict, winner=winner)
        return self._draw(told) | self._noted(sitting.voted(told, id), told)

    def skipped(self, sitting: CompareSession, round_: Round | None) -> Updates:
        """The prompt comes again when the others are done."""
        return self._noted(sitting.skipped(round_), round_)

    def undone(self, sitting: CompareSession, round_: Round | None) -> Updates:
        """Take back the newest vote of this window. Its names are known by now: only new answers can be voted on."""
        if not sitting.votes:
            return {}
        with suppress(NotFound):  # taken back elsewhere already
            self._lab.votes.take_back(sitting.votes[-1])
        shown = round_ is not None and round_ == sitting.last
        sitting = sitting.taken_back()
        if not shown:
            return self._noted(sitting, round_)
        return self._draw(sitting.last) | self._noted(sitting, sitting.last)

    # What they share.

    def _step(self, kind: str, voices: Sequence[str], sitting: CompareSession) -> Step | None:
        return next_step(prompts(kind), self._lab.votes.judged(voices), sitting.passed)

    def _spoken(
        self, begun: Round, voices: Sequence[str], sampling: Sampling, sitting: CompareSession
    ) -> Iterator[Updates]:
        """The round as it grows. The sitting is written once, before the first word."""
        order = list(voices or [])
        if begun.blind:
            self._shuffle(order)
        asleep = gr.Button(interactive=False)
        asks = self.asking
        busy = {asks.ask: _hidden(), asks.stop: gr.Button(visible=True), asks.walk: asleep, self.skip: asleep}
        shown, round_ = 0.0, begun
        for given in self._lab.compare.ask(begun.prompt, order, sampling, begun.system):
            first = not round_.panes
            round_ = replace(begun, panes=tuple(given))
            self._desk.keep(sitting, round_)
            if first or time.monotonic() - shown > PACE:
                shown = time.monotonic()
                yield self._draw(round_) | busy | (self._noted(sitting, round_) if first else {})
        yield self._draw(round_) | self._idle(sitting)

    def _draw(self, round_: Round | None) -> Updates:
        if round_ is None:
            return {}
        return {self.panes: panes(round_), self.round: round_} | self.ballot.drawn(round_)

    def _noted(self, sitting: CompareSession, round_: Round | None) -> Updates:
        self._desk.keep(sitting, round_)
        return {
            self.sitting: sitting,
            self.undo: gr.Button(visible=bool(sitting.votes)),
            self.last: last_vote(sitting, round_),
        }

    def _idle(self, sitting: CompareSession) -> Updates:
        return {
            self.asking.ask: gr.Button(visible=True),
            self.asking.walk: gr.Button(interactive=True),
            self.skip: gr.Button(visible=sitting.walking, interactive=True),
            self.asking.stop: _hidden(),
        }

    def _ended(self, sitting: CompareSession, round_: Round | None) -> Updates:
        """Nothing waits any more. What the last vote was cast on stays on the screen."""
        sitting = replace(sitting, walking=False)
        said = "All are judged except those you skipped." if sitting.passed else "All unseen prompts are judged."
        end = div("last-vote", span("last-verdict", f"{said} Press N to start again with new answers."))
        return self._noted(sitting, round_) | self._idle(sitting) | {self.last: end}


def _hidden() -> gr.Button:
    return gr.Button(visible=False)


_NOTHING = div(
    "empty",
    span(
        "",
        "Choose two or more adapters and ask. Their order is shuffled; names stay hidden until you vote.",
    ),
)
