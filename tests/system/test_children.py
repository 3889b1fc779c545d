"""Child processes end with the app that started them, whatever they are doing and however it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from chatlab.system.processes.child import Child

ROOT = Path(__file__).resolve().parents[2]
GONE = 2.0
"""Seconds within which a child has to have noticed the app's end."""


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def left(pids: list[int]) -> list[int]:
    """Which of these are alive still when their time is up."""
    ends = time.monotonic() + GONE
    while any(map(alive, pids)) and time.monotonic() < ends:
        time.sleep(0.01)
    return [pid for pid in pids if alive(pid)]


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere native code may delay a child's end")
def test_every_child_of_an_app_that_is_killed_is_gone_at_once_also_a_stopped_one_and_one_in_native_code(
    tmp_path: Path, base_folder: Path
) -> None:
    command = [sys.executable, "-m", "tests.support.kills.children", str(tmp_path), str(base_folder)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as app:
        assert app.stdout
        children = {int(pid): kind for pid, kind in json.loads(app.stdout.readline()).items()}
        trainer = next(pid for pid, kind in children.items() if kind == "process.worker")
        os.kill(trainer, signal.SIGSTOP)
        busy = [kind for pid, kind in children.items() if alive(pid)]
        app.kill()
    assert {"process.worker", "tests.support.kills.stuck"} <= set(busy)
    assert [children[pid] for pid in left([*children])] == []


PROGRAM = """
import threading, time, psutil
from chatlab.tools.program import run_program
threading.Thread(target=run_program, args=("while True: pass", threading.Event()), daemon=True).start()
while len(psutil.Process().children()) < 2:
    time.sleep(0.01)
print(*[child.pid for child in psutil.Process().children()], flush=True)
time.sleep(60)
"""


@pytest.mark.skipif(os.name != "posix", reason="needs kill")
def test_a_models_program_ends_with_the_app_too() -> None:
    pytest.importorskip("pydantic_monty")
    with subprocess.Popen([sys.executable, "-c", PROGRAM], cwd=ROOT, stdout=subprocess.PIPE) as app:
        assert app.stdout
        pids = [int(pid) for pid in app.stdout.readline().split()]
        app.kill()
    assert left(pids) == []


def test_a_child_lives_on_when_the_thread_that_started_it_has_ended() -> None:
    started: list[Child] = []
    thread = threading.Thread(target=lambda: started.append(Child("tests.support.kills.stuck", "interpreter")))
    thread.start()
    thread.join()
    (child,) = started
    assert child.stdout and child.stdout.readline() == b"busy\n"
    assert alive(child.pid)
    child.kill()
    child.wait()
    child.communicate()


@pytest.mark.skipif(os.name != "posix", reason="needs process groups")
def test_a_child_is_ended_with_all_that_it_started() -> None:
    with Child("tests.support.kills.stuck", "family") as child:
        assert child.stdout
        grandchild = int(child.stdout.readline())
        child.kill()
    assert left([child.pid, grandchild]) == []


@pytest.mark.skipif(os.name != "posix", reason="needs kill")
def test_a_child_that_starts_after_its_app_has_gone_ends_at_once() -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    child = subprocess.run(
        [
            sys.executable,
            "-m",
            "chatlab.system.processes.bootstrap",
            str(gone.pid),
            "0",
            "tests.support.kills.stuck",
            "interpreter",
        ],
        cwd=ROOT,
        capture_output=True,
    )
    assert child.returncode == 1 and child.stdout == b""


def test_a_child_that_cannot_be_started_is_an_error_where_it_was_asked_for() -> None:
    with pytest.raises((OSError, ValueError)):
        Child("tests.support.kills.stuck", "a\0b")
