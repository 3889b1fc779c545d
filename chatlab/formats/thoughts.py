"""What was thought before an answer: in data sets it stands beside the words of an assistant's turn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from chatlab.records import Message

FIELD = "reasoning_content"
"""As DeepSeek's API named it; vLLM and most chat templates read it."""
NAMES = (FIELD, "reasoning", "thinking")
"""What it is called in a turn, likeliest first."""
COLUMNS = (*NAMES, "thought", "thoughts")
"""What a column is called that holds nothing else."""


def thought_of(turn: Mapping[str, Any]) -> str:
    """The thought that a turn has beside its words; nothing where what stands there is no text."""
    return next((text for name in NAMES if isinstance(text := turn.get(name), str) and text), "")


def field_of(message: Message) -> dict[str, str]:
    """What a turn has beside its words; nothing where nothing was thought."""
    return {FIELD: message.reasoning} if message.reasoning else {}


def thoughts(messages: Sequence[Message]) -> int:
    """How many there are."""
    return sum(bool(message.reasoning) for message in messages)
