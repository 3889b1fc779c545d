"""The tools at hand, and a call of one of them made into a result in words, whatever happens."""

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
"""Does it, until the event is set. Raises ToolFailed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolImpl:
    """A tool, and the code behind it."""

    tool: Tool
    title: str
    """For people."""
    use: Use


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolResult:
    """What came of a call."""

    result: str
    failed: bool
    seconds: float


class Toolbox:
    """Instruments by the names of their tools."""

    def __init__(self, instruments: Iterable[ToolImpl]) -> None:
        self._instruments = {instrument.tool.name: instrument for instrument in instruments}

    @property
    def titles(self) -> dict[str, str]:
        """Name -> what people call it."""
        return {name: instrument.title for name, instrument in self._instruments.items()}

    def tools(self, names: Sequence[str]) -> tuple[Tool, ...]:
        """Those of the names that are here, in the box's own order, so that equal choices make equal prompts."""
        return tuple(instrument.tool for name, instrument in self._instruments.items() if name in names)

    def run(self, call: Call, offered: Sequence[Tool], stop: Event) -> ToolResult:
        """Only a tool that was offered is run. Never raises: a failure is a result too."""
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
        instrument = self._instruments.get(call.name)
        if tool is None or instrument is None:
            names = ", ".join(tool.name for tool in offered)
            raise ToolFailed(f"There is no tool called {call.name[:60]!r}.", f"There are: {names}." if names else "")
        values = call.values
        missing = [p.name for p in tool.parameters if not values.get(p.name, "").strip()]
        if missing:
            raise ToolFailed(f"{call.name} needs {' and '.join(missing)}.")
        return instrument.use(values, stop)


def _fitting(result: str) -> str:
    """Of bearable length, without what no text holds."""
    result = _ODD.sub("\N{REPLACEMENT CHARACTER}", result.replace("\r\n", "\n")).strip()
    return result if len(result) <= LONGEST else result[: LONGEST - len(CUT)].rstrip() + CUT
