"""What a model can delegate: what comes back, what is refused in words, and what no program gets out of its cage."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from datetime import UTC, datetime
from pathlib import Path
from threading import Event

import psutil
import pytest

from chatlab.errors import ToolFailed
from chatlab.tool_calls import Call
from chatlab.tools import Toolbox
from chatlab.tools.builtin import CALCULATOR, COUNT, PYTHON, toolbox
from chatlab.tools.calculator import calculate
from chatlab.tools.clock import time_in
from chatlab.tools.counting import count
from chatlab.tools.program import run_program
from chatlab.tools.toolbox import LONGEST

NOON = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)


@pytest.fixture
def box() -> Toolbox:
    return toolbox(
        lambda query: [("Harbour rules", f"Boats moor here. {query}")] if query != "none" else [], lambda: NOON
    )


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("48 / 2", "24"),
        ("1847293 * 9182", "16961844326"),
        ("0.1 + 0.2", "0.3"),
        ("1/3", "0.333333333333"),
        ("15% of 80", "12"),
        ("17 % 5", "2"),
        ("$1,234.50 + 1 =", "1235.5"),
        ("max(1,200)", "200"),
        ("2^10 − 3 × 4 ÷ 2", "1018"),
        ("5 x 3", "15"),
        ("sqrt(2)", "1.41421356237"),
        ("sqrt(1/4)", "0.5"),
        ("round(2.5)", "3"),
        ("-2**2", "-4"),
        ("7 // 2", "3"),
        ("1" + " + 1" * 90, "91"),
    ],
)
def test_arithmetic_is_exact_and_read_as_people_write_it(expression: str, value: str) -> None:
    assert calculate(expression) == value


@pytest.mark.parametrize(
    "expression",
    [
        "10**10**10",
        "9**9**9",
        "2**-99999999",
        "1/0",
        "0**-1",
        "(-8)**(1/3)",
        "factorial(10**9)",
        "1e400",
        "exp(999)",
        "__import__('os')",
        "().__class__",
        "a.b",
        "lambda: 1",
        "[1]*9",
        "'a'*9",
        "True",
        "1<2",
        "x:=1",
        "1j",
        "",
        "(" * 300,
        "-" * 399 + "1",
        "1" * 401,
        "log(0)",
        "min()",
        "sqrt()",
        "mean()",
        "1 if 1 else 2",
        "f'{1}'",
        "print(1)",
        "{1: 2}",
        "９9**９９９９",
        "sqrt(x=1)",
        "sum(*[1])",
        "\0",
        "\ud800",
        "round(1, 10**9)",
        "((10**300)**4)**4",
    ],
)
def test_what_is_no_arithmetic_or_too_large_is_refused_in_words_and_at_once(expression: str) -> None:
    with pytest.raises(ToolFailed) as refused:
        calculate(expression)
    assert "Traceback" not in str(refused.value) and str(refused.value).endswith(".")


def test_letters_are_counted_as_no_model_can() -> None:
    assert count("r", "strawberry") == "3"
    assert count("'S'", "Mississippi") == "4"
    assert count("letters", "Straw berry!") == "10"
    assert count("words", "one two  three") == "3"
    assert count("ss", "Mississippi") == "2"
    with pytest.raises(ToolFailed):
        count("a", "a" * 20_001)


def test_the_clock_knows_zones_and_says_so_where_there_is_none() -> None:
    assert time_in("Asia/Tokyo", NOON) == "Wednesday, 25 November 2026, 21:00 (JST)"
    for odd in ("Mars", "../../etc/passwd", "/etc/passwd", "a\0b"):
        with pytest.raises(ToolFailed):
            time_in(odd, NOON)


def test_a_program_prints_and_gives_its_last_value() -> None:
    assert run_program("print('strawberry'.count('r'))", Event()) == "3"
    assert run_program("x = sorted('cab')\n''.join(x)", Event()) == "abc"
    assert run_program("for i in range(3):\n    print(i)", Event()) == "0\n1\n2"
    assert run_program("x = 1", Event()) == "(it printed nothing)"
    with pytest.raises(ToolFailed, match="division by zero"):
        run_program("print(1)\n1/0", Event())


CLIMBS = {
    "a file read": "open('/etc/passwd').read()",
    "a file read by path": "from pathlib import Path\nPath('/etc/passwd').read_text()",
    "a listing": "import os\nos.listdir('/')",
    "a command": "import os\nos.system('id')",
    "a process": "import subprocess\nsubprocess.run(['id'])",
    "a fork": "import os\nwhile True: os.fork()",
    "a signal": "import os\nos.kill(os.getppid(), 9)",
    "a socket": "import socket\nsocket.create_connection(('127.0.0.1', 80))",
    "a page": "import urllib.request\nurllib.request.urlopen('http://127.0.0.1')",
    "the environment": "import os\nprint(os.environ)",
    "C": "import ctypes\nctypes.CDLL(None)",
    "an import by name": "__import__('os').system('id')",
    "the builtins": "print(__builtins__)",
    "builtins as a module": "import builtins\nbuiltins.open('/etc/passwd')",
    "subclasses": "().__class__.__bases__[0].__subclasses__()",
    "getattr": "getattr((), '__cla' + 'ss__')",
    "a format string": "'{0.__class__.__mro__}'.format(1)",
    "a format spec": "f'{(1).__class__}'",
    "a code object": "(lambda: 0).__code__.replace",
    "globals of a function": "def f(): pass\nf.__globals__['os']",
    "a generator's frame": "g = (x for x in [1])\ng.gi_frame.f_back",
    "a coroutine's frame": "async def f(): pass\nf().cr_frame",
    "a traceback's frame": "try:\n    1/0\nexcept Exception as e:\n    e.__traceback__.tb_frame.f_globals",
    "a decorator": "@(lambda f: f.__globals__)\ndef f(): pass",
    "a class body": "class A:\n    x = open('/etc/passwd').read()",
    "a metaclass": "class M(type):\n    def __new__(c, *a): return open('/etc/passwd')\nclass A(metaclass=M): pass",
    "a match": "match open:\n    case f:\n        print(f('/etc/passwd').read())",
    "another alphabet": "__ｉｍｐｏｒｔ__('os').system('id')",
    "eval": "eval(\"__import__('os')\")",
    "exec": "exec('import socket')",
    "compile": "exec(compile('import ctypes', 'x', 'exec'))",
    "pickle": "import pickle\npickle.loads(b'cos\\nsystem\\n(S\"id\"\\ntR.')",
    "modules": "import sys\nsys.modules['os']",
    "frames": "import sys\nsys._getframe()",
    "input": "input()",
    "a plain error": "raise SystemExit(3)",
}


@pytest.mark.parametrize("code", CLIMBS.values(), ids=CLIMBS)
def test_a_program_gets_at_nothing_outside_itself(code: str) -> None:
    with pytest.raises(ToolFailed) as refused:
        run_program(code, Event())
    assert "root:" not in str(refused.value) and "uid=" not in str(refused.value)


def test_a_program_leaves_no_file_and_reaches_no_listener(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.1)
        port = listener.getsockname()[1]
        for code in (
            f"open({str(tmp_path / 'x')!r}, 'w').write('x')",
            f"from pathlib import Path\nPath({str(tmp_path / 'x')!r}).write_text('x')",
            f"import socket\nsocket.create_connection(('127.0.0.1', {port}))",
        ):
            with pytest.raises(ToolFailed):
                run_program(code, Event())
        with pytest.raises(TimeoutError):
            listener.accept()
    assert not list(tmp_path.iterdir())


BOMBS = {
    "a number": "10**10**10",
    "a text": "'a' * 10**9",
    "a list": "[0] * 10**9",
    "a growing list": "a = []\nwhile True: a.append('x' * 1000)",
    "a growing number": "x = 2\nwhile True: x = x * x",
    "much output": "while True: print('x' * 1000)",
    "deep calls": "def f(): return f()\nf()",
    "deep brackets": "(" * 4000 + ")" * 4000,
    "a deep list": "x = []\nfor i in range(10**6): x = [x]\nprint(x)",
    "many digits": "print(10**100000)",
    "a long program": "x = 1\n" * 2000,
}


@pytest.mark.parametrize("code", BOMBS.values(), ids=BOMBS)
def test_a_program_that_asks_for_too_much_is_ended_in_words(code: str) -> None:
    before = psutil.Process().memory_info().rss
    with pytest.raises(ToolFailed):
        run_program(code, Event())
    assert psutil.Process().memory_info().rss - before < 200 << 20


def test_an_endless_program_is_ended_by_its_time_and_at_once_by_the_person() -> None:
    with pytest.raises(ToolFailed, match="time limit"):
        run_program("while True: pass", Event())
    stop = Event()
    threading.Timer(0.1, stop.set).start()
    with pytest.raises(ToolFailed, match="stopped"):  # and not by its time
        run_program("while True: pass", stop)


def test_no_process_is_left_behind() -> None:
    children = set(psutil.Process().children(recursive=True))
    for code in ("1", "1/0", "[0] * 10**9"):
        with contextlib.suppress(ToolFailed):
            run_program(code, Event())
    gone = [p for p in psutil.Process().children(recursive=True) if p not in children and "monty" in p.name()]
    assert not gone


@pytest.mark.skipif(os.uname().sysname != "Linux", reason="only Linux sets limits for another process")
def test_on_linux_the_system_itself_forbids_the_process_to_write_or_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    from chatlab.tools import program

    seen: dict[int, tuple[int, int]] = {}
    confine = program._confine

    def watch(process: psutil.Process) -> None:
        confine(process)
        seen.update({kind: process.rlimit(kind) for kind in (psutil.RLIMIT_FSIZE, psutil.RLIMIT_AS, psutil.RLIMIT_CPU)})

    monkeypatch.setattr(program, "_confine", watch)
    assert run_program("1", Event()) == "1"
    assert seen[psutil.RLIMIT_FSIZE] == (0, 0) and seen[psutil.RLIMIT_AS][0] < 4 << 30
    assert seen[psutil.RLIMIT_CPU][0] <= 5


def test_every_failure_is_a_result_in_words(box: Toolbox) -> None:
    offered = (CALCULATOR, COUNT)
    unknown = box.run(Call(name="weather", arguments=(("input", "Paris"),)), offered, Event())
    assert unknown.failed and unknown.result == "There is no tool called 'weather'. There are: calculator, count."
    not_offered = box.run(Call(name="python", arguments=(("code", "1"),)), offered, Event())
    assert not_offered.failed and "no tool called 'python'" in not_offered.result
    lacking = box.run(Call(name="count", arguments=(("what", "r"),)), offered, Event())
    assert lacking.failed and lacking.result == "count needs text."
    assert not box.run(Call(name="count", arguments=(("what", "r"), ("text", "err"))), offered, Event()).failed


def test_documents_are_searched_through_what_the_box_was_given(box: Toolbox) -> None:
    offered = box.tools(["search"])
    assert (
        "[1] Harbour rules: Boats"
        in box.run(Call(name="search", arguments=(("query", "moor"),)), offered, Event()).result
    )
    assert box.run(Call(name="search", arguments=(("query", "none"),)), offered, Event()).failed


def test_a_result_is_of_bearable_length_and_plain_text(box: Toolbox) -> None:
    done = box.run(
        Call(name="python", arguments=(("code", "print('a\\x00\\u202eb' + 'x' * 9000)"),)), (PYTHON,), Event()
    )
    assert len(done.result) <= LONGEST and done.result.startswith("a��b") and done.result.endswith("(cut here)")
