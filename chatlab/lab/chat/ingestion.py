"""Files on their way into the library: a queue that is read in the background, file by file."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from chatlab.errors import ChatlabError, DocumentRefused, InputError
from chatlab.retrieval.document import DocumentInfo
from chatlab.retrieval.reading.client import DocumentReader
from chatlab.system.temporary import discard

log = logging.getLogger("chatlab.lab")


@dataclass(frozen=True, slots=True, kw_only=True)
class Adding:
    """How far the reading of dropped files has come."""

    files: int = 0
    done: int = 0
    kept: int = 0
    again: int = 0
    """Files that were in the library already."""
    refused: tuple[str, ...] = ()
    """One sentence a file that could not be read."""
    name: str = ""
    """The file that is being read."""
    state: Literal["idle", "reading", "done", "stopped", "failed"] = "idle"
    message: str = ""
    """Why it failed."""


class Ingestion:
    """Safe to call from threads.

    `keep` takes what was read and says whether it is new; it raises DiskFull or StoreError, after which the other
    files need not be tried. `ended` is called whenever the reading has ended, however it did.
    """

    def __init__(self, keep: Callable[[DocumentInfo, str], bool], ended: Callable[[], None]) -> None:
        self._keep, self._ended = keep, ended
        self._lock = threading.RLock()
        self._queue: deque[_QueuedFile] = deque()
        self._reading: DocumentReader | None = None
        self._thread: threading.Thread | None = None
        self._stop = False
        self.adding = Adding()
        """Progress of the files that are being read, or that were read last."""

    @property
    def reading(self) -> bool:
        return self.adding.state == "reading"

    def add(self, files: Iterable[Path | tuple[Path, str]], uploads: bool) -> None:
        """Read these as well, and those in folders. Raises InputError where there is no file among them.

        `uploads` are files and never folders; each is removed once it has been read, or when the reading ends.
        """
        found = [_QueuedFile(path, name, uploads) for file in files for path, name in _files(file, not uploads)]
        if not found:
            raise InputError("There is no file to read.", "Choose files that hold text.")
        with self._lock:
            fresh = not self.reading  # the thread of an earlier reading may still be closing what it read with
            self.adding = Adding(files=len(found), state="reading") if fresh else self._more(len(found))
            self._queue += found
            if fresh:
                self._stop = False
                self._thread = threading.Thread(target=self._read_all, name="reading", daemon=True)
                self._thread.start()

    def stop(self) -> None:
        """End the reading now. What was kept stays."""
        with self._lock:
            self._stop = True
            self._forget()
            reading = self._reading
        if reading is not None:
            reading.stop()
        self.wait(10)

    def wait(self, timeout: float) -> None:
        """Until all is read, or `timeout` seconds have passed."""
        if (thread := self._thread) is not None:
            thread.join(timeout)

    def _more(self, count: int) -> Adding:
        return replace(self.adding, files=self.adding.files + count)

    def _read_all(self) -> None:
        self._reading = reading = DocumentReader()
        try:
            while (one := self._next()) is not None:
                try:
                    self._take(reading, one)
                finally:
                    one.done()
        except ChatlabError as error:
            self._end("failed", f"{error} {error.hint}".strip())
        except Exception:
            log.exception("Reading documents failed")
            self._end("failed", "Something went wrong inside Chatlab. The log has details.")
        finally:
            reading.close()
            self._ended()

    def _next(self) -> _QueuedFile | None:
        """The next file, or None when all are read; then the reading has ended."""
        with self._lock:
            if self._stop or not self._queue:
                self._end("stopped" if self._stop else "done")
                return None
            one = self._queue.popleft()
            self.adding = replace(self.adding, name=one.name)
            return one

    def _take(self, reading: DocumentReader, one: _QueuedFile) -> None:
        """Read and keep a file."""
        kept = again = 0
        refused: tuple[str, ...] = ()
        try:
            if self._keep(*reading.read(one.path, one.name)):
                kept = 1
            else:
                again = 1
        except DocumentRefused as error:
            if self._stop:
                return
            refused = (f"{error} {error.hint}".strip(),)
        with self._lock:
            now = self.adding
            self.adding = replace(
                now, done=now.done + 1, kept=now.kept + kept, again=now.again + again, refused=now.refused + refused
            )

    def _forget(self) -> None:
        while self._queue:
            self._queue.popleft().done()

    def _end(self, state: Literal["done", "stopped", "failed"], message: str = "") -> None:
        with self._lock:
            self._forget()
            self.adding = replace(self.adding, state=state, message=message, name="")


@dataclass(frozen=True, slots=True)
class _QueuedFile:
    """A file that waits to be read."""

    path: Path
    name: str
    upload: bool

    def done(self) -> None:
        if self.upload:
            discard(self.path)


def _files(file: Path | tuple[Path, str], folders: bool) -> Iterator[tuple[Path, str]]:
    """A file and its name for the person; of a folder, where one may be given, all files in it that are not hidden."""
    path, name = file if isinstance(file, tuple) else (file, file.name)
    if not path.is_dir():
        yield path, name
        return
    if not folders:
        return
    for inner in sorted(path.rglob("*")):
        parts = inner.relative_to(path).parts
        if inner.is_file() and not inner.is_symlink() and not any(part.startswith(".") for part in parts):
            yield inner, inner.name
