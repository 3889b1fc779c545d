"""Tools in plain words: the format of calls and results where a chat template has none of its own.

    system     Tools. One is called by a line of its own, after which its result is told:
               Call: calculator expression
               Call: count letters | text
    user       How many r are in strawberry?
    assistant  Call: count r | strawberry
    user       Result: 3
    assistant  There are 3.

A call is the last thing that a turn says. Its arguments stand behind the tool's name with ` | ` between them; the last
may hold bars, and where the tool takes a program, lines. One that would not come back as it is stands as a JSON string.
Nothing but what the assistant says is ever read as a call, and nothing that it says as a result. See `docs/tools.md`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from chatlab.records import Message
from chatlab.tool_calls import Call, Tool, named

CALL, RESULT = "Call:", "Result:"
TELLING = "Tools. One is called by a line of its own, after which its result is told:"
BAR = " | "
_CALLED = re.compile(rf"^{CALL}[ \t]*([A-Za-z_][\w.-]*)[ \t]*", re.MULTILINE)
_CALLED_NAME = re.compile(rf"^{CALL}[ \t]*([A-Za-z_][\w.-]*)", re.MULTILINE)
_MARKER = re.compile(rf"^(?:{CALL}|{RESULT})", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedReply:
    """A reply as far as it has come."""

    text: str
    """What it says, any call and what may become one left out."""
    call: Call | None = None
    """Once it is whole: the reply is to end there."""


def as_plain_messages(messages: Sequence[Message]) -> list[Message]:
    """The same conversation without calls, tools and the role `tool`, for a template that knows none."""
    plain: list[Message] = []
    tools = [tool for message in messages for tool in message.tools]
    for message in messages:
        if message.role == "tool":
            told = Message(role="user", content=f"{RESULT} {message.content}")
            if plain and plain[-1].content.startswith(f"{RESULT} ") and plain[-1].role == "user":
                told = replace(told, content=f"{plain.pop().content}\n{told.content}")
            plain.append(told)
        elif message.tools:
            plain.append(
                Message(role="system", content=_joined(message.content, describe_tools(message.tools), "\n\n"))
            )
        elif message.calls:
            calls = "\n".join(write_call(call, named(tools, call.name)) for call in message.calls)
            plain.append(Message(role=message.role, content=_joined(message.content, calls, "\n")))
        else:
            plain.append(message)
    return plain


def describe_tools(tools: Sequence[Tool]) -> str:
    """What a model is told of its tools, in this format."""
    return "\n".join([TELLING, *map(_description, tools)])


def described_tools(system: str) -> list[str]:
    """Names of the tools that a system message tells of in this format."""
    _, telling, rest = system.partition(TELLING)
    return _CALLED_NAME.findall(rest) if telling else []


def write_call(call: Call, tool: Tool | None = None) -> str:
    """A call as `parse_reply` reads it. A program keeps its lines where its tool is known to take them."""
    values = [value for _, value in call.arguments]
    lines = tool is not None and tool.parameters[len(values) - 1 : len(values)] == tool.parameters[-1:]
    lines = lines and tool is not None and bool(tool.parameters) and tool.parameters[-1].lines
    most = len(tool.parameters) if tool is not None else len(values)
    parts = [_argument(v, n == most, lines and n == len(values)) for n, v in enumerate(values, 1)]
    return f"{CALL} {call.name} {BAR.join(parts)}".rstrip()


def parse_reply(reply: str, tools: Sequence[Tool], ended: bool) -> ParsedReply:
    """What a reply says and asks for, as far as it has come; `ended` once nothing follows."""
    found = _CALLED.search(reply)
    if found is None:
        return ParsedReply(text=reply if ended else _without_beginning(reply))
    tool = named(tools, found[1])
    rest = reply[found.end() :]
    beyond = _MARKER.search(rest) if tool and tool.parameters and tool.parameters[-1].lines else re.search("\n", rest)
    text = reply[: found.start()].strip()
    if beyond is None and not ended:
        return ParsedReply(text=text)
    given = rest[: beyond.start()] if beyond else rest
    return ParsedReply(text=text, call=Call(name=found[1], arguments=tuple(_arguments(given.strip(), tool))))


def _description(tool: Tool) -> str:
    call = f"{CALL} {tool.name} {BAR.join(p.name for p in tool.parameters)}".rstrip()
    return f"{call} ({tool.about})" if tool.about else call


def _arguments(text: str, tool: Tool | None) -> list[tuple[str, str]]:
    """Names and values: as many as there are, at most as many as the tool takes. A tool that is not known takes one."""
    names = [p.name for p in tool.parameters] if tool else ["input"]
    found: list[tuple[str, str]] = []
    while text and len(found) < len(names):
        value, text = _first(text, last=len(found) + 1 == len(names))
        found.append((names[len(found)], value))
    return found


def _first(text: str, last: bool) -> tuple[str, str]:
    """The first argument, and what is left."""
    if text.startswith('"'):
        try:
            value, end = json.JSONDecoder().raw_decode(text)
        except ValueError:
            pass
        else:
            rest = text[end:].strip()
            if not rest or (rest.startswith("|") and not last):
                return str(value), rest.removeprefix("|").strip()
    if last:
        return text, ""
    value, _, rest = text.partition("|")
    return value.strip(), rest.strip()


def _argument(value: str, bars: bool, lines: bool) -> str:
    """A value as written. `bars` and `lines`: whether it may hold them and come back, as nothing can follow it."""
    bare = value and value == value.strip() and not value.startswith('"') and not _MARKER.search(value)
    bare = bare and (bars or "|" not in value) and (lines or "\n" not in value)
    return value if bare else json.dumps(value, ensure_ascii=False)


def _without_beginning(reply: str) -> str:
    """The reply less a last line that may yet become a call."""
    line = reply.rpartition("\n")[2]
    head = reply[: len(reply) - len(line)]
    return head.rstrip() if line and (CALL.startswith(line) or line.startswith(CALL)) else reply


def _joined(first: str, second: str, between: str) -> str:
    return f"{first}{between}{second}" if first.strip() else second
