"""Lists of turns, in the spellings that the field has for them, to messages."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from chatlab.errors import RowRefused
from chatlab.formats.conversations.content import Content, content_of
from chatlab.formats.conversations.reasoning import reasoning_of
from chatlab.formats.conversations.tool_messages import calls_of
from chatlab.formats.verdicts import is_disliked, mark_of
from chatlab.records import Message, Role
from chatlab.tool_calls import Call

_SYSTEM = ("system", "developer")
_USER = ("user", "human", "prompter", "customer", "client", "person", "questioner", "usr", "inquirer", "visitor")
_ASSISTANT = (
    "assistant",
    "gpt",
    "chatgpt",
    "bard",
    "bing",
    "bot",
    "ai",
    "model",
    "chatbot",
    "agent",
    "claude",
    "llm",
    "gemini",
    "ai assistant",
    "gpt-3.5",
    "gpt-4",
    "gpt4",
    "language model",
)
_TOOL = ("tool", "function", "observation", "function_response", "tool_response", "tool_result", "ipython")

ROLES: dict[str, Role] = {
    **dict.fromkeys(_SYSTEM, "system"),
    **dict.fromkeys(_USER, "user"),
    **dict.fromkeys(_ASSISTANT, "assistant"),
    **dict.fromkeys(_TOOL, "tool"),
}
WHO = ("role", "from", "speaker", "sender", "author")
SAID = ("content", "value", "text", "utterance", "parts", "message")
PAIRS = (
    ("input", "output"),
    ("human", "assistant"),
    ("user", "assistant"),
    ("prompt", "response"),
    ("question", "answer"),
    ("query", "response"),
    ("instruction", "output"),
    ("prompt", "completion"),
)
"""Names of an exchange's two sides, where a list holds exchanges, as Capybara's and ms-swift's do."""
_CALLED = ("function_call", "tool_call", "tool_calls")
"""Who says a call, in ShareGPT's spelling; its words are the call as JSON."""
_WEIGHTS = ("weight", "loss_weight", "loss", "train", "training", "trainable")
"""Fields that say whether a turn is learned: OpenAI's, LLaMA-Factory's, ms-swift's, Axolotl's."""
_RATINGS = ("rating", "liked", "feedback", "thumb", "vote")


def is_turns(value: Any) -> bool:
    """Whether a value looks like a conversation."""
    turns = value if isinstance(value, list) else []
    return bool(turns) and all(isinstance(turn, dict) and _named(turn, WHO) and _says(turn) for turn in turns)


def is_exchange(value: Any) -> bool:
    """Whether a value is what two say in turn, without a word of who: texts, or pairs of them."""
    if not isinstance(value, list) or not value:
        return False
    if all(isinstance(one, str) for one in value):
        return len(value) > 1
    return all(_pair(one) is not None for one in value)


def spelling(turns: Sequence[dict[str, Any]]) -> str:
    """`OpenAI messages`, `ShareGPT` or `Gemini contents`."""
    if "from" in turns[0]:
        return "ShareGPT"
    return "Gemini contents" if "parts" in turns[0] else "OpenAI messages"


def messages_of(value: Any, what: str) -> list[Message]:
    """Raises RowRefused for anything that a list of messages cannot hold."""
    if not isinstance(value, list):
        raise RowRefused(f"{what!r} is not a list of turns.")
    told = value
    if is_exchange(value) and not is_turns(value):
        texts = value if isinstance(value[0], str) else [text for one in value for text in _pair(one) or ()]
        told = [{"role": ("user", "assistant")[n % 2], "content": text} for n, text in enumerate(texts)]
    messages = [message for number, turn in enumerate(told, 1) for message in _messages(number, turn)]
    return _system_that_answers(messages)


def _pair(one: Any) -> tuple[Any, Any] | None:
    """Both sides of an exchange; None for what is none."""
    if isinstance(one, dict):
        return next(((one[a], one[b]) for a, b in PAIRS if a in one and b in one), None)
    two = isinstance(one, list) and len(one) == 2 and all(isinstance(text, str) for text in one)
    return (one[0], one[1]) if two else None


def _messages(number: int, turn: Any) -> list[Message]:
    """A turn is one message, or several where results of tools stand beside what is said."""
    if not isinstance(turn, dict):
        raise RowRefused(f"Turn {number} is not an object with a role and a content.")
    who, said = _named(turn, WHO), _named(turn, SAID)
    name = turn[who].get("role") if who and isinstance(turn[who], dict) else turn.get(who)
    if name in _CALLED:
        called = _parsed(number, turn.get(said))
        calls = calls_of(number, called if isinstance(called, list) else [called])
        return [Message(role="assistant", content="", calls=calls, masked=_is_masked(number, turn))]
    beside = _calls(number, turn)
    if not who or not (said or beside):
        raise RowRefused(f"Turn {number} has no {'role' if not who else 'content'}.")
    role = ROLES.get(name.strip().casefold()) if isinstance(name, str) else None
    if role is None:
        raise RowRefused(f"Turn {number} has the role {name!r}; known are user, assistant, system and tool.")
    silent = bool(beside) and (not said or turn[said] is None)
    content = Content() if silent else content_of(number, turn[said])
    calls = (*beside, *calls_of(number, content.calls))
    if calls and role != "assistant":
        raise RowRefused(f"Turn {number} calls a tool, but it is not the assistant's.")
    results = [Message(role="tool", content=text) for text in content.results]
    if results and not content.text.strip() and not calls:
        return results
    if role != "assistant":
        return [*results, Message(role=role, content=content.text)]
    reasoning = reasoning_of(turn) or "\n".join(content.reasoning)
    masked = _is_masked(number, turn)
    return [*results, Message(role=role, content=content.text, calls=calls, reasoning=reasoning, masked=masked)]


def _system_that_answers(messages: list[Message]) -> list[Message]:
    """The same; where nobody else answers, the system does, as in dialogues between USER and SYSTEM."""
    roles = [message.role for message in messages]
    if "assistant" in roles or "system" not in roles or roles[0] != "user":
        return messages
    return [Message(role="assistant", content=m.content) if m.role == "system" else m for m in messages]


def _is_masked(number: int, turn: dict[str, Any]) -> bool:
    """Whether an answer is read and not learned: it has no weight, or somebody disliked it."""
    for name in _WEIGHTS:
        weight = _weight(turn.get(name))
        if weight is not None:
            if weight not in (0, 1):
                raise RowRefused(f"Turn {number} has the weight {weight:g}; 0 (not learned) and 1 are known.")
            return not weight
    return any(is_disliked(turn[name]) for name in _RATINGS if name in turn)


def _weight(value: Any) -> float | None:
    """A weight, also as a table has it; None for what is none."""
    told = value.strip().casefold() if isinstance(value, str) else value
    if isinstance(told, str):
        return {"true": 1.0, "false": 0.0}.get(told, mark_of(told))
    return float(told) if isinstance(told, bool | int | float) else None


def _says(turn: dict[str, Any]) -> bool:
    return bool(_named(turn, SAID)) or "tool_calls" in turn or "function_call" in turn


def _calls(number: int, turn: dict[str, Any]) -> tuple[Call, ...]:
    if called := turn.get("function_call"):
        return calls_of(number, [called])
    return calls_of(number, turn["tool_calls"]) if turn.get("tool_calls") else ()


def _parsed(number: int, value: Any) -> Any:
    try:
        return json.loads(value) if isinstance(value, str) else value
    except ValueError as error:
        raise RowRefused(f"Turn {number} calls a tool with what is no JSON.") from error


def _named(turn: dict[str, Any], names: tuple[str, ...]) -> str:
    for name in names:
        if name in turn:
            return name
    return ""
