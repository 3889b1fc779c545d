"""The Compare tab: one prompt, several variants, and a vote that does not know the names."""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

import gradio as gr

from chatlab.errors import InputError, NotFound
from chatlab.lab import Lab
from chatlab.records import Verdict
from chatlab.ui.compare.asking import Asking, AskSettings
from chatlab.ui.compare.ballot import Ballot
from chatlab.ui.compare.panes import last_vote, panes
from chatlab.ui.compare.session import CompareSession, Round, SessionStore, Step, next_step, prompts
from chatlab.ui.compare.votes import VotesPanel
from chatlab.ui.current_user import current_user
from chatlab.ui.html import div, span
from chatlab.ui.shell import Shell, html_block

PACE = 0.12
"""Seconds between two updates of the panes."""

Updates = dict[Any, Any]


class CompareTab:
    """A `Round` and a `CompareSession` travel from handler to handler; the screen is drawn from them and nothing else.

    While adapters answer, only the round changes, so that a vote can be undone meanwhile.
    """

    def __init__(self, lab: Lab, shuffle: Callable[[list[str]], None] = random.shuffle) -> None:
        self._lab = lab
        self._shuffle = shuffle
        self._sessions = SessionStore()
        self.asking = Asking(lab)
        self.ballot = Ballot()
        self.votes = VotesPanel(lab)

    def build(self, shell: Shell) -> None:
        self.asking.build()
        self.panes = html_block(_NOTHING, elem_id="panes")
        self.ballot.build()
        with gr.Row(elem_classes="tight beside-votes"):
            self.skip = gr.Button("Skip  (S)", size="sm", scale=0, min_width=90, visible=False, elem_classes="key-s")
            self.undo = gr.Button(
                "Undo vote  (U)", size="sm", scale=0, min_width=120, visible=False, elem_classes="key-u"
            )
            self.last = html_block(elem_id="last-vote")
        self.asking.build_more()
        self.votes.build()
        self.round = gr.State(None)
        self.session = gr.State(CompareSession())
        self._wire(shell)

    def _wire(self, shell: Shell) -> None:
        asks, at = self.asking, [self.session, self.round]
        everything = asks.inputs | {*at}
        shown = {self.panes, self.round, asks.ask, asks.stop, asks.next_unseen, self.skip, *self.ballot.parts}
        noted = {self.session, self.undo, self.last}
        speaking: dict[str, Any] = {"outputs": shown | noted, "concurrency_limit": 2, "concurrency_id": "compare"}
        asking = [
            shell.on(trigger, do=self.answered, inputs=everything, trigger_mode="once", **speaking)
            for trigger in (asks.ask.click, asks.prompt.submit)
        ]
        asking.append(
            shell.on(asks.next_unseen.click, do=self.ask_next, inputs=everything, trigger_mode="once", **speaking)
        )
        # One at a time, so that of two keys pressed at once the second finds what the first has done.
        once: dict[str, Any] = {"concurrency_limit": 1, "concurrency_id": "vote", "trigger_mode": "once"}
        for button, verdict, winner in self.ballot.verdicts:
            do = self.voter(verdict, winner)
            cast = shell.on(button.click, do=do, inputs=at, outputs=shown | noted, **once)
            asking.append(shell.on(cast.then, do=self.ask_next_after, inputs=everything, **speaking))
            shell.on(cast.then, do=self.votes.draw, outputs={self.votes.results})
        skipped = shell.on(self.skip.click, do=self.skipped, inputs=at, outputs=shown | noted, **once)
        asking.append(shell.on(skipped.then, do=self.ask_next_after, inputs=everything, **speaking))
        undone = shell.on(self.undo.click, do=self.undone, inputs=at, outputs=shown | noted, **once)
        shell.on(undone.then, do=self.votes.draw, outputs={self.votes.results})
        shell.on(asks.stop.click, do=self.stopped, inputs=at, outputs=shown | noted, cancels=asking)
        self._wire_windows(shell, shown | noted)
        asks.wire(shell)
        self.votes.wire(shell)

    def _wire_windows(self, shell: Shell, shown: set[Any]) -> None:
        """Restore text and round after a reload."""
        shell.on(shell.load, do=self.restored, outputs={*self.asking.typed})
        opened = shell.on(
            partial(gr.on, [shell.items["compare"].select, shell.model.change]),
            do=self.opened,
            inputs=[self.asking.variants, self.session, self.round],
            outputs=shown | {self.asking.variants},
        )
        shell.on(opened.then, do=self.votes.draw, outputs={self.votes.results})
        shell.when_left(self._sessions.leave)

    # What the events do.

    def restored(self, request: gr.Request) -> Updates:
        """A page opens: the text that this person typed last."""
        return self.asking.restore(current_user(request, self._lab.settings.auth))

    def opened(self, chosen: list[str], session: CompareSession, round_: Round | None, request: gr.Request) -> Updates:
        """The tab opens: the adapters there are, and the round of a window that was reloaded."""
        window = request.session_hash or uuid.uuid4().hex
        person = current_user(request, self._lab.settings.auth)
        session, kept = self._sessions.enter(window, person, session, round_)
        updates = self.asking.refresh(chosen)
        if kept is not None and kept is not round_:
            updates |= self._draw(kept) | self._noted(session, kept) | self._idle(session)
        return updates | {self.session: session}

    def answered(self, values: Mapping[Any, Any]) -> Iterator[Updates]:
        """All adapters answer at once, a token each in turn."""
        ask, session, round_ = self.asking.read(values), values[self.session], values[self.round]
        session = replace(session.skipped(round_), goes_on=False)
        begun = Round(prompt=ask.prompt, system=self._lab.system_messages.filled(ask.system), blind=ask.blind)
        yield from self._stream(begun, ask, session)

    def ask_next(self, values: Mapping[Any, Any]) -> Iterator[Updates]:
        """The next unseen prompt that these adapters have no vote on; from now on a vote leads to the next."""
        ask, session, round_ = self.asking.read(values), values[self.session], values[self.round]
        if len(ask.variants) < 2:
            raise InputError("A vote needs at least two adapters.", "Choose two or more; the base counts.")
        session = replace(session.skipped(round_), goes_on=True)
        step = self._step(ask, session)
        if step is None:  # only skipped prompts are left: begin with them again
            session = replace(session, passed=())
            step = self._step(ask, session)
        if step is None:
            raise InputError("There are no unseen prompts.", "Ask one of your own.")
        system = self._lab.system_messages.filled(ask.system)
        begun = Round(prompt=step.prompt, system=system, blind=ask.blind, step=step)
        yield from self._stream(begun, ask, session)

    def ask_next_after(self, values: Mapping[Any, Any]) -> Iterator[Updates]:
        """After a vote or a skip: the next unseen prompt, unless that was the last, or the prompt was typed."""
        ask, session, round_ = self.asking.read(values), values[self.session], values[self.round]
        if not session.goes_on or (round_ is not None and round_.open and round_.prompt not in session.passed):
            return
        step = self._step(ask, session)
        lap = round_ is not None and round_.verdict is not None and len(round_.spoke) == len(round_.panes)
        if step is None or (lap and step.judged == 0):
            yield self._ended(session, round_)
            return
        yield from self.ask_next(values)

    def stopped(self, session: CompareSession, round_: Round | None) -> Updates:
        """The partial answers can be voted on; no next prompt follows."""
        session = replace(session, goes_on=False)
        if round_ is None:
            return self._idle(session) | {self.session: session}
        round_ = round_.stopped()
        return self._draw(round_) | self._noted(session, round_) | self._idle(session)

    def voter(self, verdict: Verdict, winner: int | None) -> Callable[[CompareSession, Round | None], Updates]:
        """What one of the buttons does."""

        def vote(session: CompareSession, round_: Round | None) -> Updates:
            return self.vote(session, round_, verdict, winner)

        return vote

    def vote(
        self, session: CompareSession, round_: Round | None, verdict: Verdict, winner: int | None = None
    ) -> Updates:
        """Keep it, then show the names."""
        if round_ is None or not round_.can_vote:
            return {}
        id = self._lab.votes.cast(round_.prompt, round_.panes, verdict, winner, round_.system, round_.blind)
        voted = replace(round_, verdict=verdict, winner=winner)
        return self._draw(voted) | self._noted(session.voted(voted, id), voted)

    def skipped(self, session: CompareSession, round_: Round | None) -> Updates:
        """The prompt comes again when the others are done."""
        return self._noted(session.skipped(round_), round_)

    def undone(self, session: CompareSession, round_: Round | None) -> Updates:
        """Take back the newest vote of this window. Its names are known by now: only new answers can be voted on."""
        if not session.votes:
            return {}
        with suppress(NotFound):  # taken back elsewhere already
            self._lab.votes.take_back(session.votes[-1])
        shown = round_ is not None and round_ == session.last
        session = session.taken_back()
        if not shown:
            return self._noted(session, round_)
        return self._draw(session.last) | self._noted(session, session.last)

    # What they share.

    def _step(self, ask: AskSettings, session: CompareSession) -> Step | None:
        return next_step(prompts(ask.kind), self._lab.votes.judged(ask.variants), session.passed)

    def _stream(self, begun: Round, ask: AskSettings, session: CompareSession) -> Iterator[Updates]:
        """The round as it grows. The session is written once, before the first word."""
        order = list(ask.variants)
        if begun.blind:
            self._shuffle(order)
        off = gr.Button(interactive=False)
        asks = self.asking
        busy = {asks.ask: _hidden(), asks.stop: gr.Button(visible=True), asks.next_unseen: off, self.skip: off}
        shown, round_ = 0.0, begun
        for given in self._lab.compare.ask(begun.prompt, order, ask.sampling, begun.system):
            first = not round_.panes
            round_ = replace(begun, panes=tuple(given))
            self._sessions.keep(session, round_)
            if first or time.monotonic() - shown > PACE:
                shown = time.monotonic()
                yield self._draw(round_) | busy | (self._noted(session, round_) if first else {})
        yield self._draw(round_) | self._idle(session)

    def _draw(self, round_: Round | None) -> Updates:
        if round_ is None:
            return {}
        return {self.panes: panes(round_), self.round: round_} | self.ballot.draw(round_)

    def _noted(self, session: CompareSession, round_: Round | None) -> Updates:
        self._sessions.keep(session, round_)
        return {
            self.session: session,
            self.undo: gr.Button(visible=bool(session.votes)),
            self.last: last_vote(session, round_),
        }

    def _idle(self, session: CompareSession) -> Updates:
        return {
            self.asking.ask: gr.Button(visible=True),
            self.asking.next_unseen: gr.Button(interactive=True),
            self.skip: gr.Button(visible=session.goes_on, interactive=True),
            self.asking.stop: _hidden(),
        }

    def _ended(self, session: CompareSession, round_: Round | None) -> Updates:
        """No prompt is left. The last round stays on the screen."""
        session = replace(session, goes_on=False)
        judged = "All are judged except those you skipped." if session.passed else "All unseen prompts are judged."
        end = div("last-vote", span("last-verdict", f"{judged} Press N to start again with new answers."))
        return self._noted(session, round_) | self._idle(session) | {self.last: end}


def _hidden() -> gr.Button:
    return gr.Button(visible=False)


_NOTHING = div(
    "empty",
    span(
        "",
        "Choose two or more adapters and ask. Their order is shuffled; names stay hidden until you vote.",
    ),
)
