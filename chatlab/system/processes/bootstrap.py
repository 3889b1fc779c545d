"""The child's side of `child`: `python -m chatlab.system.processes.bootstrap PARENT NICENESS MODULE ARGUMENT ...`.

Runs the module as `python -m` does, in a process that ends with the process PARENT. Imports little before that is so,
so that there is hardly a moment in which the parent's end would go unnoticed.
"""

from __future__ import annotations

import ctypes
import os
import runpy
import signal
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

POLL = 0.5
"""Seconds between looks at the parent where the system does not report its end."""
_PR_SET_PDEATHSIG = 1


def die_with(parent: int) -> None:
    """From now on this process ends when `parent` does, which started it; at once if it has ended already.

    Nothing to do on Windows, where `child.Child` puts the process into a job.
    """
    if sys.platform == "win32":
        return
    if not (sys.platform == "linux" and _killed_by_the_kernel()):
        threading.Thread(target=_watch, args=(parent,), name="parent watch", daemon=True).start()
    if os.getppid() != parent:
        os._exit(1)


def process_name(module: str) -> str:
    """What `top` calls a process that runs the module; Linux keeps 15 characters."""
    return ".".join(module.split(".")[-2:])[:15]


def take_name(module: str) -> None:
    """Show on Linux what this process runs."""
    with suppress(OSError):
        Path("/proc/self/comm").write_text(process_name(module), encoding="ascii")


def lower_priority(niceness: int) -> None:
    """Give way to the chat. Linux weighs niceness only among the processes of one session, and each session as one; so
    this session, which is the child's own, is made nice as well.
    """
    if niceness and hasattr(os, "nice"):
        os.nice(niceness)
        with suppress(OSError):
            Path("/proc/self/autogroup").write_text(str(niceness), encoding="ascii")


def answer_pipe() -> BinaryIO:
    """Standard output, for answers alone: what a library prints goes to standard error from now on."""
    pipe = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return pipe


def _killed_by_the_kernel() -> bool:
    """Whether Linux agreed to kill this process when its parent ends."""
    try:
        return bool(ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0) == 0)
    except (OSError, AttributeError):
        return False


def _watch(parent: int) -> None:
    """End this process once its parent has gone. Runs in a thread; native code that keeps the interpreter delays it."""
    while os.getppid() == parent:
        if not _waited_for_its_end(parent):
            time.sleep(POLL)
    os._exit(1)


def _waited_for_its_end(parent: int) -> bool:
    """Wait for the end of `parent`, where the system can report it (macOS, BSD); False where it cannot."""
    if sys.platform != "darwin":
        return False
    import select

    try:
        queue = select.kqueue()
        event = select.kevent(
            parent, select.KQ_FILTER_PROC, select.KQ_EV_ADD | select.KQ_EV_ONESHOT, select.KQ_NOTE_EXIT
        )
        return bool(queue.control([event], 1))
    except OSError:
        return False


def main() -> None:
    parent, niceness, module = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    die_with(parent)
    lower_priority(niceness)
    take_name(module)
    sys.argv = [module, *sys.argv[4:]]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
