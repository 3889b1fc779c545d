"""Lists of turns, in the spellings that the field has for them, to messages."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from chatlab.errors import RowRefused
from chatlab.formats.reasoning import reasoning_of
from chatlab.formats.tool_messages import calls_of
from chatlab.records import Message, Role
from chatlab.tool_calls import Call

ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "prompter": "user",
    "customer": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bard": "assistant",
    "bing": "assistant",
    "bot": "assistant",
    "ai": "assistant",
    "model": "assistant",
    "tool": "tool",
    "function": "tool",
    "observation": "tool",
    "function_response": "tool",
}
WHO = ("role", "from", "speaker")
SAID = ("content", "value", "text")
_CALLED = ("function_call", "tool_call")
"""Who says a call, in ShareGPT's spelling; its words are the call as JSON."""
_TURN = re.compile(r"\n\n(Human|Assistant): ?")


def is_turns(value: Any) -> bool:
    """Whether a value looks like a conversation."""
    turns = value if isinstance(value, list) else []
    return bool(turns) and all(isinstance(turn, dict) and _named(turn, WHO) for turn in turns)


def spelling(turns: Sequence[dict[str, Any]]) -> str:
    """`OpenAI messages` or `ShareGPT`."""
    return "ShareGPT" if "from" in turns[0] else "OpenAI messages"


def messages_of(value: Any, what: str) -> list[Message]:
    """Raises RowRefused for anything that a list of messages cannot hold."""
    if not isinstance(value, list):
        raise RowRefused(f"{what!r} is not a list of turns.")
    return [_message(number, turn) for number, turn in enumerate(value, 1)]


def _message(number: int, turn: Any) -> Message:
    if not isinstance(turn, dict):
        raise RowRefused(f"Turn {number} is not an object with a role and a content.")
    who, said = _named(turn, WHO), _named(turn, SAID)
    if who and turn[who] in _CALLED:
        return Message(role="assistant", content="", calls=calls_of(number, [_parsed(number, turn.get(said))]))
    calls = _calls(number, turn)
    if not who or not (said or calls):
        raise RowRefused(f"Turn {number} has no {'role' if not who else 'content'}.")
    role = ROLES.get(turn[who].strip().casefold()) if isinstance(turn[who], str) else None
    if role is None:
        raise RowRefused(f"Turn {number} has the role {turn[who]!r}; known are user, assistant, system and tool.")
    if role == "assistant" and turn.get("weight") == 0:
        raise RowRefused(f"Turn {number} has weight 0 (not trained on), which is not supported.")
    if calls and role != "assistant":
        raise RowRefused(f"Turn {number} calls a tool, but it is not the assistant's.")
    silent = bool(calls) and (not said or turn[said] is None)
    content = "" if silent else _content(number, turn[said])
    return Message(role=role, content=content, calls=calls, reasoning=reasoning_of(turn) if role == "assistant" else "")


def _calls(number: int, turn: dict[str, Any]) -> tuple[Call, ...]:
    if called := turn.get("function_call"):
        return calls_of(number, [called])
    return calls_of(number, turn["tool_calls"]) if turn.get("tool_calls") else ()


def _parsed(number: int, value: Any) -> Any:
    try:
        return json.loads(value) if isinstance(value, str) else value
    except ValueError as error:
        raise RowRefused(f"Turn {number} calls a tool with what is no JSON.") from error


def _content(number: int, content: Any) -> str:
    """A text, or a list of parts that are all text."""
    if isinstance(content, str):
        return content
    if content is None:
        raise RowRefused(f"Turn {number} has no text.")
    parts = content if isinstance(content, list) else [None]
    texts = [part.get("text") if isinstance(part, dict) and part.get("type") == "text" else None for part in parts]
    if not all(isinstance(text, str) for text in texts):
        raise RowRefused(f"Turn {number} holds something other than text.")
    return "".join(map(str, texts))


def _named(turn: dict[str, Any], names: tuple[str, ...]) -> str:
    for name in names:
        if name in turn:
            return name
    return ""


def is_transcript(value: Any) -> bool:
    """Whether a text is a conversation with `Human:` and `Assistant:` before each turn, as HH's are."""
    return isinstance(value, str) and value.startswith("\n\nHuman:") and "\n\nAssistant:" in value


def transcript(text: str) -> list[Message]:
    """The turns of such a text."""
    _, *parts = _TURN.split(text)
    said = zip(parts[0::2], parts[1::2], strict=True)
    return [Message(role="user" if who == "Human" else "assistant", content=content) for who, content in said]
