"""The app as a process to kill: `python app.py`, or the same forked from a process that has imported everything."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import httpx
import psutil

from tests.support.served import visitor

ROOT = Path(__file__).resolve().parents[3]
PRELOADED = [
    "chatlab.__main__",
    "chatlab.web.app",
    "chatlab.engines.fallback",
    "chatlab.engines.llama",
    "tests.support.kills.lives",
]


class App:
    """One life. What it prints goes to `said`."""

    def __init__(self, environment: Mapping[str, str], said: Path, forked: bool) -> None:
        self.said, self._began = said, time.monotonic()
        self.home = environment["CHATLAB_HOME"]
        self.address = f"http://127.0.0.1:{environment['CHATLAB_PORT']}"
        self._popen: subprocess.Popen[bytes] | None = None
        if forked:
            context = multiprocessing.get_context("forkserver")
            context.set_forkserver_preload(PRELOADED)
            process = context.Process(target=live, args=(dict(environment), str(said)))
            process.start()
            assert process.pid
            self.pid = process.pid
        else:
            with said.open("ab") as file:
                self._popen = subprocess.Popen(
                    [sys.executable, "app.py", "--no-browser"],
                    cwd=ROOT,
                    env=os.environ | dict(environment),
                    stdin=subprocess.DEVNULL,
                    stdout=file,
                    stderr=file,
                    start_new_session=True,
                )
            self.pid = self._popen.pid

    def alive(self) -> bool:
        if self._popen is not None:
            return self._popen.poll() is None
        try:
            return psutil.Process(self.pid).status() != psutil.STATUS_ZOMBIE
        except psutil.Error:
            return False

    def opened(self, patience: float = 180.0) -> float:
        """Seconds until it answered."""
        while time.monotonic() < self._began + patience and self.alive():
            try:
                with visitor(self.address, timeout=20) as client:
                    if client.get("/chatlab/health").status_code == 200:
                        return time.monotonic() - self._began
            except httpx.TransportError:
                time.sleep(0.05)
        raise AssertionError(f"the app does not open: {self.said.read_text(errors='replace')[-3000:]}")

    def ended(self, patience: float) -> bool:
        ends = time.monotonic() + patience
        while self.alive() and time.monotonic() < ends:
            time.sleep(0.01)
        return not self.alive()

    def children(self) -> dict[int, str]:
        """Processes with this home in their environment, by pid: what they run. Found whoever their parent is now."""
        found = {}
        for process in psutil.process_iter():
            try:
                mine = process.pid != self.pid and process.environ().get("CHATLAB_HOME") == self.home
                if mine and process.status() != psutil.STATUS_ZOMBIE:
                    found[process.pid] = f"{process.name()}: {' '.join(process.cmdline()[2:7])}"
            except (psutil.Error, OSError):
                continue
        return found


def live(environment: dict[str, str], said: str) -> None:
    """In the forked process: `python app.py --no-browser`, the imports spared."""
    os.setsid()
    os.environ.update(environment)
    tempfile.tempdir = environment["TMPDIR"]
    handle = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115
    from chatlab.__main__ import main

    raise SystemExit(main(["--no-browser"]))
