"""Calls in the boxes of a demonstration: written as the plain protocol has them, `Call: calculator 12 * 7`.

An answer that a result follows is a call. A result that is left empty is worked out when the demonstration is saved.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from threading import Event

from chatlab.conversation import with_tools
from chatlab.errors import InputError
from chatlab.records import Message, Role
from chatlab.template.plain import call_written, read
from chatlab.tool_calls import Tool, named
from chatlab.tools import Toolbox

STEP: tuple[Role, Role] = ("assistant", "tool")
"""The roles of a call and its result."""


def shown(message: Message, tools: Sequence[Tool]) -> str:
    """What a box shows of a message."""
    calls = [call_written(call, named(tools, call.name)) for call in message.calls]
    return "\n".join([*([message.content] if message.content else []), *calls])


def told(messages: Sequence[Message]) -> tuple[Tool, ...]:
    """The tools that a conversation is told of."""
    return tuple(tool for message in messages for tool in message.tools)


def meant(messages: Sequence[Message], before: Sequence[Tool], toolbox: Toolbox) -> tuple[Message, ...]:
    """The messages that boxes mean. They are told of the tools that were told `before`, and of those that they call.

    Raises InputError where a result is left empty and nothing was called.
    """
    if not any(message.role == "tool" for message in messages):
        return with_tools(tuple(messages), tuple(before))
    known = (*before, *toolbox.tools([name for name in toolbox.titles if named(before, name) is None]))
    said: list[Message] = []
    for message, following in zip(messages, [*messages[1:], None], strict=True):
        if message.role == "assistant" and not message.calls and following is not None and following.role == "tool":
            message = _called(message, known)
        elif message.role == "tool" and not message.content.strip():
            message = replace(message, content=_worked_out(said[-1], known, toolbox))
        said.append(message)
    called = {call.name for message in said for call in message.calls}
    tools = tuple(tool for tool in known if tool in before or tool.name in called)
    return with_tools(tuple(said), tools)


def _called(message: Message, known: Sequence[Tool]) -> Message:
    heard = read(message.content, known, ended=True)
    return replace(message, content=heard.said, calls=(heard.call,)) if heard.call else message


def _worked_out(asked: Message, known: Sequence[Tool], toolbox: Toolbox) -> str:
    """What the tool says. A failure is a result too, and worth learning."""
    if not asked.calls:
        raise InputError(
            "A tool result is empty, and no tool is called before it.", "Write the call as in Call: calculator 12 * 7."
        )
    return toolbox.run(asked.calls[0], known, Event()).result
