"""A model on its way from the hub: fetched by a process of its own, whole in the app's folder or not there at all."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout

from chatlab import errors
from chatlab.errors import BaseRefused, ChatlabError, DiskFull, DownloadFailed
from chatlab.models.checks import check_config
from chatlab.models.files import read_json
from chatlab.models.library.entry import ModelEntry
from chatlab.models.library.hub.downloaded import HALF, RECORD, REQUEST, Downloads, folder_of
from chatlab.models.library.hub.repository import HubFile, Repository, check_id, gigabytes, read_repository, wanted
from chatlab.system.files import DISK_FULL, fsync_folder, private_folder, write_whole
from chatlab.system.processes.child import Child

log = logging.getLogger("chatlab.models")

State = Literal["listing", "downloading", "checking", "done", "failed", "cancelled"]
SPARE = 256 << 20
"""Bytes that stay free on the disk."""
ANSWER = 16 << 20
"""Bytes of the longest answer of the process."""
WINDOW = 10.0
"""Seconds over which the speed is measured."""
STALE = 14 * 24 * 3600.0
"""Seconds after which the half of a download that nobody took up again is deleted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DownloadProgress:
    """How far a download is."""

    done: int = 0
    """Bytes that are here, those of an earlier try included."""
    whole: int = 0
    """Bytes in all; 0 until they are known."""
    seconds_left: float | None = None
    """At the speed of the last seconds; None while that is not known."""


class Download:
    """One model being fetched, in a thread. Read its state from any thread; `wait` or poll."""

    def __init__(
        self,
        downloads: Downloads,
        repository: str,
        revision: str = "",
        file: str = "",
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """`file` is a GGUF of the repository, by its name or an unmistakable part of it ("Q4_K_M"); without it,
        safetensors are fetched. Raises InputError for what is no model id.
        """
        self.repository = check_id(repository)
        self.revision = revision.strip()
        self.file = file.strip()
        self.state: State = "listing"
        self.progress = DownloadProgress()
        self.entry: ModelEntry | None = None
        """The model, once it is here."""
        self.error: ChatlabError | None = None
        """Why it failed."""
        self._downloads = downloads
        self._hub = Hub(environment)
        self._cancelled = threading.Event()
        self._keeps = False
        self._speed: deque[tuple[float, int]] = deque()
        self._thread = threading.Thread(target=self._run, name=f"download of {self.repository}", daemon=True)
        self._thread.start()

    @property
    def under_way(self) -> bool:
        return self.state in ("listing", "downloading", "checking")

    def cancel(self, keep: bool = False) -> None:
        """End it at once. What has arrived is deleted, or kept for another try."""
        self._keeps = keep
        self._cancelled.set()
        self._hub.close()

    def wait(self, timeout: float | None = None) -> ModelEntry | None:
        """Wait for its end; the model. None if it was cancelled or still runs after `timeout` seconds.

        Raises what ended it otherwise.
        """
        self._thread.join(timeout)
        if self.error is not None:
            raise self.error
        return self.entry

    def _run(self) -> None:
        try:
            self.entry = self._fetch()
            self.state = "done"
        except ChatlabError as error:
            self._fail(error)
        except OSError as error:
            if error.errno in DISK_FULL:
                self._fail(DiskFull(f"The disk is full; {self.repository} is not all here.", "Free some space."))
            else:
                told = error.strerror or str(error)
                self._fail(DownloadFailed(f"{self.repository} could not be written: {told}.", "Look at the disk."))
        finally:
            self._hub.close()

    def _fail(self, error: ChatlabError) -> None:
        if self._cancelled.is_set():
            self.state = "cancelled"
            return
        self.error = error
        self.state = "failed"
        log.info("%s was not downloaded: %s", self.repository, error)

    def _fetch(self) -> ModelEntry:
        repository = self._hub.look(self.repository, self.revision)
        files = wanted(repository, self.file)
        folder = folder_of(self._downloads.folder, repository, files)
        if (there := self._downloads.read(folder)) is not None:
            return there
        private_folder(self._downloads.folder)
        half = self._downloads.folder / f"{HALF}{_key(folder)}"
        try:
            with FileLock(f"{half}.lock", timeout=1):  # `unfinished` holds it for a moment
                sweep(self._downloads.folder)
                return self._fill(repository, files, half, folder)
        except Timeout as error:
            raise DownloadFailed(f"{self.repository} is being downloaded already.", "Wait until it is here.") from error

    def _fill(self, repository: Repository, files: tuple[HubFile, ...], half: Path, folder: Path) -> ModelEntry:
        private_folder(half)
        os.utime(half)
        request = {"repository": repository.id, "revision": self.revision, "file": self.file}
        write_whole(half / REQUEST, json.dumps(request).encode())
        try:
            self._get(repository, files, half)
            (half / REQUEST).unlink()
            record = {
                "format": 1,
                "repository": repository.id,
                "commit": repository.commit,
                "revision": repository.revision,
                "licence": repository.licence,
                "files": [{"name": f.base_name, "size": f.size, "sha256": f.sha256} for f in files],
            }
            write_whole(half / RECORD, json.dumps(record, indent=1).encode())
            fsync_folder(half)
            private_folder(folder.parent)
            shutil.rmtree(folder, ignore_errors=True)  # of a removal that was cut short
            half.rename(folder)
            fsync_folder(folder.parent)
        except (ChatlabError, OSError) as error:
            if isinstance(error, BaseRefused) or (self._cancelled.is_set() and not self._keeps):
                shutil.rmtree(half, ignore_errors=True)
            raise
        entry = self._downloads.read(folder)
        assert entry is not None
        return entry

    def _get(self, repository: Repository, files: tuple[HubFile, ...], half: Path) -> None:
        whole = sum(file.size for file in files)
        here = sum(_size(place) for place in half.rglob("*") if place.name != REQUEST)
        _check_disk(self._downloads.folder, whole - here, whole, repository.id)
        done = 0
        self._tell(done, whole)
        self.state = "downloading"
        for file in files:
            to = half / (file.name if "/" in file.name and len(files) > 1 else file.base_name)
            for told in self._hub.fetch(repository, file, to, done):
                if self._cancelled.is_set():
                    raise DownloadFailed(f"The download of {repository.id} was cancelled.")
                self.state = "checking" if "checking" in told else "downloading"
                if "done" in told:
                    self._tell(int(told["done"]), whole)
            done += file.size
            self._tell(done, whole)
            if file.name == "config.json":
                check_config(read_json(to), repository.id)  # before gigabytes follow

    def _tell(self, done: int, whole: int) -> None:
        now = time.monotonic()
        if self._speed and done < self._speed[-1][1]:
            self._speed.clear()
        self._speed.append((now, done))
        while now - self._speed[0][0] > WINDOW:
            self._speed.popleft()
        then, before = self._speed[0]
        left = (whole - done) * (now - then) / (done - before) if done > before else None
        self.progress = DownloadProgress(done=done, whole=whole, seconds_left=left)


class Hub:
    """`hub_worker`, asked one thing at a time. `close` may be called from another thread, and ends it."""

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        self._environment = environment
        self._lock = threading.Lock()
        self._process: Child | None = None
        self._closed = False

    def look(self, repository: str, revision: str = "") -> Repository:
        """Raises BaseMissing, BaseRefused, InputError and DownloadFailed."""
        answer = self._ask(do="look", repository=check_id(repository), revision=revision)
        try:
            return read_repository(answer["repository"], revision)
        except (ValueError, KeyError, TypeError) as error:
            raise DownloadFailed(f"What the hub says of {repository} makes no sense.", "Check HF_ENDPOINT.") from error

    def fetch(self, repository: Repository, file: HubFile, to: Path, before: int) -> Iterator[dict[str, Any]]:
        """Yields progress until the file is whole at `to`; `before` is added to its bytes. Raises as `look`."""
        job = {"name": file.name, "size": file.size, "sha256": file.sha256, "blob": file.blob}
        told = self._ask(
            do="fetch", repository=repository.id, commit=repository.commit, to=os.fspath(to), before=before, **job
        )
        while "fetched" not in told:
            yield told
            told = self._answer()

    def close(self) -> None:
        with self._lock:
            self._closed = True
            if self._process is not None:
                self._process.end()

    def _ask(self, **job: Any) -> dict[str, Any]:
        with self._lock:
            if self._closed:
                raise DownloadFailed("The download was cancelled.")
            if self._process is None:
                self._process = Child("chatlab.models.library.hub.worker", niceness=5, environment=self._environment)
        self._process.send(job)
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process is not None
        told: dict[str, Any] | None = self._process.receive(longest=ANSWER)
        if told is None:
            raise DownloadFailed("The download was ended.", "Start it again: what has arrived is kept.")
        if "error" in told:
            kind = getattr(errors, str(told["error"]), DownloadFailed)
            raise kind(str(told["message"]), str(told["hint"]))
        return told


def sweep(folder: Path) -> None:
    """Delete the halves of downloads that nobody took up again, and their locks."""
    for half in folder.glob(f"{HALF}*"):
        if time.time() - half.stat().st_mtime <= STALE:
            continue
        if half.is_dir():
            shutil.rmtree(half, ignore_errors=True)
        else:
            half.unlink(missing_ok=True)


def _check_disk(folder: Path, needed: int, whole: int, name: str) -> None:
    free = shutil.disk_usage(folder).free
    if needed + SPARE > free:
        raise DiskFull(
            f"{name} has {gigabytes(whole)}, and {gigabytes(max(0, free - SPARE))} are free on the disk of {folder}.",
            "Free some space, or choose a smaller model or a smaller quantisation of it.",
        )


def _size(place: Path) -> int:
    return place.stat().st_size if place.is_file() else 0


def _key(folder: Path) -> str:
    return hashlib.sha256(str(folder).encode(errors="surrogateescape")).hexdigest()[:16]
