"""GGUF files from outside: validated in a process of their own, and remembered once they have passed."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import tempfile
import time
from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path

import psutil

from chatlab.engines.gguf_import.identities import IDENTITIES, GgufIdentities
from chatlab.engines.llamacpp import package
from chatlab.errors import BaseError, BaseRefused, ChatlabError, DiskFull, EngineError, TemplateRefused
from chatlab.models.base import Base
from chatlab.models.gguf_file import GgufFile, Stamp, stamp
from chatlab.models.validation.process import SECONDS, TrialProcess
from chatlab.system.files import private_folder

REVISION = 2
"""Version of the validation. What passed an older one is validated again."""
PASSED = "passed.json"
GIVEN = "given.jinja"
"""A chat template that a person gave the file, put into the folder before it is validated."""
HALF = ".half-"
PATIENCE = 60.0
"""Seconds until a validation is repeated that failed for a reason outside the file."""
SECONDS_A_GB = 120
"""How much longer a validation may take for each gigabyte."""
STALE = 3600
"""Seconds after which the leftovers of an interrupted validation are deleted."""


class GgufSandbox(TrialProcess):
    """Runs `validate_worker` on a file; llama.cpp may end that process on a damaged one."""

    module = "chatlab.engines.gguf_import.validate_worker"
    dies = "llama.cpp breaks down when it opens {name}: the file is damaged."
    broken = "Fetch the file again. If it is whole, llama.cpp cannot run it here."

    def seconds(self, file: Path) -> float:
        return SECONDS + SECONDS_A_GB * (file.stat().st_size >> 30)


class GgufValidator:
    """Opens GGUF files from outside as bases.

    A refusal is remembered too, until the file changes or the app ends.
    """

    def __init__(
        self,
        cache: Path,
        sandbox: GgufSandbox | None = None,
        named: Callable[[], Collection[str]] = frozenset,
    ) -> None:
        """`named` gives the fingerprints of the bases that adapters name."""
        self._cache = cache / "brought"
        self._identities = GgufIdentities(self._cache / IDENTITIES, named)
        self._sandbox = sandbox or GgufSandbox()
        self._refused: dict[str, tuple[ChatlabError, float]] = {}

    def open(self, file: Path, template: str = "") -> Base:
        """Takes seconds the first time, and nothing after that. `template` is a chat template that a person gave it.

        Raises BaseMissing, BaseRefused, TemplateRefused, DiskFull, and EngineError for what may go well another time.
        """
        seen = stamp(file)
        folder = self._cache / _key(file, seen, template)
        if (base := self._opened(file, seen, folder)) is not None:
            return base
        self._check_refused(folder.name)
        _check_memory(file)
        try:
            self._try(file, folder, template)
        except ChatlabError as error:
            lasting = isinstance(error, BaseError | TemplateRefused)
            self._refused[folder.name] = error, math.inf if lasting else time.monotonic() + PATIENCE
            raise
        base = self._opened(file, seen, folder)
        if base is None or stamp(file) != seen:
            raise BaseRefused(f"{file.name} changed while it was checked.", "Wait until all of it is there.")
        return base

    def close(self) -> None:
        """End a validation under way."""
        self._sandbox.close()

    def _opened(self, file: Path, seen: Stamp, folder: Path) -> Base | None:
        """None unless `folder` holds every file as the validation left it."""
        try:
            passed = json.loads((folder / PASSED).read_bytes())
            for name, sha256 in passed["papers"].items():
                if hashlib.sha256((folder / name).read_bytes()).hexdigest() != sha256:
                    return None
            gguf = GgufFile(file=file, stamp=seen, sha256=passed["sha256"])
            base = Base.from_gguf(gguf, passed["name"], folder, passed["parameters"])
            identity = self._identities.of(base, passed.get("meaning"))
            return Base.from_gguf(replace(gguf, identity=identity), base.name, folder, base.parameters)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, BaseRefused):
            return None

    def _check_refused(self, key: str) -> None:
        """Raises what was raised before; a page asks every few seconds, and a validation is slow."""
        error, until = self._refused.get(key, (None, 0.0))
        if error is not None and time.monotonic() < until:
            raise type(error)(str(error), error.hint)

    def _try(self, file: Path, folder: Path, template: str) -> None:
        """Everything is in `folder`, whole, when this returns."""
        try:
            private_folder(self._cache)
            _sweep(self._cache)
            with tempfile.TemporaryDirectory(prefix=HALF, dir=self._cache, ignore_cleanup_errors=True) as half:
                if template:
                    (Path(half) / GIVEN).write_text(template, encoding="utf-8", newline="\n")
                self._sandbox.run(file, Path(half))
                _keep(Path(half), folder)
        except OSError as error:
            raise DiskFull(
                f"What {file.name} says of itself could not be kept: {error.strerror or error}.",
                "Free some space on the disk of the cache folder.",
            ) from error


def _keep(half: Path, folder: Path) -> None:
    """Move it into place, over an older one or one that another process has just put there."""
    try:
        half.rename(folder)
    except OSError:
        shutil.rmtree(folder, ignore_errors=True)
        half.rename(folder)


def _check_memory(file: Path) -> None:
    """Raises EngineError for a file that the memory does not hold now."""
    size, free = file.stat().st_size, psutil.virtual_memory().available
    if size > free:
        raise EngineError(
            f"{file.name} needs {size / 1e9:.1f} GB of memory, and {free / 1e9:.1f} GB are free.",
            "Close other programs, or bring the model in a smaller quantisation.",
        )


def _key(file: Path, seen: Stamp, given: str) -> str:
    """Hash of the file's stamp, of its template beside it or given, and of the versions of what validates it."""
    beside = file.with_suffix(".jinja")
    template = stamp(beside) if beside.exists() else None
    parts = [REVISION, package.version(), str(file), seen, template, *([given] if given else [])]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


def _sweep(folder: Path) -> None:
    """Delete the leftovers of validations that were killed."""
    for half in folder.glob(f"{HALF}*"):
        if time.time() - half.stat().st_mtime > STALE:
            shutil.rmtree(half, ignore_errors=True)
