"""A conversation in any of its shapes: turns, exchanges, a tree, one text, or JSON of these in a cell."""

from __future__ import annotations

import ast
import json
import re
from typing import Any

from chatlab.formats.conversations.transcripts import is_transcript, transcript
from chatlab.formats.conversations.trees import is_mapping, is_tree, turns_of_tree
from chatlab.formats.conversations.turns import SAID, WHO, is_exchange, is_turns, messages_of
from chatlab.records import Message

_PRINTED = re.compile(r"\[\s*(?:\{\s*'|')")
"""How Python prints a list of objects or texts, which is what pandas writes into a cell."""
_DEEP = re.compile(r"[\[({-]\s*+(?:[\[({-]\s*+){19}")


def opened(value: Any) -> Any:
    """What a cell holds: a list or an object that was written into it as JSON, or as Python prints it."""
    if isinstance(value, dict) and (turns := _turns_by_field(value)):
        return turns
    text = value.strip() if isinstance(value, str) else ""
    if text[:2] + text[-2:] in ('"[]"', '"{}"'):  # written as JSON twice
        text = _text_in(text)
    if text[:1] + text[-1:] not in ("[]", "{}"):
        return value
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        if not _PRINTED.match(text) or _DEEP.search(text):
            return value
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return value


def _turns_by_field(value: dict[str, Any]) -> list[dict[str, Any]]:
    """Turns that are written as a list for each of their fields, as `datasets` has sequences."""
    who, said = (next((name for name in names if name in value), "") for names in (WHO, SAID))
    lists = [one for one in value.values() if isinstance(one, list)]
    if not who or not said or len(lists) < len(value) or len({len(one) for one in lists}) != 1:
        return []
    return [dict(zip(value, turn, strict=True)) for turn in zip(*lists, strict=True)]


def _text_in(text: str) -> str:
    try:
        inner = json.loads(text)
    except ValueError:
        return text
    return inner.strip() if isinstance(inner, str) else text


def turns_or_text(value: Any) -> Any:
    """The same where only turns are opened: an answer in JSON stays the text that it is."""
    found = opened(value)
    return found if is_turns(found) else value


def conversation_in(value: Any, what: str) -> list[Message]:
    """The messages of an opened value. Raises RowRefused."""
    if isinstance(value, dict) and isinstance(value.get("messages"), list):
        value = value["messages"]
    if is_tree(value) or is_mapping(value):
        return messages_of(turns_of_tree(value), what)
    return transcript(value) if isinstance(value, str) else messages_of(value, what)


def is_conversation(value: Any, named: bool) -> bool:
    """Whether an opened value is a conversation; `named` whether its column is called so.

    Texts in turn, without a word of who speaks, are taken for one only where the column is.
    """
    if is_turns(value) or is_tree(value) or is_mapping(value) or is_transcript(value):
        return True
    return named and is_exchange(value)


def is_texts_in_turn(value: Any) -> bool:
    """Whether an opened value is a list of texts, one said after the other, as UltraChat's are."""
    return is_exchange(value) and isinstance(value[0], str)
