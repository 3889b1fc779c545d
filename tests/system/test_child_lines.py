"""App and child process talk in JSON, an object a line, and neither waits for the other for ever."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from chatlab.system.processes.child import Child


@pytest.fixture
def echo() -> Iterator[Child]:
    """Answers each line with itself; says nothing to `wait`, and ends in the middle of a line at `tear`."""
    child = Child("tests.support.kills.echo")
    yield child
    child.end()


def test_a_line_comes_back_whatever_is_in_it(echo: Child) -> None:
    for value in ({"text": "é\n\ud83d 🙂"}, [1, None], "x" * 200_000):
        assert echo.send(value) and echo.receive() == value


def test_a_child_that_says_nothing_is_ended(echo: Child) -> None:
    assert echo.send("ready") and echo.receive() == "ready"
    began = time.monotonic()
    assert echo.send("wait") and echo.receive(timeout=0.2) is None
    assert time.monotonic() - began < 30 and echo.wait() != 0


def test_half_a_line_and_the_end_are_no_answer(echo: Child) -> None:
    assert echo.send("tear") and echo.receive() is None
    echo.wait()
    assert echo.receive() is None


def test_what_a_library_prints_is_no_answer(echo: Child) -> None:
    assert echo.send("print") and echo.receive() == "print"


def test_a_child_that_has_gone_takes_nothing_more(echo: Child) -> None:
    echo.end()
    assert not echo.send("again") and echo.receive() is None
    echo.end()


def test_the_last_line_ends_its_input(echo: Child) -> None:
    assert echo.send("last", last=True) and echo.receive() == "last"
    assert echo.wait() == 0
