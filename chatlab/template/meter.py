"""What a rendering may cost. An untrusted template must neither loop for ever nor fill the memory."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, cast

from jinja2 import nodes
from jinja2.exceptions import SecurityError
from jinja2.visitor import NodeTransformer

ROOM = 4_000_000
"""Characters that one rendering may make, all in all."""
TICK = 20
"""What a turn of a loop costs, in characters."""
SECONDS = 2.0
"""Of processor time in one rendering. Only a net below the rest: the room is what ends a bad template."""


class Meter:
    """Spent by everything that loops or makes text. Raises SecurityError once a rendering asks too much."""

    def __init__(self) -> None:
        self._left = ROOM
        self._until = time.thread_time() + SECONDS

    def spend(self, cost: int) -> None:
        self._left -= cost
        if self._left < 0:
            raise SecurityError(f"it makes more than {ROOM:,} characters or loops too long")

    def tick(self, cost: int) -> str:
        """At the start of every turn of a loop and every call of a macro. Writes nothing."""
        self.spend(TICK + cost)
        if time.thread_time() > self._until:
            raise SecurityError(f"it computes for more than {SECONDS:g} seconds")
        return ""

    def weigh(self, value: Any) -> Any:
        """Spends what a value would be as text, shared parts as often as they would be written."""
        waiting = [value]
        while waiting:
            one = waiting.pop()
            self.spend(len(one) + 1 if isinstance(one, str) else 1)
            if isinstance(one, list | tuple):
                waiting += one
            elif isinstance(one, Mapping):
                waiting += [*one.keys(), *one.values()]
        return value


class Metered(NodeTransformer):
    """Puts calls of the environment's `tick` and `weigh` into a parsed template."""

    def visit_For(self, node: nodes.For) -> nodes.Node:
        return self._ticking(node)

    visit_Macro = visit_CallBlock = visit_For

    def visit_List(self, node: nodes.List) -> nodes.Node:
        return _call("weigh", self.generic_visit(node))

    visit_Dict = visit_List

    def visit_Tuple(self, node: nodes.Tuple) -> nodes.Node:
        self.generic_visit(node)
        return _call("weigh", node) if node.ctx == "load" else node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:
        self.generic_visit(node)
        return _call("weigh", nodes.Concat([_call("weigh", part) for part in node.nodes]))

    def _ticking(self, node: Any) -> nodes.Node:
        """With a tick at the start of the body, which also pays for the fixed text in it."""
        self.generic_visit(node)
        size = sum(len(data.data) for data in node.find_all(nodes.TemplateData))
        node.body.insert(0, nodes.Output([_call("tick", nodes.Const(size))]).set_lineno(node.lineno))
        return cast(nodes.Node, node)


def _call(name: str, argument: nodes.Node) -> nodes.Expr:
    """A call that a template cannot shadow with a variable of its own."""
    call = nodes.Call(nodes.EnvironmentAttribute(name), [argument], [], None, None)
    call.set_lineno(argument.lineno or 1)
    return call
