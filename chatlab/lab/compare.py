"""Comparing: several voices answer one prompt, and somebody says which answer is best."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from time import perf_counter

from chatlab.clock import now
from chatlab.engines.base import Piece, Sampling, Voice
from chatlab.errors import ChatlabError, InputError
from chatlab.lab.machine import Machine
from chatlab.lab.voices import Voices
from chatlab.records import Message, Preference, Speaker, Verdict, Vote
from chatlab.store import Store

MOST = 6
"""Voices in one comparison."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pane:
    """One voice's answer as far as it has come."""

    voice: str
    """Who was asked."""
    text: str = ""
    speaker: Speaker | None = None
    """Who spoke, by the engine's own word; None before the first token."""
    done: bool = False
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """How often a voice won, lost, or tied against another."""

    wins: int = 0
    losses: int = 0
    ties: int = 0


@dataclass(slots=True)
class _Lane:
    """One voice at work."""

    pane: Pane
    voice: Voice | None = None
    pieces: Iterator[Piece] | None = None
    began: float = field(default_factory=perf_counter)


class Compare:
    """The same prompt, id for id, to several voices. Their answers grow a token each in turn."""

    def __init__(self, store: Store, machine: Machine, voices: Voices) -> None:
        self._store = store
        self._machine = machine
        self._voices = voices

    def ask(self, prompt: str, voices: Sequence[str], sampling: Sampling, system: str = "") -> Iterator[list[Pane]]:
        """The panes, in the order of `voices`, after every round. A voice that fails says so in its own pane."""
        if not prompt.strip():
            raise InputError("There is nothing to ask.", "Write a prompt first.")
        if not 1 <= len(voices) <= MOST:
            raise InputError(
                f"Compare takes one to {MOST} voices, not {len(voices)}.", "Choose fewer, or at least one."
            )
        return self._race(self._machine.base.template.prompt(messages(prompt, system)), voices, sampling)

    def vote(
        self, prompt: str, panes: Sequence[Pane], verdict: Verdict, winner: int | None = None, system: str = ""
    ) -> int:
        """Keep a verdict; its id. A best answer is also preferred to each other one that differs from it."""
        if verdict == "best" and (winner is None or not 0 <= winner < len(panes)):
            raise InputError("Say which answer was best.")
        spoken = [pane.speaker or Speaker(adapter=pane.voice) for pane in panes]
        asked = messages(prompt, system)
        if verdict == "best" and winner is not None:
            self._store.preferences.add_many(_pairs(asked, panes, spoken, winner))
        return self._store.votes.add(
            Vote(
                prompt=asked,
                answers=tuple(pane.text for pane in panes),
                speakers=tuple(spoken),
                verdict=verdict,
                winner=winner if verdict == "best" else None,
                created=now(),
            )
        )

    def tally(self) -> dict[str, Tally]:
        """By voice name, over all votes, each pair of panes counted once."""
        counts: dict[str, Tally] = {}
        for _, vote in self._store.votes.rows():
            for i, speaker in enumerate(vote.speakers):
                counts[speaker.adapter] = _counted(counts.get(speaker.adapter, Tally()), vote, i)
        return counts

    def _race(self, prompt: list[int], voices: Sequence[str], sampling: Sampling) -> Iterator[list[Pane]]:
        lanes = [self._start(prompt, name, sampling) for name in voices]
        try:
            yield [lane.pane for lane in lanes]
            while any(not lane.pane.done for lane in lanes):
                for lane in lanes:
                    self._advance(lane)
                yield [lane.pane for lane in lanes]
        finally:
            for lane in lanes:
                getattr(lane.pieces, "close", lambda: None)()

    def _start(self, prompt: list[int], name: str, sampling: Sampling) -> _Lane:
        lane = _Lane(pane=Pane(voice=name))
        try:
            lane.voice = self._voices.voice(name)
            lane.pieces = self._machine.engine.stream(
                prompt, sampling, lane.voice, self._machine.base.template.stop_ids
            )
        except ChatlabError as error:
            lane.pane = replace(lane.pane, error=str(error), done=True)
        return lane

    def _advance(self, lane: _Lane) -> None:
        """One more piece into the lane's pane."""
        if lane.pane.done or lane.pieces is None or lane.voice is None:
            return
        try:
            piece = next(lane.pieces, None)
        except ChatlabError as error:
            lane.pane = replace(lane.pane, error=str(error), done=True)
            return
        if piece is None:
            lane.pane = replace(lane.pane, done=True)
            return
        speaker = Speaker(
            adapter=lane.voice.name,
            sha256=piece.sha256,
            base=self._machine.base.fingerprint,
            strength=lane.voice.strength,
            tokens=piece.tokens,
            seconds=perf_counter() - lane.began,
        )
        text, done = lane.pane.text + piece.text, piece.stop is not None
        said = self._machine.base.template.content(text) if done else text
        lane.pane = replace(lane.pane, text=said, speaker=speaker, done=done)


def messages(prompt: str, system: str = "") -> tuple[Message, ...]:
    """One question, under a system message if there is one."""
    heading = (Message(role="system", content=system.strip()),) if system.strip() else ()
    return (*heading, Message(role="user", content=prompt))


def _pairs(
    asked: tuple[Message, ...], panes: Sequence[Pane], spoken: Sequence[Speaker], winner: int
) -> list[Preference]:
    """The winner over every other answer that differs from it."""
    best = panes[winner].text
    return [
        Preference(
            prompt=asked,
            chosen=best,
            rejected=pane.text,
            source="compare",
            chosen_by=spoken[winner],
            rejected_by=spoken[i],
            created=now(),
        )
        for i, pane in enumerate(panes)
        if i != winner and pane.text != best and best.strip()
    ]


def _counted(tally: Tally, vote: Vote, i: int) -> Tally:
    """`tally` of the voice in pane `i`, with one more vote."""
    others = len(vote.speakers) - 1
    if vote.verdict != "best":
        return replace(tally, ties=tally.ties + others)
    if i == vote.winner:
        return replace(tally, wins=tally.wins + others)
    return replace(tally, losses=tally.losses + 1)
