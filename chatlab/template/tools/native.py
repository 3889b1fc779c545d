"""Tools in a chat template's native format, where it has one that can be proved; the plain one where not.

A template is shown two conversations that differ in one turn: an answer that is a mark, and a call. Where the second is
the first with the mark replaced, in the middle of a conversation as at its end, the words in its place are how this
template writes that call. So a call becomes an answer whose words are partly the template's own, and the renderer of
every other conversation renders this one too. What cannot be shown to be so is written in plain words: see `plain`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count, product
from typing import Any

from chatlab.errors import TemplateRefused
from chatlab.records import Message
from chatlab.template.renderer import Renderer
from chatlab.template.sandbox import Sandbox
from chatlab.template.segment_tokenizer import Segment
from chatlab.template.tools.call_pattern import PARTS, CallPattern, each_text, texts_of
from chatlab.template.tools.plain import ParsedReply
from chatlab.tool_calls import Call, Tool

ID = "call00001"
"""Id of a call, where a template asks for one: nine letters and digits, as Mistral's do."""
VALUES = ("1 + 1", "f(\"a\", 'é')\n  + 1")
"""Arguments that a format is tried with."""
# Private characters around a number, as placeholders have; the quotation mark shows where a template writes JSON.
_OPEN, _CLOSE = "\U000f4c2b", "\U000f4c2d"
_VALUE = re.compile(f'{_OPEN}([0-9]+)(\\\\?)"{_CLOSE}')
KEPT = 256
"""Calls with typed values whose form is remembered."""
_MARK, _SAID = "\U000f4c2c", "\U000f4c2f"


class NativeToolFormat:
    """A template's native format for the calls of some tools. Raises TemplateRefused where it has none."""

    def __init__(self, sandbox: Sandbox, variables: Mapping[str, Any], tools: Sequence[Tool]) -> None:
        self.tools = tuple(tools)
        self._sandbox = sandbox
        self._variables = dict(variables) | {"tools": schemas(tools)}
        self._calls = [(tool, self._call_pattern(tool)) for tool in tools]
        self._patterns = {tool.name: call.pattern for tool, call in self._calls}
        self._others: dict[tuple[Call, ...], CallPattern | None] = {}
        self._between = self._after_words(tools[0])
        self._opening = _common([call.words[0].lstrip() for _, call in self._calls]).rstrip()
        if not self._opening:
            raise _none("begins its calls in several ways")
        self._opening = PARTS.findall(self._opening)[0]  # what follows, a model may space otherwise

    def writes(self, calls: Sequence[Call]) -> bool:
        """Whether it was told of what these call, and the template writes all that they give."""
        known = {tool.name for tool in self.tools}
        return all(call.name in known for call in calls) and self._pattern_of(calls) is not None

    def is_known(self, calls: Sequence[Call]) -> bool:
        """Whether it was proved with such calls: of one tool, with a text for each of its parameters."""
        names = {tool.name: [p.name for p in tool.parameters] for tool in self.tools}
        one = calls[0] if len(calls) == 1 else None
        return one is not None and not one.typed and names.get(one.name) == [name for name, _ in one.arguments]

    def write(self, message: Message) -> tuple[Segment, ...]:
        """An answer that calls tools, as the template writes it."""
        pattern = self._pattern_of(message.calls)
        assert pattern is not None
        written = pattern.write(message.calls)
        if not message.content or self._between is None:
            return written
        return (Segment(message.content, is_content=True), Segment(self._between, is_content=False), *written)

    def parse_reply(self, reply: str, ended: bool) -> ParsedReply:
        """What a reply says and the call it makes, as `plain.parse_reply` gives them, in this format."""
        found = [(tool, pattern, m) for tool, pattern in self._calls if (m := self._patterns[tool.name].search(reply))]
        for tool, pattern, match in sorted(found, key=lambda one: one[2].start()):
            if call := pattern.parse(match, tool):
                return ParsedReply(text=reply[: match.start()].strip(), call=call)
        if ended:
            return ParsedReply(text=reply)
        start = reply.find(self._opening)
        return ParsedReply(text=reply[:start].rstrip() if start >= 0 else _without(reply, self._opening))

    def rendered(self, messages: Sequence[Message]) -> str:
        """What the template itself writes, shown calls as the API has them; up to the next answer."""
        return self._sandbox.render(
            messages=[_shown(m) for m in messages], add_generation_prompt=True, **self._variables
        )

    def _pattern_of(self, calls: Sequence[Call]) -> CallPattern | None:
        """How the template writes these; values that are no texts are among its own words, as it writes them."""
        if self.is_known(calls):
            return next(pattern for tool, pattern in self._calls if tool.name == calls[0].name)
        marked = _marked(calls)
        if marked not in self._others:
            if len(self._others) >= KEPT:
                self._others.clear()
            try:
                self._others[marked] = self._pattern(marked)
            except TemplateRefused:
                self._others[marked] = None
        return self._others[marked]

    def _call_pattern(self, tool: Tool) -> CallPattern:
        pattern = self._pattern((_marks(tool),))
        if [index for index, _ in pattern.values] != list(range(len(tool.parameters))):
            raise _none("changes the order of what a call gives")
        return pattern

    def _pattern(self, marked: tuple[Call, ...]) -> CallPattern:
        body = self._body(marked)
        if body != self._body(marked, *[Message(role="tool", content="x")] * len(marked)):
            raise _none("writes a call otherwise where its result follows")
        found = list(_VALUE.finditer(body))
        if sorted(int(one[1]) for one in found) != list(range(len(texts_of(marked)))):
            raise _none("leaves out what a call gives")
        words = re.split(_VALUE.pattern.replace("(", "(?:"), body)
        return CallPattern(tuple(words), tuple((int(one[1]), bool(one[2])) for one in found))

    def _after_words(self, tool: Tool) -> str | None:
        """What stands between what an answer says and its call; None where the template leaves out what it says."""
        alone, after = self._body((_marks(tool),)), self._body((_marks(tool),), said=_SAID)
        if after == alone:
            return None
        if not (after.startswith(_SAID) and after.endswith(alone)):
            raise _none("takes no words before a call")
        return after[len(_SAID) : len(after) - len(alone)]

    def _body(self, calls: tuple[Call, ...], *after: Message, said: str = "") -> str:
        """What stands in the place of an answer's words."""
        asked = Message(role="user", content="x")
        marked = self._render(asked, Message(role="assistant", content=_MARK), *after)
        called = self._render(asked, Message(role="assistant", content=said, calls=calls), *after)
        before, _, rest = marked.partition(_MARK)
        body = called[len(before) : len(called) - len(rest)]
        if marked.count(_MARK) != 1 or called != before + body + rest or not body.strip():
            raise _none("does not write a call in the place of an answer")
        return body

    def _render(self, *messages: Message) -> str:
        return self._sandbox.render(
            messages=[_shown(m) for m in messages], add_generation_prompt=False, **self._variables
        )


@dataclass(frozen=True, slots=True)
class ToolFormat:
    """A template's native format for some tools, and the renderer of conversations in it."""

    native: NativeToolFormat
    renderer: Renderer


def is_proved(native: NativeToolFormat, renderer: Renderer) -> bool:
    """Whether the renderer writes what the template itself does when it is shown calls and results."""
    asked, result = Message(role="user", content="One?"), Message(role="tool", content="2")
    answer = Message(role="assistant", content="Two.")
    for tool, value, said in product(native.tools, VALUES, ("", "I ask.")):
        call = Call(name=tool.name, arguments=tuple((p.name, value) for p in tool.parameters))
        talk = [asked, Message(role="assistant", content=said, calls=(call,)), result]
        for messages in (talk, [*talk, answer, *talk], [Message(role="system", content="Be exact."), *talk]):
            if native.rendered(messages) != "".join(turn.text for turn in renderer.prompt(messages)):
                return False
    return True


def writes_whole(format: ToolFormat, messages: Sequence[Message]) -> bool:
    """Whether the renderer writes these very messages as the template itself does when it is shown their calls."""
    asked = [replace(m, reasoning="") for m in without_tools(messages)]
    while asked and asked[-1].role == "assistant" and not asked[-1].calls:
        asked.pop()
    try:
        return format.native.rendered(asked) == "".join(turn.text for turn in format.renderer.prompt(asked))
    except TemplateRefused:
        return False


def schemas(tools: Sequence[Tool]) -> list[dict[str, Any]]:
    """JSON schemas of tools, as templates are given them."""
    return [tool.schema for tool in tools]


def without_tools(messages: Sequence[Message]) -> list[Message]:
    """The messages for a template that is told of tools beside them."""
    kept = (m for m in messages if m.content or not m.tools)
    return [replace(m, tools=()) for m in kept]


def _shown(message: Message) -> dict[str, Any]:
    """A message as the chat API has it."""
    shown: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.calls:
        called = [{"name": call.name, "arguments": call.values} for call in message.calls]
        shown["tool_calls"] = [{"id": ID, "type": "function", "function": function} for function in called]
    return shown


def _marks(tool: Tool) -> Call:
    return Call(
        name=tool.name, arguments=tuple((p.name, f'{_OPEN}{k}"{_CLOSE}') for k, p in enumerate(tool.parameters))
    )


def _marked(calls: Sequence[Call]) -> tuple[Call, ...]:
    """The same calls with a mark for each text."""
    numbers = count()

    def mark(_: str) -> str:
        return f'{_OPEN}{next(numbers)}"{_CLOSE}'

    marked = []
    for call in calls:
        given = [
            (name, json.dumps(each_text(json.loads(value), mark)) if name in call.typed else mark(value))
            for name, value in call.arguments
        ]
        marked.append(replace(call, arguments=tuple(given)))
    return tuple(marked)


def _common(texts: Sequence[str]) -> str:
    """The longest common prefix."""
    size = next((k for k, chars in enumerate(zip(*texts, strict=False)) if len(set(chars)) > 1), min(map(len, texts)))
    return texts[0][:size]


def _without(reply: str, opening: str) -> str:
    """The reply less an end that may yet become the opening of a call."""
    size = next((k for k in range(min(len(opening), len(reply)), 0, -1) if reply.endswith(opening[:k])), 0)
    return reply[: len(reply) - size] if size else reply


def _none(why: str) -> TemplateRefused:
    return TemplateRefused(f"The chat template {why}.", "Tools are told in plain words.")
