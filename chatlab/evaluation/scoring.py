"""The app's side of measuring difficulties: one process at a time, followed, and killed on request. No torch here."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

from chatlab.records import Message
from chatlab.system.processes.child import PIPE, ChildProcess
from chatlab.system.processes.forked import start_forked
from chatlab.training.process import IMPORTED

NICENESS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a measurement has come."""

    total: int = 0
    done: int = 0
    running: bool = False
    seconds: float = 0.0
    message: str = ""
    """Why it ended before it was done, if it did."""

    @property
    def share(self) -> float:
        return self.done / self.total if self.total else 0.0

    @property
    def left(self) -> float | None:
        """Seconds left, once they can be estimated."""
        return self.seconds * (self.total - self.done) / self.done if self.running and self.done else None


class Scoring:
    """Starts a scorer and listens to it. Safe to call from threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: ChildProcess | None = None
        self._progress = Progress()
        self._began = 0.0

    def start(self, base: Path, ledger: Path, tasks: Sequence[tuple[str, Sequence[Message]]]) -> None:
        """Measure `tasks`, content hash and messages each, on the base in a folder.

        Nothing happens while a measurement is under way.
        """
        with self._lock:
            if self._progress.running or not tasks:
                return
            process = start_forked(
                "chatlab.evaluation.scorer", base, ledger, imported=IMPORTED, niceness=NICENESS, stderr=PIPE
            )
            self._process, self._began = process, time.monotonic()
            self._progress = Progress(total=len(tasks), running=True)
        threading.Thread(target=self._follow, args=(process, list(tasks)), name="scoring", daemon=True).start()

    def progress(self) -> Progress:
        with self._lock:
            return self._progress

    def cancel(self) -> None:
        """End the measurement under way; what it has measured stays."""
        with self._lock:
            process, self._process = self._process, None
            self._progress = replace(self._progress, running=False)
        if process is not None:
            process.kill()
            process.wait()  # `_follow` closes its pipes, once it has read them to their end

    def wait(self, timeout: float = 600.0) -> Progress:
        """Until nothing is under way."""
        end = time.monotonic() + timeout
        while self.progress().running and time.monotonic() < end:
            time.sleep(0.05)
        return self.progress()

    def _follow(self, process: ChildProcess, tasks: Iterable[tuple[str, Sequence[Message]]]) -> None:
        assert process.stdin and process.stdout and process.stderr
        errors: list[bytes] = []
        reader = threading.Thread(target=lambda: errors.append(_tail(process.stderr)), daemon=True)
        reader.start()
        for key, messages in tasks:
            if not process.send({"key": key, "messages": [m.plain for m in messages]}):
                break  # it has ended already, and its exit code is reported below
        with suppress(OSError):
            process.stdin.close()
        for line in process.stdout:
            self._on_event(process, json.loads(line))
        code = process.wait()
        reader.join(1.0)
        process.end()
        with self._lock:
            if process is self._process:
                self._process = None
                self._progress = replace(
                    self._progress, running=False, message=self._progress.message or _why(code, errors)
                )

    def _on_event(self, process: ChildProcess, said: dict[str, object]) -> None:
        with self._lock:
            if process is not self._process:
                return
            if "error" in said:
                self._progress = replace(self._progress, message=f"{said['error']} {said['hint']}".strip())
            else:
                seconds = time.monotonic() - self._began
                self._progress = replace(self._progress, done=int(str(said["done"])), seconds=seconds)


def _tail(stream: IO[bytes] | None) -> bytes:
    return stream.read()[-2000:] if stream else b""


def _why(code: int, errors: Sequence[bytes]) -> str:
    if code == 0:
        return ""
    last = b"".join(errors).decode(errors="replace").strip().splitlines()[-1:]
    return f"The measurement ended early: {last[0] if last else f'code {code}'}"
