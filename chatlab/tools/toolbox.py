"""The tools that are installed, and a call of one of them made into a result in words, whatever happens."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from threading import Event
from time import perf_counter

from chatlab.errors import ToolFailed
from chatlab.tool_calls import Call, Tool, named

log = logging.getLogger("chatlab.tools")

LONGEST = 2_000
"""Characters of a result. What a model reads costs time, and may push out what it was asked."""
CUT = " … (cut here)"
_ODD = re.compile("[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff\u202a-\u202e\u2066-\u2069]")

Use = Callable[[Mapping[str, str], Event], str]
"""Runs the tool until the event is set. Raises ToolFailed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolImpl:
    """A tool and its implementation."""

    tool: Tool
    title: str
    """Its name on the screen."""
    use: Use


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolResult:
    """The result of a call."""

    result: str
    failed: bool
    seconds: float


class Toolbox:
    """Implementations by the names of their tools."""

    def __init__(self, tools: Iterable[ToolImpl]) -> None:
        self._impls = {impl.tool.name: impl for impl in tools}

    @property
    def titles(self) -> dict[str, str]:
        """Titles by name."""
        return {name: impl.title for name, impl in self._impls.items()}

    def tools(self, names: Sequence[str]) -> tuple[Tool, ...]:
        """The tools of these names, in the toolbox's own order, so that equal choices make equal prompts."""
        return tuple(impl.tool for name, impl in self._impls.items() if name in names)

    def run(self, call: Call, offered: Sequence[Tool], stop: Event) -> ToolResult:
        """Run a call, of a tool that was offered only. Never raises: a failure is a result too."""
        began = perf_counter()
        failed = True
        try:
            result, failed = self._run(call, offered, stop), False
        except ToolFailed as error:
            result = f"{error} {error.hint}".strip()
        except Exception:
            log.exception("The tool %s failed", call.name)
            result = f"Something went wrong inside {call.name}."
        return ToolResult(result=_fitting(result), failed=failed, seconds=perf_counter() - began)

    def _run(self, call: Call, offered: Sequence[Tool], stop: Event) -> str:
        tool = named(offered, call.name)
        impl = self._impls.get(call.name)
        if tool is None or impl is None:
            names = ", ".join(tool.name for tool in offered)
            raise ToolFailed(f"There is no tool called {call.name[:60]!r}.", f"There are: {names}." if names else "")
        values = call.values
        missing = [p.name for p in tool.parameters if not values.get(p.name, "").strip()]
        if missing:
            raise ToolFailed(f"{call.name} needs {' and '.join(missing)}.")
        return impl.use(values, stop)


def _fitting(result: str) -> str:
    """Cut to `LONGEST` characters, control characters replaced."""
    result = _ODD.sub("\N{REPLACEMENT CHARACTER}", result.replace("\r\n", "\n")).strip()
    return result if len(result) <= LONGEST else result[: LONGEST - len(CUT)].rstrip() + CUT
