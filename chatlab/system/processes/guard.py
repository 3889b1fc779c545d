"""Ends a process that a library started, should the app end before it: such a process is in no session of ours.

As a program, `python guard.py PID` waits for the end of its input, which is the app's end, and kills the process.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress


@contextmanager
def guarded(pid: int) -> Iterator[None]:
    """While the block runs, the process `pid` ends with this one. Raises OSError where no process can be started."""
    command = [sys.executable, "-I", "-S", __file__, str(pid)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=os.name == "posix") as guard:
        try:
            yield
        finally:
            guard.kill()  # before its input ends


def main() -> None:
    sys.stdin.buffer.read()
    with suppress(OSError):
        os.kill(int(sys.argv[1]), getattr(signal, "SIGKILL", signal.SIGTERM))


if __name__ == "__main__":
    main()
