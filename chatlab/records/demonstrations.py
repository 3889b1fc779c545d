"""Conversations to learn from, and prompts that nothing is learned from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from chatlab.records.feedback import Annotation
from chatlab.records.messages import Message, digest

Source = Literal["liked", "edited", "written", "imported", "synthetic"]
Status = Literal["approved", "waiting", "discarded"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Demonstration:
    """A conversation whose last message is an answer worth learning."""

    messages: tuple[Message, ...]
    source: Source = "written"
    status: Status = "approved"
    tags: tuple[str, ...] = ()
    origin: str = ""
    """Where it came from, as `conversation/turn`; empty when written from scratch."""
    created: str = ""
    """ISO 8601, UTC."""
    authors: tuple[str, ...] = ()
    """Who wrote it, in the order in which they did; empty where nobody gave a name."""
    approved_by: str = ""
    annotations: tuple[Annotation, ...] = ()
    """One by each annotator, the newest last."""

    def check(self) -> None:
        """Raises ValueError for one that says nothing at all."""
        if not self.messages:
            raise ValueError("it has no messages")

    @property
    def content_hash(self) -> str:
        """sha256 of what it says, equal for equal words."""
        return digest(self.messages)

    @property
    def prompt(self) -> tuple[Message, ...]:
        return self.messages[:-1]

    @property
    def answer(self) -> str:
        return self.messages[-1].content


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """A system message to begin from, its variables in braces."""

    name: str
    text: str = ""
    created: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnseenSet:
    """Prompts by which models are compared and measured, so that nothing is ever trained on them."""

    prompts: tuple[str, ...]
    """In the person's order; one line each."""
    changed: str = ""
