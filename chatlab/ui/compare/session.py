"""The state of one open window: the round on the screen, its votes and skips, and which prompt is next."""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from chatlab.lab.compare.compare import Pane
from chatlab.records import Verdict
from chatlab.ui.unseen import EVERYDAY, LABELS, unseen_prompts

MOST_CLOSED = 20
"""Closed windows whose unfinished rounds are remembered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Where in the unseen prompts a round stands."""

    prompt: str
    judged: int
    """Prompts of this lap on which somebody has voted already."""
    total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One prompt to several adapters. The panes are in the order in which they are shown."""

    prompt: str
    system: str = ""
    panes: tuple[Pane, ...] = ()
    blind: bool = True
    step: Step | None = None
    """None for a prompt that was typed."""
    verdict: Verdict | None = None
    winner: int | None = None
    taken_back: bool = False

    @property
    def done(self) -> bool:
        return all(pane.done for pane in self.panes)

    @property
    def spoke(self) -> list[int]:
        """The panes with an answer in them that can be judged."""
        return [i for i, pane in enumerate(self.panes) if pane.provenance and not pane.error]

    @property
    def can_vote(self) -> bool:
        """At least two answers, all there, and no vote yet."""
        return self.done and len(self.spoke) > 1 and self.verdict is None and not self.taken_back

    @property
    def open(self) -> bool:
        """Still to be voted on, now or when all have duration."""
        return self.verdict is None and not self.taken_back and not (self.done and len(self.spoke) < 2)

    @property
    def revealed(self) -> bool:
        """Names are shown from the start, or once no vote can be swayed by them."""
        return not self.blind or not self.open

    def stopped(self) -> Round:
        """All panes done, with their text so far."""
        return replace(self, panes=tuple(replace(pane, done=True) for pane in self.panes))


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareSession:
    """What one window has done. It grows by replacement, like everything that travels between events."""

    window: str = ""
    """Which window, for the session store; empty until Compare was opened there."""
    person: str | None = None
    """Whose window it is; None where somebody would have to sign in and has not."""
    goes_on: bool = False
    """Whether a vote leads on to the next unseen prompt."""
    passed: tuple[str, ...] = ()
    """Unseen prompts that were skipped here."""
    votes: tuple[int, ...] = ()
    """Ids of the votes cast here, the newest last."""
    last: Round | None = None
    """What the newest of them was cast on."""

    def voted(self, round_: Round, id: int) -> CompareSession:
        """A prompt that not every adapter answered is skipped from now on, as it does not count as judged."""
        missing = (round_.prompt,) if len(round_.spoke) < len(round_.panes) else ()
        return replace(self, votes=(*self.votes, id), last=round_, passed=self.passed + missing)

    def skipped(self, round_: Round | None) -> CompareSession:
        """Without the prompt of `round_` for now, if it is an unseen one that waits for a vote."""
        if round_ is None or round_.step is None or round_.verdict is not None or round_.prompt in self.passed:
            return self
        return replace(self, passed=(*self.passed, round_.prompt))

    def taken_back(self) -> CompareSession:
        last = None if self.last is None else replace(self.last, taken_back=True)
        return replace(self, votes=self.votes[:-1], last=last)


Left = tuple[CompareSession, Round | None]


class SessionStore:
    """Keeps the state of every window, so that a page continues after a reload.

    A reloaded page is a new session to the server. The state of a closed window is handed, once, to the next window of
    the same person that opens Compare and has none of its own; two windows that are both open never share.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[str, Left] = {}
        self._closed: list[Left] = []

    def keep(self, session: CompareSession, round_: Round | None) -> None:
        if session.window:
            with self._lock:
                self._open[session.window] = (session, round_)

    def leave(self, window: str) -> None:
        """The window was closed, or is being reloaded."""
        with self._lock:
            left = self._open.pop(window, None)
            if left and left[0].person is not None and (left[1] is not None or left[0].votes):
                self._closed = [*self._closed, left][-MOST_CLOSED:]

    def enter(self, window: str, person: str | None, session: CompareSession, round_: Round | None) -> Left:
        """The state of this window from now on: its own, or that of this person's newest closed window."""
        with self._lock:
            mine = next((left for left in reversed(self._closed) if left[0].person == person), None)
            if not session.window and round_ is None and mine is not None:
                self._closed.remove(mine)
                session, round_ = mine
                round_ = None if round_ is None else round_.stopped()
            self._open[window] = (replace(session, window=window, person=person), round_)
            return self._open[window]


KINDS = [(label, kind) for kind, label in LABELS.items()]
FIRST = EVERYDAY


def prompts(kind: str = FIRST) -> list[str]:
    """The set that is walked through, in its order. The only place that knows where it is kept."""
    return unseen_prompts(kind)


def next_step(unseen: Sequence[str], judged: Mapping[str, int], passed: Collection[str] = ()) -> Step | None:
    """The first prompt that was judged least often; None when all of those were passed over.

    `judged` says how often each was. When all were judged equally often, another lap begins.
    """
    least = min((judged.get(prompt, 0) for prompt in unseen), default=0)
    waiting = [prompt for prompt in unseen if judged.get(prompt, 0) == least]
    left = [prompt for prompt in waiting if prompt not in passed]
    return Step(prompt=left[0], judged=len(unseen) - len(waiting), total=len(unseen)) if left else None
