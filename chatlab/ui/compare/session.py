"""What a window is at: the round on the screen, and what was voted and skipped there."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace

from chatlab.lab.compare.compare import Pane
from chatlab.records import Verdict

LEFT = 20
"""Windows whose unfinished rounds are remembered after they were closed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Where in the unseen prompts a round stands."""

    prompt: str
    judged: int
    """Prompts of this lap on which somebody has voted already."""
    total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One question to several voices. The panes stand in the order in which they are shown."""

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
        """Still to be voted on, now or when all have spoken."""
        return self.verdict is None and not self.taken_back and not (self.done and len(self.spoke) < 2)

    @property
    def revealed(self) -> bool:
        """Names are shown from the start, or once no vote can be swayed by them."""
        return not self.blind or not self.open

    def stopped(self) -> Round:
        """What was said so far is all there is."""
        return replace(self, panes=tuple(replace(pane, done=True) for pane in self.panes))


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareSession:
    """What one window has done. It grows by replacement, like everything that travels between events."""

    window: str = ""
    """Which window, for the desk; empty until Compare was opened there."""
    walking: bool = False
    """Whether a vote leads on to the next unseen prompt."""
    passed: tuple[str, ...] = ()
    """Unseen prompts that were skipped here."""
    votes: tuple[int, ...] = ()
    """Ids of the votes cast here, the newest last."""
    last: Round | None = None
    """What the newest of them was cast on."""

    def voted(self, round_: Round, id: int) -> CompareSession:
        """A prompt that not every voice answered is passed over from now on, as it will not count as judged."""
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
    """Keeps what every window is at, so that a page that was reloaded goes on where it was.

    A reloaded page is a new session to the server. What the closed one left is handed to the next window that opens
    Compare and has nothing of its own, once; two windows that are both open never share.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._here: dict[str, Left] = {}
        self._left: list[Left] = []

    def keep(self, sitting: CompareSession, round_: Round | None) -> None:
        if sitting.window:
            with self._lock:
                self._here[sitting.window] = (sitting, round_)

    def leave(self, window: str) -> None:
        """The window was closed, or is being reloaded."""
        with self._lock:
            left = self._here.pop(window, None)
            if left and (left[1] is not None or left[0].votes):
                self._left = [*self._left, left][-LEFT:]

    def enter(self, window: str, sitting: CompareSession, round_: Round | None) -> Left:
        """What this window is at from now on: its own, or what the newest closed one left."""
        with self._lock:
            if not sitting.window and round_ is None and self._left:
                sitting, round_ = self._left.pop()
                round_ = None if round_ is None else round_.stopped()
            self._here[window] = (replace(sitting, window=window), round_)
            return self._here[window]
