"""The tools that come with the app."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from chatlab.errors import ToolFailed
from chatlab.tool_calls import Parameter, Tool
from chatlab.tools.calculator import calculate
from chatlab.tools.clock import time_in
from chatlab.tools.counting import count
from chatlab.tools.program import run_program
from chatlab.tools.toolbox import Toolbox, ToolImpl

Search = Callable[[str], list[tuple[str, str]]]
"""Passages that match, the best first: (title, text)."""

CALCULATOR = Tool(
    name="calculator",
    about="works out numbers",
    parameters=(Parameter(name="expression", about="Arithmetic, as in (12 + 3) * 7."),),
)
COUNT = Tool(
    name="count",
    about="counts letters",
    parameters=(
        Parameter(name="what", about="A letter, a word, or one of: letters, words, digits, characters."),
        Parameter(name="text", about="What to count in."),
    ),
)
PYTHON = Tool(
    name="python",
    about="runs a short program without files or network",
    parameters=(Parameter(name="code", about="Python; what it prints is the result.", lines=True),),
)
CLOCK = Tool(
    name="clock",
    about="tells date and time",
    parameters=(Parameter(name="zone", about="A time zone such as Europe/Paris, or here."),),
)
SEARCH = Tool(
    name="search",
    about="finds passages in the person's documents",
    parameters=(Parameter(name="query", about="What to look for."),),
)
PASSAGE = 500
"""Characters of a passage that a model is shown."""


def toolbox(search: Search, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> Toolbox:
    """All of them. `search` looks into the person's documents."""
    return Toolbox(
        [
            ToolImpl(tool=CALCULATOR, title="Calculator", use=lambda v, stop: calculate(v["expression"])),
            ToolImpl(tool=COUNT, title="Letter counter", use=lambda v, stop: count(v["what"], v["text"])),
            ToolImpl(tool=PYTHON, title="Short programs", use=lambda v, stop: run_program(v["code"], stop)),
            ToolImpl(tool=CLOCK, title="Clock", use=lambda v, stop: time_in(v["zone"], now())),
            ToolImpl(tool=SEARCH, title="My documents", use=lambda v, stop: _found(search(v["query"]))),
        ]
    )


def _found(passages: list[tuple[str, str]]) -> str:
    if not passages:
        raise ToolFailed("Nothing was found in the documents.")
    shown = (f"[{number}] {title}: {text[:PASSAGE]}" for number, (title, text) in enumerate(passages, 1))
    return "\n".join(" ".join(line.split()) for line in shown)
