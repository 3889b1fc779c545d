"""What the columns of a data set mean: its layout, and which column plays which part in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from chatlab.formats.reasoning import COLUMNS

LayoutName = Literal["conversation", "answer", "preference", "thumb", "tasks"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One thing that a row says."""

    name: str
    label: str
    needed: bool = False
    names: tuple[str, ...] = ()
    """What columns that play it are often called, likeliest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """What rows of one kind are made of."""

    name: LayoutName
    label: str
    becomes: str
    parts: tuple[Part, ...]


_PROMPTS = ("prompt", "instruction", "question", "query", "user", "human", "input", "problem", "request", "ask", "text")
_ANSWERS = ("completion", "response", "output", "answer", "reply", "assistant", "gpt", "target", "solution", "label")
_SYSTEM = Part(name="system", label="System message", names=("system", "system_prompt", "system_message"))
_TOOLS = Part(name="tools", label="Tools", names=("tools", "functions"))
_TAGS = Part(name="tags", label="Tags", names=("tags", "tag", "category"))
_PROMPT = Part(name="prompt", label="Prompt", needed=True, names=_PROMPTS)
_ANSWER = Part(name="answer", label="Answer", needed=True, names=_ANSWERS)
_THOUGHT = Part(name="thought", label="Thinking before the answer", names=COLUMNS)

LAYOUTS: tuple[Layout, ...] = (
    Layout(
        name="conversation",
        label="Conversations",
        becomes="demonstrations",
        parts=(
            Part(
                name="turns",
                label="Turns",
                needed=True,
                names=("messages", "conversations", "conversation", "dialog", "dialogue", "turns", "chat"),
            ),
            _SYSTEM,
            _TOOLS,
            _TAGS,
        ),
    ),
    Layout(
        name="answer",
        label="Prompts and answers",
        becomes="demonstrations",
        parts=(
            _PROMPT,
            Part(name="context", label="Text to work on", names=("input", "context", "passage", "document")),
            _ANSWER,
            _THOUGHT,
            _SYSTEM,
            Part(name="history", label="Earlier turns", names=("history",)),
            _TOOLS,
            _TAGS,
        ),
    ),
    Layout(
        name="preference",
        label="Pairs: chosen and rejected",
        becomes="preferences",
        parts=(
            Part(name="prompt", label="Prompt", names=_PROMPTS),
            Part(
                name="chosen", label="Chosen answer", needed=True, names=("chosen", "accepted", "preferred", "winner")
            ),
            Part(name="rejected", label="Rejected answer", needed=True, names=("rejected", "dispreferred", "loser")),
            _SYSTEM,
            _TOOLS,
        ),
    ),
    Layout(
        name="thumb",
        label="Thumbs: liked or not",
        becomes="demonstrations",
        parts=(
            _PROMPT,
            _ANSWER,
            Part(name="liked", label="Liked", needed=True, names=("label", "liked", "thumb", "kto_tag", "desirable")),
            _THOUGHT,
            _SYSTEM,
            _TAGS,
        ),
    ),
    Layout(
        name="tasks",
        label="Tasks with instances",
        becomes="demonstrations",
        parts=(_PROMPT, Part(name="instances", label="Instances", needed=True, names=("instances",)), _TAGS),
    ),
)

KNOWN = frozenset(name for layout in LAYOUTS for part in layout.parts for name in part.names) - {"text"}
"""Names that tell a header from a first row."""


def layout(name: LayoutName) -> Layout:
    return next(one for one in LAYOUTS if one.name == name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """Which column plays which part. A part that none plays is not in `of`."""

    layout: LayoutName
    of: Mapping[str, str] = field(default_factory=dict)
    """Part -> column."""

    def missing(self) -> tuple[str, ...]:
        """Labels of the parts that a row cannot do without, and no column plays."""
        return tuple(part.label for part in layout(self.layout).parts if part.needed and not self.of.get(part.name))
