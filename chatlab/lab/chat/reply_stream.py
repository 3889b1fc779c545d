"""A reply under way, as whoever watches it sees it."""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter

from chatlab.conversation import Conversation
from chatlab.engines.base import Variant
from chatlab.records import Provenance, StopReason
from chatlab.tool_calls import Call, ToolStep


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A reply as far as it has come."""

    conversation: Conversation
    """Without the reply while it grows, its head the turn that is being answered; with it once `done`."""
    text: str
    tokens: int
    seconds: float
    speaker: Provenance | None
    """None before the first token."""
    thought: str = ""
    """What is thought before the text."""
    steps: tuple[ToolStep, ...] = ()
    """What has been delegated so far."""
    doing: Call | None = None
    """What is being done right now."""
    done: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """What is new in a reply: one token more, a tool that works, or a tool that has answered."""

    said: str
    """What it says after the last step, so far."""
    tokens: int
    """Of the whole reply."""
    sha256: str
    """Of the adapter weights that drew them."""
    thought: str = ""
    """Before the first step, as far as it has come."""
    steps: tuple[ToolStep, ...] = ()
    doing: Call | None = None
    stop: StopReason | None = None
    """Set in the last one, and only there."""


class ReplyStream:
    """A reply under way: its text so far and who speaks."""

    def __init__(self, variant: Variant, base: str) -> None:
        self.variant = variant
        self.text = ""
        self.thought = ""
        self.steps: tuple[ToolStep, ...] = ()
        self.speaker: Provenance | None = None
        self._doing: Call | None = None
        self._base = base
        self._began = perf_counter()

    def add(self, moment: Moment) -> None:
        self.text, self.thought = moment.said, moment.thought
        self.steps, self._doing = moment.steps, moment.doing
        self.speaker = Provenance(
            adapter=self.variant.name,
            sha256=moment.sha256,
            base=self._base,
            strength=self.variant.strength,
            tokens=moment.tokens,
            seconds=perf_counter() - self._began,
        )

    def draft(self, conversation: Conversation, done: bool = False) -> Draft:
        tokens, seconds = (self.speaker.tokens, self.speaker.seconds) if self.speaker else (0, 0.0)
        return Draft(
            conversation=conversation,
            text=self.text,
            thought=self.thought,
            tokens=tokens,
            seconds=seconds,
            speaker=self.speaker,
            steps=self.steps,
            doing=None if done else self._doing,
            done=done,
        )
