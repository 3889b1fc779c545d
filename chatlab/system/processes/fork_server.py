"""A process that has imported what its children need: `python -m chatlab.system.processes.fork_server MODULE ...`.

Each child is a fork of it and runs a module as `python -m` does, without the seconds that importing torch and
transformers takes. Standard input is a socket to the app; see `forked`, which is the app's side of it. It has one
thread and computes nothing, so that its forks find no lock held and no worker thread missing.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import sys
from contextlib import suppress
from typing import Any

from chatlab.system.processes.bootstrap import die_with, lower_priority, take_name

LONGEST = 1 << 20
"""Bytes of a request; the environment is most of it."""


def main() -> None:
    """Import, then fork for each request until the app goes. In a fork it runs what was requested."""
    app = socket.socket(fileno=os.dup(0))
    for name in sys.argv[1:]:
        with suppress(Exception):  # the child that needs it fails with the reason
            importlib.import_module(name)
    gc.collect()
    gc.freeze()  # what is here now is shared; a collection that looks at it would copy it
    requested = _serve(app)
    if requested is not None:
        sys.argv = [requested["module"], *requested["arguments"]]
        runpy.run_module(requested["module"], run_name="__main__", alter_sys=True)


def _serve(app: socket.socket) -> dict[str, Any] | None:
    """What a fork is to run; None once the app has gone. Tells the app each child's process id and how it ended."""
    woken, waker = os.pipe()
    os.set_blocking(waker, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(waker)
    alive: dict[int, int] = {}
    while True:
        ready, _, _ = select.select([app.fileno(), woken], [], [])
        if woken in ready:
            os.read(woken, 4096)
            for pid, code in _ended():
                _tell(app, {"number": alive.pop(pid), "ended": code})
        if app.fileno() not in ready:
            continue
        said, files, _, _ = socket.recv_fds(app, LONGEST, 3)
        if not said:
            return None
        request = json.loads(said)
        if "kill" in request:
            for pid in (pid for pid, number in alive.items() if number == request["kill"]):
                _kill(pid)
            continue
        server, pid = os.getpid(), os.fork()
        if pid == 0:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            app.close()
            os.close(woken)
            os.close(waker)
            _become(request, files, server)
            return dict(request)
        for file in files:
            os.close(file)
        alive[pid] = request["number"]
        _tell(app, {"number": request["number"], "pid": pid})


def _become(request: dict[str, Any], files: list[int], server: int) -> None:
    """A process of its own, with its own session, files, environment and niceness."""
    os.setsid()
    die_with(server)
    for place, file in enumerate(files):
        os.dup2(file, place)
        os.close(file)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    lower_priority(request["niceness"])
    take_name(request["module"])


def _kill(pid: int) -> None:
    """It has not been waited for yet, so the number is still its own."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:  # it has no session of its own yet, so it is alone
        os.kill(pid, signal.SIGKILL)


def _ended() -> list[tuple[int, int]]:
    """Process ids and exit codes of the children that have ended, negative for a signal."""
    ended = []
    with suppress(ChildProcessError):
        while (found := os.waitpid(-1, os.WNOHANG))[0]:
            ended.append((found[0], os.waitstatus_to_exitcode(found[1])))
    return ended


def _tell(app: socket.socket, event: dict[str, int]) -> None:
    with suppress(OSError):  # the app has gone, and so will this process
        app.send(json.dumps(event).encode("ascii"))


if __name__ == "__main__":
    main()
