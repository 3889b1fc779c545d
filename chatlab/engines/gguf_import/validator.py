"""GGUF files that somebody brings: tried in a process that can be spared, and remembered once they have passed."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import json
import math
import shutil
import tempfile
import time
from pathlib import Path

import psutil

from chatlab.engines.gguf_import.sandbox import Hearing
from chatlab.errors import BaseError, BaseRefused, ChatlabError, DiskFull, EngineError, TemplateRefused
from chatlab.models.base import Base
from chatlab.models.brought import Brought, Stamp, stamp
from chatlab.system.files import private_folder

REVISION = 1
"""Of the trial. What passed an older one is tried again."""
PASSED = "passed.json"
HALF = ".half-"
PATIENCE = 60.0
"""Seconds until a trial is begun again that failed for a reason outside the file."""
STALE = 3600
"""Seconds after which what a trial left behind that was cut off is thrown away."""


class GgufValidator:
    """Opens brought files as bases. What was refused is remembered too, until the file changes or the process ends."""

    def __init__(self, cache: Path, hearing: Hearing | None = None) -> None:
        self._folder = cache / "brought"
        self._hearing = hearing or Hearing()
        self._refused: dict[str, tuple[ChatlabError, float]] = {}

    def open(self, file: Path) -> Base:
        """Takes seconds the first time, and nothing after that.

        Raises BaseMissing, BaseRefused, TemplateRefused, DiskFull, and EngineError for what may go well another time.
        """
        seen = stamp(file)
        check_llama_cpp(file)
        papers = self._folder / _key(file, seen)
        if (base := _opened(file, seen, papers)) is not None:
            return base
        self._check_refused(papers.name)
        _check_memory(file)
        try:
            self._try(file, papers)
        except ChatlabError as error:
            lasting = isinstance(error, BaseError | TemplateRefused)
            self._refused[papers.name] = error, math.inf if lasting else time.monotonic() + PATIENCE
            raise
        base = _opened(file, seen, papers)
        if base is None or stamp(file) != seen:
            raise BaseRefused(f"{file.name} changed while it was checked.", "Wait until all of it is there.")
        return base

    def close(self) -> None:
        """End a trial under way."""
        self._hearing.close()

    def _check_refused(self, key: str) -> None:
        """Raises what was raised before; a page asks every few seconds, and a trial is dear."""
        error, until = self._refused.get(key, (None, 0.0))
        if error is not None and time.monotonic() < until:
            raise type(error)(str(error), error.hint)

    def _try(self, file: Path, papers: Path) -> None:
        """The papers are there, whole, when this returns."""
        try:
            private_folder(self._folder)
            _sweep(self._folder)
            with tempfile.TemporaryDirectory(prefix=HALF, dir=self._folder, ignore_cleanup_errors=True) as half:
                self._hearing.hear(file, Path(half))
                _keep(Path(half), papers)
        except OSError as error:
            raise DiskFull(
                f"What {file.name} says of itself could not be kept: {error.strerror or error}.",
                "Free some space on the disk of the cache folder.",
            ) from error


def _keep(half: Path, papers: Path) -> None:
    """In place of older ones, or of those that another Chatlab has just put there."""
    try:
        half.rename(papers)
    except OSError:
        shutil.rmtree(papers, ignore_errors=True)
        half.rename(papers)


def check_llama_cpp(file: Path) -> None:
    """Raises BaseRefused where there is nothing to run a GGUF with."""
    if importlib.util.find_spec("llama_cpp") is None or importlib.util.find_spec("gguf") is None:
        raise BaseRefused(
            f"{file.name} is a GGUF, which only llama.cpp runs, and that is not installed.",
            "Install it as the README says, or bring a folder with safetensors.",
        )


def _check_memory(file: Path) -> None:
    """Raises EngineError for a file that the memory does not hold now."""
    size, free = file.stat().st_size, psutil.virtual_memory().available
    if size > free:
        raise EngineError(
            f"{file.name} needs {size / 1e9:.1f} GB of memory, and {free / 1e9:.1f} GB are free.",
            "Close other programs, or bring the model in a smaller quantisation.",
        )


def _key(file: Path, seen: Stamp) -> str:
    """Of the file as it is, of the template beside it, and of who judges them."""
    beside = file.with_suffix(".jinja")
    template = stamp(beside) if beside.exists() else None
    told = [REVISION, importlib.metadata.version("llama-cpp-python"), str(file), seen, template]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:32]


def _opened(file: Path, seen: Stamp, papers: Path) -> Base | None:
    """None unless its papers are there, every one as the trial left it."""
    try:
        told = json.loads((papers / PASSED).read_bytes())
        for name, sha256 in told["papers"].items():
            if hashlib.sha256((papers / name).read_bytes()).hexdigest() != sha256:
                return None
        gguf = Brought(file=file, stamp=seen, sha256=told["sha256"])
        return Base.brought(gguf, told["name"], papers, told["parameters"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, BaseRefused):
        return None


def _sweep(folder: Path) -> None:
    """Throw away what trials left behind that were killed."""
    for half in folder.glob(f"{HALF}*"):
        if time.time() - half.stat().st_mtime > STALE:
            shutil.rmtree(half, ignore_errors=True)
