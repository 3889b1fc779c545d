"""Child processes that would not end by themselves: `python -m tests.support.kills.stuck interpreter|family`."""

from __future__ import annotations

import re
import subprocess
import sys
import time


def main(kind: str) -> None:
    if kind == "family":
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        print(child.pid, flush=True)
        time.sleep(600)
    print("busy", flush=True)
    re.match(r"(a+)+$", "a" * 60 + "b")  # native code for years, which never lets another thread of Python run


if __name__ == "__main__":
    main(sys.argv[1])
