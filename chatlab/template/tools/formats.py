"""Conversations with tools, put into words that a renderer knows: the template's native format, or the plain one."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import date as Date
from typing import Any

from chatlab.errors import TemplateRefused
from chatlab.records import Message
from chatlab.template.renderer import Renderer
from chatlab.template.sandbox import Sandbox
from chatlab.template.segment_tokenizer import SegmentTokenizer
from chatlab.template.skeleton import Skeletons
from chatlab.template.tools import plain
from chatlab.template.tools.native import NativeToolFormat, ToolFormat, is_proved, schemas, without_tools, writes_whole
from chatlab.tool_calls import Call, Tool

KEPT = 8
"""Choices of tools whose format is remembered."""


class ToolFormats:
    """The tool formats of one template. Each is proved once for each choice of tools."""

    def __init__(
        self, source: str, variables: Mapping[str, Any], date: Date, system: str, tokenizer: SegmentTokenizer
    ) -> None:
        self._source, self._variables, self._date, self._system = source, dict(variables), date, system
        self._tokenizer = tokenizer
        self._formats: dict[tuple[Tool, ...], ToolFormat | None] = {}

    def with_tools(self, messages: Sequence[Message], renderer: Renderer) -> tuple[Renderer, Sequence[Message]]:
        """The messages with their tools, calls and results as words, and the renderer that takes them so."""
        if not any(message.calls or message.tools for message in messages):
            return renderer, messages
        tools = tuple(tool for message in messages for tool in message.tools)
        format = self.format_for(tools)
        if format and self._writes(format, messages):
            return format.renderer, without_tools(messages)
        return renderer, plain.as_plain_messages(messages)

    def _writes(self, format: ToolFormat, messages: Sequence[Message]) -> bool:
        """Whether the format has a place for every call; shown whole where it was not proved with such calls."""
        calls = [message.calls for message in messages if message.calls]
        others = [some for some in calls if not format.native.is_known(some)]
        if not all(map(format.native.writes, calls)) or any(self._steers(call) for some in others for call in some):
            return False
        return not others or writes_whole(format, messages)

    def _steers(self, call: Call) -> bool:
        """Whether what a template would write as words of its own has a control token in it."""
        own = [call.name, *(name for name, _ in call.arguments)]
        own += [text for name, value in call.arguments if name in call.typed for text in _names_in(json.loads(value))]
        return any(token in text for token in self._tokenizer.control for text in own)

    def format_for(self, tools: tuple[Tool, ...]) -> ToolFormat | None:
        """The template's native format for these tools; None where it has none that can be proved."""
        if not tools or "tool_calls" not in self._source:
            return None
        if tools not in self._formats:
            if len(self._formats) >= KEPT:
                self._formats.clear()
            self._formats[tools] = self._prove(tools)
        return self._formats[tools]

    def _prove(self, tools: tuple[Tool, ...]) -> ToolFormat | None:
        told = json.dumps(schemas(tools), ensure_ascii=False)
        if any(token in told for token in self._tokenizer.control):
            return None  # a foreign tool's words would steer
        try:
            native = NativeToolFormat(Sandbox(self._source, self._date), self._variables, tools)
            skeletons = Skeletons(self._source, self._variables | {"tools": schemas(tools)}, self._date)
            renderer = Renderer(skeletons, self._tokenizer.first_control, self._system, native.write)
            return ToolFormat(native, renderer) if is_proved(native, renderer) else None
        except TemplateRefused:
            return None


def _names_in(value: Any) -> Iterator[str]:
    """All names in a JSON value."""
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            yield from one
            waiting += one.values()
        elif isinstance(one, list):
            waiting += one
