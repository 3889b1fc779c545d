"""Children that are forks of a process which has imported what they need."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from chatlab.system.processes import forked
from chatlab.system.processes.child import PIPE, Child
from chatlab.system.processes.forked import ForkedChild, ForkServer, start_forked

TOLD = "tests.support.kills.told"
QUICK = ("colorsys",)
SLOW = ("tests.support.kills.slow_import",)

pytestmark = pytest.mark.skipif(not forked.can_fork(), reason="children start by themselves here")


def begin(*arguments: str, imported: tuple[str, ...] = QUICK, stderr: object = -3) -> ForkedChild:
    child = start_forked(TOLD, *arguments, imported=imported, niceness=10, stderr=stderr)  # type: ignore[arg-type]
    assert isinstance(child, ForkedChild)
    return child


def end(child: ForkedChild) -> int:
    assert child.stdin
    child.stdin.close()
    code = child.wait(20)
    child.end()
    return code


def test_a_fork_is_a_process_of_its_own_with_the_imports_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begin().end()
    monkeypatch.setenv("CHATLAB_TOLD", "späť")
    monkeypatch.chdir(tmp_path)
    with (tmp_path / "log").open("wb") as log:
        child = begin("one two", "", "š", stderr=log)
    assert child.receive() == {
        "arguments": ["one two", "", "š"],
        "imported": True,
        "variable": "späť",
        "folder": str(tmp_path),
        "session": True,
        "niceness": os.nice(0) + 10,
        "files": [0, 1, 2, 3],  # the last is the list itself
    }
    assert end(child) == 7
    assert (tmp_path / "log").read_text() == "to the log\n"


def test_many_live_side_by_side_and_each_ends_by_itself() -> None:
    children = [begin(str(number), stderr=PIPE) for number in range(8)]
    assert [child.receive()["arguments"] for child in children] == [[str(number)] for number in range(8)]
    children[3].kill()
    assert children[3].wait(20) == -signal.SIGKILL
    with pytest.raises(subprocess.TimeoutExpired):
        children[4].wait(0.01)
    assert [child.poll() for child in children[4:]] == [None] * 4
    assert {end(child) for number, child in enumerate(children) if number != 3} == {7}
    children[3].end()


def test_one_that_is_given_up_while_the_imports_last_is_gone_at_once_and_the_next_is_there() -> None:
    waiting = begin(imported=SLOW)
    assert not waiting.has_begun and waiting.poll() is None
    waiting.end()
    assert waiting.returncode == -signal.SIGKILL
    child = begin(imported=SLOW)
    assert child.receive()["arguments"] == []
    assert end(child) == 7


def test_when_the_server_ends_its_children_do_and_the_next_child_has_another_one() -> None:
    child = begin()
    child.receive()
    before = forked._servers[QUICK]
    os.kill(before.process.pid, signal.SIGKILL)
    assert child.wait(20) == -signal.SIGKILL and child.receive() is None
    child.end()
    while not before.gone:
        time.sleep(0.005)
    again = begin()
    assert again.receive()["imported"] and forked._servers[QUICK] is not before
    assert end(again) == 7


def test_where_the_imports_end_the_server_children_start_by_themselves() -> None:
    ends = ("tests.support.kills.ending_import",)
    child = start_forked(TOLD, imported=ends, niceness=10)
    assert child.wait(20) == -signal.SIGKILL
    child.end()
    while not forked._servers[ends].gone:
        time.sleep(0.005)
    again = start_forked(TOLD, imported=ends, niceness=10)
    assert isinstance(again, Child) and again.receive()["arguments"] == []
    again.end()


def test_forks_end_with_the_app(tmp_path: Path) -> None:
    code = (
        f"import time\nfrom chatlab.system.processes.forked import start_forked\n"
        f"child = start_forked({TOLD!r}, imported={QUICK!r}, niceness=10)\n"
        "child.receive()\nwhile not child.has_begun: pass\nprint(child.pid, flush=True)\ntime.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as app:
        assert app.stdout
        pid = int(app.stdout.readline())
        app.kill()
    ends = time.monotonic() + 20
    while Path(f"/proc/{pid}").exists() and time.monotonic() < ends:
        time.sleep(0.01)
    assert not Path(f"/proc/{pid}").exists()


def test_a_server_that_has_gone_says_so_to_who_asks_it() -> None:
    server = ForkServer(QUICK)
    os.kill(server.process.pid, signal.SIGKILL)
    child = server.fork(TOLD, [], 10, PIPE)
    assert child.wait(20) == -signal.SIGKILL
    child.end()
