"""The app's child processes. Each runs a module of Chatlab and ends with the app, however the app ends and whatever
the child is doing. App and child talk in JSON, an object a line; the child's side of it is `bootstrap`.

    Linux      the kernel kills the child (PR_SET_PDEATHSIG), also in the middle of native code
    macOS      a thread of the child waits for the app's end and ends the child
    Windows    a job object kills the child as soon as the app's handle to it is gone
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

PIPE, DEVNULL = subprocess.PIPE, subprocess.DEVNULL
ROOT = Path(__file__).resolve().parents[3]
"""Where the package lies, so that a child imports the same one."""
ENVIRONMENT = {"OMP_WAIT_POLICY": "PASSIVE", "TOKENIZERS_PARALLELISM": "false"}
"""Waiting threads that spin would bring chat beside a child to a standstill."""


class ChildProcess(ABC):
    """A process that ends with this one, and how to talk with it. As `subprocess.Popen` where they have the same."""

    stdin: IO[bytes] | None
    stdout: IO[bytes] | None
    stderr: IO[bytes] | None

    @property
    def has_begun(self) -> bool:
        """Whether it is there. What is sent to it before is not lost."""
        return True

    @abstractmethod
    def kill(self) -> None:
        """End it and every process of its session, though it be stopped or deep in native code."""

    @abstractmethod
    def poll(self) -> int | None:
        """Its exit code, negative for a signal; None while it lives."""

    @abstractmethod
    def wait(self, timeout: float | None = None) -> int:
        """Its exit code, once it has ended. Raises subprocess.TimeoutExpired."""

    def end(self) -> None:
        """Kill it, wait for its end and close its pipes. May be called again."""
        self.kill()
        self.wait()
        for pipe in (self.stdin, self.stdout, self.stderr):
            with suppress(OSError):  # what was not written yet
                if pipe is not None:
                    pipe.close()

    def send(self, value: object, last: bool = False) -> bool:
        """Give it a line of JSON; `last` ends its input. False where it has gone, or reads no more."""
        assert self.stdin is not None
        line = json.dumps(value).encode("ascii") + b"\n"
        try:
            self.stdin.write(line)
            if last:
                self.stdin.close()
            else:
                self.stdin.flush()
        except (OSError, ValueError):  # the pipe is broken, or closed
            return False
        return True

    def receive(self, timeout: float | None = None, longest: int = -1) -> Any:
        """The next line of JSON from it; None where it ended before the line did, or the line is over `longest` bytes.

        A child that says nothing for `timeout` seconds is killed, which ends it before its line does.
        """
        assert self.stdout is not None
        watch = threading.Timer(timeout, self.kill) if timeout is not None else None
        if watch is not None:
            watch.daemon = True
            watch.start()
        try:
            line = self.stdout.readline(longest)
        except (OSError, ValueError):  # the pipe was closed by another thread
            line = b""
        finally:
            if watch is not None:
                watch.cancel()
        return json.loads(line) if line.endswith(b"\n") else None


class Child(subprocess.Popen[bytes], ChildProcess):
    """`python -m module arguments...` in a session of its own; ends with this process. `kill` ends all that it started.

    `niceness` is how much it gives way to the chat; `environment` is set on top of this process's own.
    """

    def __init__(
        self,
        module: str,
        *arguments: str | Path,
        niceness: int = 0,
        environment: Mapping[str, str] | None = None,
        stdin: int | IO[bytes] = PIPE,
        stdout: int | IO[bytes] = PIPE,
        stderr: int | IO[bytes] = DEVNULL,
    ) -> None:
        command = [sys.executable, "-m", "chatlab.system.processes.bootstrap", str(os.getpid()), str(niceness), module]
        path = os.pathsep.join(p for p in (str(ROOT), os.environ.get("PYTHONPATH", "")) if p)

        def start() -> None:
            subprocess.Popen.__init__(
                self,
                [*command, *map(str, arguments)],
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                env=os.environ | ENVIRONMENT | {"PYTHONPATH": path} | dict(environment or {}),
                creationflags=getattr(subprocess, "BELOW_NORMAL_PRIORITY_CLASS", 0) if niceness else 0,
                start_new_session=os.name == "posix",
            )

        if sys.platform == "linux":
            started: Future[None] = Future()
            threading.Thread(target=self._start_and_stay, args=(start, started), name=module, daemon=True).start()
            started.result()
            return
        start()
        if sys.platform == "win32":
            from chatlab.system.processes.job import Job

            self._job = Job(int(self._handle))

    def kill(self) -> None:
        """End it and every process of its session, though it be stopped or deep in native code."""
        if self.poll() is not None:
            return
        if sys.platform == "win32":
            self._job.kill()
            return
        with suppress(ProcessLookupError, PermissionError):  # macOS refuses for a process that has just ended
            os.killpg(self.pid, signal.SIGKILL)

    def _start_and_stay(self, start: Callable[[], None], started: Future[None]) -> None:
        """The kernel takes the end of the thread that started a child for the end of its parent, so that thread stays
        for as long as the child lives.
        """
        try:
            start()
        except BaseException as error:
            started.set_exception(error)
            return
        started.set_result(None)
        with suppress(ChildProcessError):  # somebody else has seen its end
            os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
