"""A model's program, run in a sandbox where it can only compute.

Monty is an interpreter of a part of Python, written in Rust for programs that nobody trusts. There is no CPython in it
to climb out to, and the language it runs has no way to a file, a socket, a process or the environment: those calls are
requests to us, and all are refused. It runs in a process of its own that serves one program and is then ended.

Its own limits of memory, time and depth hold everywhere. On Linux the process is besides forbidden by the system to
write files, to take more memory, processor time or files than it needs, and to leave a core dump. Where even that
fails, the process is ended after `PATIENCE` seconds, and at once when the person stops the answer or the app ends.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Iterator
from threading import Event
from typing import TYPE_CHECKING

import psutil

from chatlab.errors import ToolFailed
from chatlab.system.processes.guard import guarded

if TYPE_CHECKING:
    from pydantic_monty import MontySession

SECONDS = 2.0
"""Most seconds of computing."""
PATIENCE = 3.0
"""Seconds after which the process is ended, whatever it says."""
MEMORY = 64 << 20
"""Bytes of the program's own values."""
ROOM = 512 << 20
"""Bytes of address space that the process may take beyond what it has at its start."""
DEEPEST = 200
"""Most nested calls."""
CODE = 8_000
OUTPUT = 10_000
"""Characters of a program, and bytes that it may print."""


def run_program(code: str, stop: Event) -> str:
    """What it prints, and the value of its last line. Raises ToolFailed."""
    if len(code) > CODE:
        raise ToolFailed(f"A program has at most {CODE:,} characters.")
    try:
        import pydantic_monty as monty
    except ImportError as error:
        raise ToolFailed("Programs cannot be run on this machine.", "Use another tool.") from error
    printed = monty.CollectString(max_bytes=OUTPUT)
    try:
        value = _run(code, printed, stop)
    except monty.MontyCrashedError as error:
        if stop.is_set():
            raise ToolFailed("The program was stopped.") from error
        why = "ran too long" if error.timed_out else "asked for too much"
        raise ToolFailed(f"The program {why}, and was ended.") from error
    except monty.MontyError as error:
        raise ToolFailed(_in_words(error, printed.output)) from error
    except (OSError, TimeoutError) as error:
        raise ToolFailed("Programs cannot be run on this machine.", "Use another tool.") from error
    output = printed.output.rstrip("\n")
    last = "" if value is None else str(value)[:OUTPUT]
    return "\n".join(part for part in (output, last) if part) or "(it printed nothing)"


def _run(code: str, printed: object, stop: Event) -> object:
    import pydantic_monty as monty

    limits = monty.ResourceLimits(
        max_feed_duration_secs=SECONDS, max_memory=MEMORY, max_recursion_depth=DEEPEST, max_suspensions=20
    )
    policy = monty.OSPolicy(sleep="zero", process_time="zero")
    with (
        monty.Monty(min_processes=1, max_processes=1, request_timeout=PATIENCE) as pool,
        pool.checkout(script_name="program.py", limits=limits, os_policy=policy) as session,
        _watched(session, stop),
    ):
        return session.feed_run(code, print_callback=printed)  # type: ignore[arg-type]


@contextlib.contextmanager
def _watched(session: MontySession, stop: Event) -> Iterator[None]:
    """The process held to its limits, and ended once `stop` is set."""
    with contextlib.suppress(psutil.Error, OSError):
        process = psutil.Process(session.worker_pid)
        _confine(process)
        over = Event()
        watch = threading.Thread(target=_end_when, args=(stop, over, process), daemon=True)
        watch.start()
        try:
            with guarded(process.pid):
                yield
        finally:
            over.set()
        return
    raise OSError("its process has gone")


def _confine(process: psutil.Process) -> None:
    """What Linux lets one process set for another. Elsewhere Monty's own limits are alone."""
    if sys.platform != "linux":
        return
    most = {
        psutil.RLIMIT_AS: process.memory_info().vms + ROOM,
        psutil.RLIMIT_CPU: int(PATIENCE) + 1,
        psutil.RLIMIT_FSIZE: 0,
        psutil.RLIMIT_CORE: 0,
        psutil.RLIMIT_NOFILE: process.num_fds() + 4,
    }
    for kind, limit in most.items():
        with contextlib.suppress(psutil.AccessDenied, OSError, ValueError):  # the other limits hold even so
            process.rlimit(kind, (limit, limit))


def _end_when(stop: Event, over: Event, process: psutil.Process) -> None:
    while not over.wait(0.02):
        if stop.is_set():
            with contextlib.suppress(psutil.Error):
                process.kill()
            return


def _in_words(error: Exception, printed: str) -> str:
    """What it had printed, and the last line of the error: the whole traceback would tell a model less."""
    last = str(error).strip().splitlines()[-1:] or [type(error).__name__]
    before = f"{printed.rstrip()[:500]}\n" if printed.strip() else ""
    return f"{before}Error: {last[0][:300]}"
