"""GGUF bases unpacked for training, kept in the cache: one folder each, whole or not there, thrown away when unused."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from chatlab.errors import BaseRefused, DiskFull
from chatlab.models.base import Base
from chatlab.models.gguf.header import read_header
from chatlab.models.gguf.unpack import unpacked_size
from chatlab.models.validation.process import REFUSED, TrialProcess
from chatlab.system.files import DISK_FULL, fsync_folder, private_folder

REVISION = 1
"""Version of the unpacking. What an older one left is thrown away as unused."""
HALF = ".half-"
USED = "used"
"""A file whose time says when the folder was last asked for."""
UNUSED = 30 * 24 * 3600.0
"""Seconds after which a folder that nobody asked for is thrown away."""
STALE = 3600.0
"""Seconds after which the half of an unpacking that was killed is thrown away."""
SPARE = 256 << 20
"""Bytes that stay free on the disk."""
NEEDED = ("generation_config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja")

Progress = Callable[[float], None]
"""Told the part that is done, 0 to 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingBase:
    """What a trainer opens."""

    folder: Path
    """config.json, tokenizer, template and safetensors."""
    fingerprint: str
    """Fingerprint of the base that adapters are made for: the packed file, where the folder was unpacked from one."""
    unpacked: bool = False


class UnpackedBases:
    """In `cache/unpacked`. Safe to call from several threads: who comes second waits for the first."""

    def __init__(self, cache: Path) -> None:
        self._folder = cache / "unpacked"
        self._lock = threading.Lock()
        self._process = _Unpacking()
        self.done: float | None = None
        """The part of an unpacking under way that is done, 0 to 1; None while there is none."""

    def open(self, base: Base) -> TrainingBase:
        """A base as its trainer opens it; a GGUF is unpacked first, which takes seconds a billion parameters, once.

        Raises BaseRefused for one that cannot be trained, DiskFull, and EngineError where it went wrong otherwise.
        """
        if base.gguf is None:
            return TrainingBase(folder=base.folder, fingerprint=base.fingerprint)
        base.check_trainable()
        with self._lock:
            folder = self._folder / _key(base)
            if not (folder / USED).exists():
                self._unpack(base, folder)
            with contextlib.suppress(OSError):
                os.utime(folder / USED)
            return TrainingBase(folder=folder, fingerprint=base.fingerprint, unpacked=True)

    def close(self) -> None:
        """End an unpacking under way."""
        self._process.close()

    def _unpack(self, base: Base, folder: Path) -> None:
        assert base.gguf is not None
        file = base.gguf.unchanged()
        try:
            private_folder(self._folder)
            self._sweep()
            self._make_room(unpacked_size(read_header(file)) + SPARE, base.name)
            with tempfile.TemporaryDirectory(prefix=HALF, dir=self._folder, ignore_cleanup_errors=True) as temporary:
                half = Path(temporary) / "whole"
                half.mkdir()
                self.done = 0.0
                try:
                    self._process.unpack(file, half, self._tell)
                except DiskFull as full:
                    raise _full(base.name) from full
                _finish(base, half)
                base.gguf.unchanged()
                try:
                    half.rename(folder)
                except OSError:
                    if not (folder / USED).exists():  # else somebody else was quicker
                        raise
                fsync_folder(self._folder)
        except OSError as error:
            if error.errno in DISK_FULL:
                raise _full(base.name) from error
            raise BaseRefused(
                f"{base.name} could not be unpacked for training: {error.strerror or error}.",
                "Look at the cache folder's disk.",
            ) from error
        finally:
            self.done = None

    def _tell(self, part: float) -> None:
        self.done = part

    def _sweep(self) -> None:
        """Throw away what was left half done, and what nobody has asked for in a long time."""
        for folder in self._folder.iterdir():
            half = folder.name.startswith(HALF)
            if _age(folder if half else folder / USED) > (STALE if half else UNUSED):
                shutil.rmtree(folder, ignore_errors=True)

    def _make_room(self, size: int, name: str) -> None:
        """Throw away what was unpacked of other files, the longest unused first, until `size` bytes are free."""
        others = sorted((f for f in self._folder.iterdir() if (f / USED).exists()), key=lambda f: -_age(f / USED))
        while shutil.disk_usage(self._folder).free < size:
            if not others:
                raise _full(name, size)
            shutil.rmtree(others.pop(0), ignore_errors=True)


class _Unpacking(TrialProcess):
    """`chatlab.models.gguf.unpack`, waited for, its progress read from the size of what it has written."""

    module = "chatlab.models.gguf.unpack"
    act = "unpacking"
    dies = "{name} cannot be unpacked: it is damaged."
    niceness = 5

    def unpack(self, file: Path, to: Path, tell: Progress) -> None:
        """Raises what the process refuses, and EngineError."""
        whole = max(1, unpacked_size(read_header(file)))
        ended = threading.Event()

        def watch() -> None:
            while not ended.wait(0.2):
                with contextlib.suppress(OSError):
                    tell(min(1.0, (to / "model.safetensors").stat().st_size / whole))

        watcher = threading.Thread(target=watch, name="unpacking", daemon=True)
        watcher.start()
        try:
            self.run(file, to)
        finally:
            ended.set()
            watcher.join()

    def seconds(self, what: Path) -> float:
        return 300 + 60 * what.stat().st_size / 2**30


def _finish(base: Base, half: Path) -> None:
    """Put the tokenizer and the template beside the weights, and all of it on the disk."""
    (half / REFUSED).unlink(missing_ok=True)
    for name in NEEDED:
        if (base.folder / name).is_file():
            shutil.copyfile(base.folder / name, half / name)
    (half / USED).write_text(json.dumps({"name": base.name}), encoding="utf-8")
    for file in half.iterdir():
        with file.open("rb") as stream:
            os.fsync(stream.fileno())
    fsync_folder(half)


def _key(base: Base) -> str:
    """Name of the folder: a hash of the file's content and of what is put beside its weights."""
    texts = [(base.folder / name).read_bytes() for name in NEEDED if (base.folder / name).is_file()]
    told = sha256(f"{REVISION} {base.gguf.sha256 if base.gguf else ''}".encode())
    for text in texts:
        told.update(sha256(text).digest())
    return told.hexdigest()[:32]


def _age(place: Path) -> float:
    with contextlib.suppress(OSError):
        return time.time() - place.stat().st_mtime
    return float("inf")


def _full(name: str, size: int = 0) -> DiskFull:
    needs = f" {size / 2**30:.1f} GB are needed." if size else ""
    return DiskFull(
        f"{name} cannot be unpacked for training: the disk of the cache folder is full.{needs}",
        "Free some space, or choose another folder with CHATLAB_CACHE.",
    )
