"""What an answer delegated: its steps folded above it, and the one under way. All of it is shown as plain text."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from chatlab.tool_calls import Call, ToolStep
from chatlab.ui.html import NOTHING, counted, div, element, escaped, joined, one_line, span
from chatlab.ui.markdown import plain

SHOWN = 4_000
"""Characters of one text."""


def steps(taken: Sequence[ToolStep], doing: Call | None = None) -> Markup:
    """Nothing where nothing was called."""
    if not taken and doing is None:
        return NOTHING
    folded = _folded(taken) if taken else NOTHING
    running = span("step-running", f"{doing.name} is running: {one_line(_asked(doing), 60)}") if doing else NOTHING
    return div("steps", folded, running)


def _folded(taken: Sequence[ToolStep]) -> Markup:
    names = ", ".join(dict.fromkeys(one_line(step.call.name, 30) for step in taken))
    failed = sum(step.failed for step in taken)
    told = f"{counted(len(taken), 'step')} with {names}" + (f", {failed} failed" if failed else "")
    return element("details", element("summary", escaped(told)) + joined(map(_step, taken)))


def _step(step: ToolStep) -> Markup:
    head = div(
        "step-head",
        span("step-name", one_line(step.call.name, 60)),
        span("step-failed", "failed") if step.failed else NOTHING,
        span("step-time", f"{step.seconds:.2f} s"),
    )
    said = div("step-said", plain(step.said[:SHOWN])) if step.said.strip() else NOTHING
    given = joined(_argument(name, value) for name, value in step.call.arguments)
    return div(
        "tool-use" + (" failed" if step.failed else NOTHING), head, said, given, _argument("result", step.result)
    )


def _argument(name: str, value: str) -> Markup:
    return div("step-given", span("step-label", one_line(name, 40)), div("step-text", plain(value[:SHOWN])))


def _asked(call: Call) -> str:
    return " | ".join(value for _, value in call.arguments)
