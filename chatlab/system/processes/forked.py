"""Child processes that are there at once: forks of one process that has imported what they need.

Importing torch and transformers costs every new process five to ten seconds of a core. On Linux the app keeps one
process that has done it (`fork_server`) and does nothing else; trainers and scorers are forks of it, which share its
memory until they write to it. Elsewhere, and where a GPU is (its driver does not survive a fork), each child starts
and imports by itself: `Child`.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import IO

from chatlab.system.processes.child import DEVNULL, ENVIRONMENT, PIPE, Child, ChildProcess

NICENESS = 5
"""Of the process that is forked; a fork can only be nicer."""
GPUS = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")
"""Where Linux shows a driver of NVIDIA, AMD, or WSL."""
_SMALL = {"OPENBLAS_NUM_THREADS": "1"}
"""numpy starts threads as it is imported, and a fork would lose them."""

_servers: dict[tuple[str, ...], ForkServer] = {}
_lock = threading.Lock()


def start_forked(
    module: str, *arguments: str | Path, imported: Sequence[str], niceness: int, stderr: int | IO[bytes] = DEVNULL
) -> ChildProcess:
    """`python -m module arguments...` in a session of its own, where possible with the modules `imported` there."""
    server = _server(imported) if niceness >= NICENESS else None
    if server is None:
        return Child(module, *arguments, niceness=niceness, stderr=stderr)
    return server.fork(module, [str(one) for one in arguments], niceness, stderr)


def prepare(imported: Sequence[str]) -> None:
    """Begin to import, where children will be forked; returns at once."""
    _server(imported)


def _server(imported: Sequence[str]) -> ForkServer | None:
    """The one with these modules, started now where there is none; None where children have to start by themselves."""
    with _lock:
        server = _servers.get(tuple(imported))
        if server is None or server.gone:
            if not can_fork() or (server is not None and not server.used):
                return None
            server = _servers[tuple(imported)] = ForkServer(imported)
        return server


def can_fork() -> bool:
    """Whether a process of this system can be forked after it has imported torch."""
    return sys.platform == "linux" and not any(Path(driver).exists() for driver in GPUS)


class ForkServer:
    """The app's side of a `fork_server`. Ends with the app."""

    def __init__(self, imported: Sequence[str]) -> None:
        self._numbers = count()
        self._children: dict[int, ForkedChild] = {}
        self._lock = threading.Lock()
        self.gone = False
        self.used = False
        """Whether it has ever forked: one that ended before is not tried again."""
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self.process = Child(
                "chatlab.system.processes.fork_server",
                *imported,
                niceness=NICENESS,
                environment=_SMALL,
                stdin=theirs.fileno(),
                stdout=DEVNULL,
            )
        threading.Thread(target=self._listen, name="fork server", daemon=True).start()

    def fork(self, module: str, arguments: list[str], niceness: int, stderr: int | IO[bytes]) -> ForkedChild:
        """Ask for a child. It can be talked with at once, though the server may still import."""
        theirs_in, stdin = os.pipe()
        stdout, theirs_out = os.pipe()
        errors, theirs_err = _errors(stderr)
        number = next(self._numbers)
        child = ForkedChild(self, number, stdin, stdout, errors)
        request = {
            "number": number,
            "module": module,
            "arguments": arguments,
            "niceness": niceness - NICENESS,
            "folder": str(Path.cwd()),
            "environment": {**os.environ, **ENVIRONMENT},
        }
        with self._lock:
            self._children[number] = child
        try:
            socket.send_fds(self._socket, [json.dumps(request).encode("ascii")], [theirs_in, theirs_out, theirs_err])
        except OSError:  # it has just ended, and so has this child
            self._over(number, -signal.SIGKILL)
        finally:
            for file in (theirs_in, theirs_out, theirs_err):
                os.close(file)
        return child

    def kill(self, number: int) -> None:
        """Kill the child, which the server does, as it alone knows whether the process id is still the child's."""
        with suppress(OSError):  # it has gone, and its children with it
            self._socket.send(json.dumps({"kill": number}).encode("ascii"))

    def _listen(self) -> None:
        while said := self._received():
            event = json.loads(said)
            self.used = True
            if "ended" in event:
                self._over(event["number"], event["ended"])
                continue
            with self._lock:
                child = self._children.get(event["number"])
                if child is not None:
                    child.begun(event["pid"])
            if child is None:  # it was given up before it was there
                self.kill(event["number"])
        with _lock:
            self.gone = True
        self.process.end()
        self._socket.close()
        with self._lock:
            left = list(self._children)
        for number in left:
            self._over(number, -signal.SIGKILL)

    def _received(self) -> bytes:
        try:
            return self._socket.recv(4096)
        except OSError:
            return b""

    def _over(self, number: int, code: int) -> None:
        with self._lock:
            child = self._children.pop(number, None)
        if child is not None:
            child.ended(code)

    def forget(self, number: int) -> bool:
        """Give up a child that is not there yet; False where it is."""
        with self._lock:
            child = self._children.get(number)
            if child is None or child.pid is not None:
                return False
            del self._children[number]
            return True


class ForkedChild(ChildProcess):
    """A fork of the server."""

    def __init__(self, server: ForkServer, number: int, stdin: int, stdout: int, stderr: int | None) -> None:
        self.stdin, self.stdout = os.fdopen(stdin, "wb"), os.fdopen(stdout, "rb")
        self.stderr = None if stderr is None else os.fdopen(stderr, "rb")
        self.pid: int | None = None
        """None until it is there."""
        self.returncode: int | None = None
        self._server, self._number = server, number
        self._changed = threading.Condition()

    @property
    def has_begun(self) -> bool:
        return self.pid is not None

    def kill(self) -> None:
        if self._server.forget(self._number):
            self.ended(-signal.SIGKILL)
        elif self.poll() is None:
            self._server.kill(self._number)

    def poll(self) -> int | None:
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        with self._changed:
            if not self._changed.wait_for(lambda: self.returncode is not None, timeout):
                raise subprocess.TimeoutExpired("a forked child", timeout or 0.0)
            assert self.returncode is not None
            return self.returncode

    def begun(self, pid: int) -> None:
        """The server has forked it."""
        with self._changed:
            self.pid = pid

    def ended(self, code: int) -> None:
        """The server has seen its end, or has itself ended."""
        with self._changed:
            self.returncode = code
            self._changed.notify_all()


def _errors(stderr: int | IO[bytes]) -> tuple[int | None, int]:
    """The app's end of the child's standard error, if there is one, and the child's end."""
    if stderr == PIPE:
        return os.pipe()
    if stderr == DEVNULL:
        return None, os.open(os.devnull, os.O_WRONLY)
    return None, os.dup(stderr if isinstance(stderr, int) else stderr.fileno())
