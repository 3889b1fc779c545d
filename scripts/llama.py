"""Installs llama.cpp, in the background of the app: built from source where no wheel fits, which takes 5 to 8 minutes.

    python scripts/llama.py .venv

It yields the processor to the app, and a second one waits for the first. Nothing is fatal: the app runs without it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections import deque
from pathlib import Path

from filelock import FileLock

ROOT = Path(__file__).resolve().parents[1]
NICENESS = 10
BEGUN = (
    "Installing llama.cpp beside it (built from source where no wheel fits: 5-8 minutes, once; LLAMA=0 leaves it out)."
)
FAILED = """llama.cpp could not be built; transformers answers instead. A C++ compiler and cmake are needed:
install them, then: rm {venv}/llama && make run. The build's last words:"""


def install(venv: Path) -> int:
    """The exit code of pip."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile"]
    command += ["-c", str(ROOT / "requirements.lock"), "llama-cpp-python"]
    with (venv / "llama.log").open("w") as log:
        return subprocess.run(command, stdout=log, stderr=log).returncode


def main(venv: Path) -> None:
    if hasattr(os, "nice"):
        os.nice(NICENESS)
    with FileLock(venv / "llama.lock"):
        if (venv / "llama").exists():
            return
        print(BEGUN, flush=True)
        if install(venv):
            print(FAILED.format(venv=venv))
            with (venv / "llama.log").open(errors="replace") as log:
                print("".join(deque(log, 5)), flush=True)
        else:
            (venv / "llama").touch()  # before the lock is let go of


if __name__ == "__main__":
    main(Path(sys.argv[1]))
