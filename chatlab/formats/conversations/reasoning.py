"""Reasoning before an answer: in data sets it stands beside the words of an assistant's turn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from chatlab.records import Message

FIELD = "reasoning_content"
"""The name in DeepSeek's API; vLLM and most chat templates read it."""
NAMES = (FIELD, "reasoning", "thinking")
"""Names of its field in a turn, likeliest first."""
COLUMNS = (*NAMES, "thought", "thoughts")
"""Names of a column that holds nothing else."""


def reasoning_of(turn: Mapping[str, Any]) -> str:
    """The reasoning that a turn has beside its words; nothing where what stands there is no text."""
    return next((text for name in NAMES if isinstance(text := turn.get(name), str) and text), "")


def field_of(message: Message) -> dict[str, str]:
    """The field of a turn that holds its reasoning; none where there is none."""
    return {FIELD: message.reasoning} if message.reasoning else {}


def count_reasoning(messages: Sequence[Message]) -> int:
    """How many messages have reasoning."""
    return sum(bool(message.reasoning) for message in messages)
