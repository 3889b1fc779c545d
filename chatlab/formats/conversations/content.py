"""What one turn says: a text, or parts as OpenAI, Anthropic, Bedrock, Gemini and LLaMA-Factory have them."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from chatlab.errors import RowRefused

MEDIA = ("image", "picture", "photo", "video", "audio", "inlinedata", "filedata", "document", "file")
"""What parts that are no words begin with, in their type or in the name of what they hold."""
_CALLS = ("tool_use", "tool_call", "function_call", "toolUse", "functionCall")
_RESULTS = ("tool_result", "function_response", "toolResult", "functionResponse")
_REASONING = ("thinking", "reasoning", "thought")
_TEXTS = ("text", "value", "content", "refusal")


@dataclass(slots=True)
class Content:
    """The parts of a turn by what they are."""

    texts: list[str] = field(default_factory=list)
    reasoning: list[str] = field(default_factory=list)
    calls: list[Any] = field(default_factory=list)
    """As their own format has them."""
    results: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "".join(self.texts)


def content_of(number: int, raw: Any) -> Content:
    """The content of turn `number`. Raises RowRefused for what is neither text, reasoning, call nor result."""
    if isinstance(raw, dict):
        raw = raw["parts"] if isinstance(raw.get("parts"), list) else [raw]
    if raw is None:
        raise RowRefused(f"Turn {number} has no text.")
    found = Content()
    for part in raw if isinstance(raw, list) else [raw]:
        _add(found, number, part)
    return found


def shows_media(name: str) -> bool:
    """Whether a part or a column of this name holds something other than words."""
    plain = name.casefold().replace("_", "").replace("-", "").removeprefix("input").removeprefix("output")
    return plain.startswith(MEDIA)


def _add(found: Content, number: int, part: Any) -> None:
    if isinstance(part, str):
        found.texts.append(part)
        return
    if not isinstance(part, dict):
        raise RowRefused(f"Turn {number} holds something other than text.")
    kind = part.get("type") or next((name for name in part if name in (*_CALLS, *_RESULTS)), "")
    if shows_media(str(kind)) or any(shows_media(name) for name, value in part.items() if value):
        raise RowRefused(f"Turn {number} holds a picture, a sound or a file; only words can be learned.")
    inner = part.get(kind, part)
    if kind in _CALLS:
        found.calls.append(_parsed(part.get("value", inner)))
    elif kind in _RESULTS:
        found.results.append(_result(number, inner if isinstance(inner, dict) else part))
    elif kind in _REASONING or part.get("thought") is True:
        found.reasoning.append(_text(number, {"text": part.get(kind), **part}))
    elif "reasoningContent" in part:
        told = part["reasoningContent"]
        found.reasoning.append(_text(number, told.get("reasoningText", {}) if isinstance(told, dict) else {}))
    elif kind != "redacted_thinking":
        found.texts.append(_text(number, part))


def _text(number: int, part: dict[str, Any]) -> str:
    told = next((part[name] for name in _TEXTS if part.get(name) is not None), None)
    told = told.get("value") if isinstance(told, dict) else told
    if not isinstance(told, str):
        raise RowRefused(f"Turn {number} holds something other than text.")
    return told


def _result(number: int, result: dict[str, Any]) -> str:
    """What a tool gave, as text: JSON where it is no text."""
    told = next((result[name] for name in ("content", "response", "output", "value") if name in result), "")
    parts = told if isinstance(told, list) and all(isinstance(one, dict) for one in told) else None
    if parts is None:
        return told if isinstance(told, str) else json.dumps(told, ensure_ascii=False)
    if any(shows_media(str(one.get("type", ""))) or any(map(shows_media, one)) for one in parts):
        raise RowRefused(f"Turn {number} holds a picture, a sound or a file; only words can be learned.")
    texts = [one["text"] if isinstance(one.get("text"), str) else one.get("json", one) for one in parts]
    return "\n".join(text if isinstance(text, str) else json.dumps(text, ensure_ascii=False) for text in texts)


def _parsed(value: Any) -> Any:
    """LLaMA-Factory's calls are JSON in a text."""
    try:
        return json.loads(value) if isinstance(value, str) else value
    except ValueError:
        return value
