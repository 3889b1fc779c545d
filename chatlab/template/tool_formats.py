"""Conversations with tools, put into words that the walk knows: the template's own form, or the plain one."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import date as Date
from typing import Any

from chatlab.errors import TemplateRefused
from chatlab.records import Message
from chatlab.template import plain
from chatlab.template.native import Dressing, Native, proved, schemas, without_tools
from chatlab.template.renderer import Renderer
from chatlab.template.sandbox import Sandbox
from chatlab.template.segment_tokenizer import SegmentTokenizer
from chatlab.template.skeleton import Skeletons
from chatlab.tool_calls import Tool

KEPT = 8
"""Choices of tools whose form is remembered."""


class Wardrobe:
    """Of one template. A form is proved once for each choice of tools."""

    def __init__(
        self, source: str, variables: Mapping[str, Any], date: Date, system: str, speller: SegmentTokenizer
    ) -> None:
        self._source, self._variables, self._date, self._system = source, dict(variables), date, system
        self._speller = speller
        self._dressings: dict[tuple[Tool, ...], Dressing | None] = {}

    def dressed(self, messages: Sequence[Message], walk: Renderer) -> tuple[Renderer, Sequence[Message]]:
        """Messages with their tools, calls and results as words, and the walk for them: `walk` if it takes them so."""
        if not any(message.calls or message.tools for message in messages):
            return walk, messages
        tools = tuple(tool for message in messages for tool in message.tools)
        dressing = self.dressing(tools)
        if dressing and all(not m.calls or (len(m.calls) == 1 and dressing.native.writes(m.calls)) for m in messages):
            return dressing.walk, without_tools(messages)
        return walk, plain.written(messages)

    def dressing(self, tools: tuple[Tool, ...]) -> Dressing | None:
        """The template's own form for these tools; None where it has none that can be proved."""
        if not tools or "tool_calls" not in self._source:
            return None
        if tools not in self._dressings:
            if len(self._dressings) >= KEPT:
                self._dressings.clear()
            self._dressings[tools] = self._dress(tools)
        return self._dressings[tools]

    def _dress(self, tools: tuple[Tool, ...]) -> Dressing | None:
        told = json.dumps(schemas(tools), ensure_ascii=False)
        if any(token in told for token in self._speller.control):
            return None  # a foreign tool's words would steer
        try:
            native = Native(Sandbox(self._source, self._date), self._variables, tools)
            skeletons = Skeletons(self._source, self._variables | {"tools": schemas(tools)}, self._date)
            walk = Renderer(skeletons, self._speller.first_control, self._system, native.said)
            return Dressing(native, walk) if proved(native, walk) else None
        except TemplateRefused:
            return None
