"""The app's side of the reading process: one file at a time, ended and replaced when a file is a trap."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path
from typing import Any

from chatlab.errors import DocumentRefused
from chatlab.retrieval.document import DocumentInfo, Span
from chatlab.system.clock import now
from chatlab.system.processes.child import Child

SECONDS = 150.0
"""After which the process is ended; it gives up by itself well before."""
ANSWER = 256 << 20
"""Bytes of the longest answer that is taken."""
NICENESS = 5
FILES_PER_PROCESS = 200
"""Files after which the process is replaced, so that what one left behind does not pile up."""


class DocumentReader:
    """Use from one thread; `stop` may be called from any."""

    def __init__(self, seconds: float = SECONDS) -> None:
        self._seconds = seconds
        self._process: Child | None = None
        self._read = 0
        self._stopped = False

    def read(self, path: Path, name: str) -> tuple[DocumentInfo, str]:
        """The document and its text. Raises DocumentRefused, whose message begins with the file's name."""
        said = self._ask(path, name)
        if "refused" in said:
            raise DocumentRefused(f"{name}: {said['refused']}.", said["hint"])
        text = str(said["text"])
        return _info(said, name, text), text

    def stop(self) -> None:
        """End the process, whatever it is reading."""
        self._stopped = True
        if self._process is not None:
            self._process.kill()

    def close(self) -> None:
        self._end()

    def _ask(self, path: Path, name: str) -> dict[str, Any]:
        process, began = self._running(), time.monotonic()
        sent = process.send({"path": os.fspath(path.resolve()), "name": name})
        answer: dict[str, Any] | None = process.receive(self._seconds, ANSWER) if sent else None
        if answer is None:
            self._end()
            raise _ended(name, time.monotonic() - began >= self._seconds, self._stopped)
        return answer

    def _running(self) -> Child:
        if self._process is None or self._process.poll() is not None or self._read >= FILES_PER_PROCESS:
            self._end()
            self._process = Child(
                "chatlab.retrieval.reading.worker", niceness=NICENESS, environment={"OMP_NUM_THREADS": "1"}
            )
            self._read = 0
        self._read += 1
        return self._process

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.end()


def _ended(name: str, late: bool, stopped: bool) -> DocumentRefused:
    if stopped:
        return DocumentRefused(f"{name}: reading was stopped.", "Add it again.")
    if late:
        return DocumentRefused(f"{name}: it took too long to read.", "Save it in parts, or as text.")
    return DocumentRefused(f"{name}: reading it broke the reader.", "Open it in its own program and save it again.")


def _info(said: dict[str, Any], name: str, text: str) -> DocumentInfo:
    return DocumentInfo(
        id=said["id"],
        name=name,
        title=said["title"],
        kind=said["kind"],
        size=said["size"],
        pages=said["pages"],
        characters=len(text),
        text_sha256=hashlib.sha256(text.encode()).hexdigest(),
        problems=tuple(said["problems"]),
        added=now(),
        spans=tuple(Span(*span) for span in said["spans"]),
    )
