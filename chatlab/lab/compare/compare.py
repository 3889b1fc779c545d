"""Comparing: several voices answer one prompt, side by side."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from time import perf_counter

from chatlab.engines.base import Piece, Sampling, Voice
from chatlab.errors import ChatlabError, InputError
from chatlab.lab.adapters import Voices
from chatlab.lab.models import ModelHost
from chatlab.records import Message, Provenance

log = logging.getLogger("chatlab.lab")

MOST = 6
"""Voices in one comparison."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pane:
    """One voice's answer as far as it has come."""

    voice: str
    """Who was asked."""
    text: str = ""
    speaker: Provenance | None = None
    """Who spoke, by the engine's own word; None before the first token."""
    done: bool = False
    error: str = ""


@dataclass(slots=True)
class _Lane:
    """One voice at work."""

    pane: Pane
    voice: Voice | None = None
    pieces: Iterator[Piece] | None = None
    seconds: float = 0.0
    """That this voice has taken; the others wait meanwhile."""


class Compare:
    """The same prompt, id for id, to several voices. Their answers grow a token each in turn."""

    def __init__(self, machine: ModelHost, voices: Voices) -> None:
        self._machine = machine
        self._voices = voices

    def ask(self, prompt: str, voices: Sequence[str], sampling: Sampling, system: str = "") -> Iterator[list[Pane]]:
        """The panes, in the order of `voices`, after every round. A voice that fails says so in its own pane."""
        if not prompt.strip():
            raise InputError("The prompt is empty.", "Write a prompt first.")
        if not 1 <= len(voices) <= MOST:
            raise InputError(
                f"Compare takes 1 to {MOST} adapters, not {len(voices)}.", "Choose fewer, or at least one."
            )
        return self._race(self._machine.base.template.prompt(messages(prompt, system)), voices, sampling)

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
        with _failing(lane):
            lane.voice = self._voices.voice(name)
            lane.pieces = self._machine.engine.stream(
                prompt, sampling, lane.voice, self._machine.base.template.stop_ids
            )
        return lane

    def _advance(self, lane: _Lane) -> None:
        """One more piece into the lane's pane."""
        if lane.pane.done or lane.pieces is None or lane.voice is None:
            return
        began = perf_counter()
        with _failing(lane):
            piece = next(lane.pieces, None)
            lane.seconds += perf_counter() - began
            lane.pane = replace(lane.pane, done=True) if piece is None else self._grown(lane, lane.voice, piece)

    def _grown(self, lane: _Lane, voice: Voice, piece: Piece) -> Pane:
        speaker = Provenance(
            adapter=voice.name,
            sha256=piece.sha256,
            base=self._machine.base.fingerprint,
            strength=voice.strength,
            tokens=piece.tokens,
            seconds=lane.seconds,
        )
        text, done = lane.pane.text + piece.text, piece.stop is not None
        said = self._machine.base.template.content(text) if done else text
        return replace(lane.pane, text=said, speaker=speaker, done=done)


@contextlib.contextmanager
def _failing(lane: _Lane) -> Iterator[None]:
    """What goes wrong with one voice stays in its pane."""
    try:
        yield
    except ChatlabError as error:
        lane.pane = replace(lane.pane, error=f"{error} {error.hint}".strip(), done=True)
    except Exception:
        log.exception("An adapter failed in a comparison")
        lane.pane = replace(lane.pane, error="Something went wrong inside Chatlab. The log has details.", done=True)


def messages(prompt: str, system: str = "") -> tuple[Message, ...]:
    """One question, under a system message if there is one."""
    heading = (Message(role="system", content=system.strip()),) if system.strip() else ()
    return (*heading, Message(role="user", content=prompt))
