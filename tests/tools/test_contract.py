"""What every tool of the toolbox keeps to. One added to `builtin.toolbox` is tried here with no further line."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from threading import Event

import pytest

from chatlab.tool_calls import Call
from chatlab.tools.builtin import toolbox
from chatlab.tools.toolbox import LONGEST, Toolbox

NOW = datetime(2026, 5, 3, 12, tzinfo=UTC)
ODD = (
    "\x00",
    "\ud800",
    "x" * 100_000,
    "-1",
    "0",
    "'; import os; os.system('id')",
    "../../etc/passwd",
    "<b>",
    "\u202eabc",
    "é🙂",
)


def box() -> Toolbox:
    return toolbox(lambda query: [("Harbour rules", "Boats moor at the east pier.")], now=lambda: NOW)


NAMES = list(box().titles)


@pytest.mark.parametrize("name", NAMES)
def test_a_model_is_told_of_it_in_the_fields_schema(name: str) -> None:
    (tool,) = box().tools([name])
    assert re.fullmatch(r"[a-z][a-z0-9_]{1,30}", tool.name) and 3 < len(tool.about) <= 80
    assert tool.parameters and all(re.fullmatch(r"[a-z][a-z0-9_]*", p.name) and p.about for p in tool.parameters)
    function = json.loads(json.dumps(tool.schema))["function"]
    assert function["name"] == name and function["parameters"]["required"] == [p.name for p in tool.parameters]


@pytest.mark.parametrize("name", NAMES)
def test_people_see_a_title_that_no_other_tool_has(name: str) -> None:
    titles = box().titles
    assert titles[name][0].isupper() and list(titles.values()).count(titles[name]) == 1


@pytest.mark.parametrize("name", NAMES)
def test_whatever_a_call_brings_the_result_is_a_text_of_bearable_length(name: str) -> None:
    tools = box()
    offered = tools.tools([name])
    for value in ("", " ", *ODD):
        call = Call(name=name, arguments=tuple((p.name, value) for p in offered[0].parameters))
        done = tools.run(call, offered, Event())
        assert 0 < len(done.result) <= LONGEST or not done.failed
        assert not re.search("[\x00-\x08\ud800-\udfff\u202a-\u202e]", done.result)
        assert "inside" not in done.result, "it failed with an exception that is no ToolFailed"


@pytest.mark.parametrize("name", NAMES)
def test_a_call_that_lacks_a_value_says_which(name: str) -> None:
    tools = box()
    offered = tools.tools([name])
    done = tools.run(Call(name=name), offered, Event())
    assert done.failed and all(p.name in done.result for p in offered[0].parameters)


@pytest.mark.parametrize("name", NAMES)
def test_a_stopped_call_ends(name: str) -> None:
    tools = box()
    offered = tools.tools([name])
    stop = Event()
    stop.set()
    value = "while True: pass" if offered[0].parameters[0].lines else "1"
    tools.run(Call(name=name, arguments=tuple((p.name, value) for p in offered[0].parameters)), offered, stop)
