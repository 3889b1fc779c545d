"""Tools and calls as OpenAI's messages hold them, to and from our own.

A row tells of its tools beside its messages; ours are told by the system message. Values keep the types that they have.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from chatlab.conversation import with_tools
from chatlab.errors import RowRefused
from chatlab.formats.conversations.reasoning import field_of
from chatlab.records import Message
from chatlab.tool_calls import Call, Parameter, Tool

Values = dict[str, Any]
LINES = frozenset({"code", "program", "script"})
"""Names of parameters that hold several lines."""


def turns_of(messages: Sequence[Message]) -> list[Values]:
    """Messages as OpenAI's API has them, each result with the id of its call."""
    waiting: list[str] = []
    turns: list[Values] = []
    for number, message in enumerate(messages):
        if message.role == "system" and message.tools and not message.content:
            continue  # it says nothing but what the row tells beside its messages
        turn: Values = {"role": message.role, "content": message.content, **field_of(message)}
        if message.masked:
            turn["weight"] = 0
        if message.calls:
            waiting = [f"call_{number}_{place}" for place in range(len(message.calls))]
            turn["tool_calls"] = [_call(id, call) for id, call in zip(waiting, message.calls, strict=True)]
        elif message.role == "tool" and waiting:
            turn["tool_call_id"] = waiting.pop(0)
        turns.append(turn)
    return turns


def schemas_of(messages: Sequence[Message]) -> list[Values]:
    """What a row tells of its tools."""
    return [tool.schema for message in messages for tool in message.tools]


def calls_of(number: int, raw: Any) -> tuple[Call, ...]:
    """The calls of turn `number`. Raises RowRefused."""
    if not isinstance(raw, list):
        raise RowRefused(f"Turn {number} has calls that are no list.")
    return tuple(_call_of(number, one) for one in raw)


def add_tools(messages: Sequence[Message], raw: Any) -> list[Message]:
    """The messages with the tools that their row tells of. Raises RowRefused."""
    if isinstance(raw, str):
        raw = _json(raw, "Its tools are no JSON.")
    if not raw:
        return list(messages)
    raw = raw.get("tools", raw) if isinstance(raw, dict) else raw
    if not isinstance(raw, list):
        raise RowRefused("Its tools are no list.")
    declared = [one["functionDeclarations"] for one in raw if isinstance(one, dict) and "functionDeclarations" in one]
    if declared:  # Gemini's
        raw = [tool for some in declared if isinstance(some, list) for tool in some]
    return list(with_tools(tuple(messages), tuple(map(_tool_of, raw))))


def _call(id: str, call: Call) -> Values:
    arguments = json.dumps(call.values, ensure_ascii=False)
    return {"id": id, "type": "function", "function": {"name": call.name, "arguments": arguments}}


def _call_of(number: int, raw: Any) -> Call:
    function = raw.get("function", raw) if isinstance(raw, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str) or not function["name"].strip():
        raise RowRefused(f"Turn {number} calls something without a name.")
    given: Any = next((function[name] for name in ("arguments", "args", "input", "parameters") if name in function), {})
    given = _json(given, f"Turn {number} calls a tool with what is no JSON.") if isinstance(given, str) else given
    if not isinstance(given, dict):
        raise RowRefused(f"Turn {number} calls a tool with something other than named values.")
    texts = {name: value if isinstance(value, str) else _written(value) for name, value in given.items()}
    typed = tuple(name for name, value in given.items() if not isinstance(value, str))
    return Call(name=function["name"], arguments=tuple(texts.items()), typed=typed)


def _tool_of(raw: Any) -> Tool:
    function = raw.get("function", raw.get("toolSpec", raw)) if isinstance(raw, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise RowRefused("One of its tools has no name.")
    about = function.get("description") or ""
    schema = next((function[name] for name in ("parameters", "input_schema", "inputSchema") if name in function), None)
    schema = schema.get("json", schema) if isinstance(schema, dict) else schema
    return Tool(name=function["name"], about=str(about), parameters=tuple(_parameters(schema)))


def _parameters(schema: Any) -> Iterator[Parameter]:
    properties = schema.get("properties") if isinstance(schema, Mapping) else None
    required = schema.get("required") if isinstance(schema, Mapping) else None
    for name, about in (properties or {}).items() if isinstance(properties, Mapping) else ():
        words = about.get("description") if isinstance(about, Mapping) else ""
        text = not isinstance(about, Mapping) or (
            about.get("type", "string") == "string" and about.keys() <= {"type", "description"}
        )
        yield Parameter(
            name=str(name),
            about=str(words or ""),
            lines=name in LINES,
            schema="" if text else _written(about),
            optional=isinstance(required, list) and name not in required,
        )


def _written(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _json(text: str, problem: str) -> Any:
    try:
        return json.loads(text) if text.strip() else {}
    except ValueError as error:
        raise RowRefused(problem) from error
