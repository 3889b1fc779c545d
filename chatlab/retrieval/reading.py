"""The app's side of the reading process: one file at a time, ended and replaced when a file is a trap."""

from __future__ import annotations

import hashlib
import os
import threading
from pathlib import Path
from typing import Any

import orjson

from chatlab.clock import now
from chatlab.errors import DocumentRefused
from chatlab.retrieval.document import Papers, Span
from chatlab.system.child import Child

SECONDS = 150.0
"""After which the process is ended; it gives up by itself well before."""
ANSWER = 256 << 20
"""Bytes of the longest answer that is taken."""
NICENESS = 5
SPELL = 200
"""Files after which the process is replaced, so that what one left behind does not pile up."""


class Reading:
    """Use from one thread; `stop` may be called from any."""

    def __init__(self, seconds: float = SECONDS) -> None:
        self._seconds = seconds
        self._process: Child | None = None
        self._read = 0
        self._stopped = False

    def read(self, path: Path, name: str) -> tuple[Papers, str]:
        """The document and its text. Raises DocumentRefused, whose message begins with the file's name."""
        said = self._asked(path, name)
        if "refused" in said:
            raise DocumentRefused(f"{name}: {said['refused']}.", said["hint"])
        text = str(said["text"])
        return _papers(said, name, text), text

    def stop(self) -> None:
        """End the process, whatever it is reading."""
        self._stopped = True
        self.close()

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()

    def _asked(self, path: Path, name: str) -> dict[str, Any]:
        process = self._running()
        assert process.stdin and process.stdout
        late = threading.Event()
        watch = threading.Timer(self._seconds, _give_up, (process, late))
        watch.daemon = True
        watch.start()
        try:
            process.stdin.write(orjson.dumps({"path": os.fspath(path.resolve()), "name": name}) + b"\n")
            process.stdin.flush()
            line = process.stdout.readline(ANSWER)
        except (BrokenPipeError, OSError):
            line = b""
        finally:
            watch.cancel()
        if not line.endswith(b"\n"):
            self._end()
            raise _ended(name, late.is_set(), self._stopped)
        return dict(orjson.loads(line))

    def _running(self) -> Child:
        if self._process is None or self._process.poll() is not None or self._read >= SPELL:
            self._end()
            self._process = Child(
                "chatlab.retrieval.read_process", niceness=NICENESS, environment={"OMP_NUM_THREADS": "1"}
            )
            self._read = 0
        self._read += 1
        return self._process

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.communicate()


def _give_up(process: Child, late: threading.Event) -> None:
    late.set()
    process.kill()


def _ended(name: str, late: bool, stopped: bool) -> DocumentRefused:
    if stopped:
        return DocumentRefused(f"{name}: reading was stopped.", "Add it again.")
    if late:
        return DocumentRefused(f"{name}: it took too long to read.", "Save it in parts, or as text.")
    return DocumentRefused(f"{name}: reading it broke the reader.", "Open it in its own program and save it again.")


def _papers(said: dict[str, Any], name: str, text: str) -> Papers:
    return Papers(
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
