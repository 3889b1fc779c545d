"""Model folders that did not come with the app: their templates and tokenizers are tried before the app reads them.

What passed is remembered by its contents, so that the next start costs no more than hashing a few small files.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import math
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from chatlab.errors import BaseError, ChatlabError, DiskFull, TemplateRefused, TokenizerFailed
from chatlab.models.files import digest
from chatlab.models.layout import find
from chatlab.models.validation.process import TrialProcess

REVISION = 1
"""Version of the trial. What passed an older one is tried again."""
PASSED = "passed.json"
PATIENCE = 60.0
"""Seconds until a trial is begun again that failed for a reason outside the folder."""
EMBEDDED = Path(__file__).resolve().parents[1] / "embedded"
"""The base that comes with the app."""


class FolderTrial(TrialProcess):
    """Trials of model folders."""

    module = "chatlab.models.validation.worker"
    dies = "The tokenizer of {name} breaks down."
    broken = "Choose a model with another tokenizer and chat template."


class FolderValidator:
    """Tries model folders, each once. What was refused is remembered until it changes or the process ends."""

    def __init__(self, cache: Path, trial: TrialProcess | None = None) -> None:
        self._folder = cache / "tried"
        self._trial = trial or FolderTrial()
        self._refused: dict[str, tuple[ChatlabError, float]] = {}

    def check(self, folder: Path) -> None:
        """Returns once the folder has passed. Takes seconds the first time.

        Raises BaseMissing, BaseRefused, TemplateRefused, TokenizerFailed, DiskFull, and EngineError for what may go
        well another time.
        """
        folder = find(folder).folder
        key = key_of(folder)
        if (self._folder / f"{key}.json").is_file() or _is_embedded(folder):
            return
        error, until = self._refused.get(key, (None, 0.0))
        if error is not None and time.monotonic() < until:
            raise type(error)(str(error), error.hint)
        try:
            self._try(folder, key)
        except ChatlabError as refusal:
            lasting = isinstance(refusal, BaseError | TemplateRefused | TokenizerFailed)
            self._refused[key] = refusal, math.inf if lasting else time.monotonic() + PATIENCE
            raise

    def close(self) -> None:
        """End a trial under way."""
        self._trial.close()

    def _try(self, folder: Path, key: str) -> None:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=".half-", dir=self._folder, ignore_cleanup_errors=True) as half:
                self._trial.run(folder, Path(half))
                (Path(half) / PASSED).replace(self._folder / f"{key}.json")
        except OSError as error:
            raise DiskFull(
                f"What was found out about {folder.name} could not be kept: {error.strerror or error}.",
                "Free some space on the disk of the cache folder.",
            ) from error


def known_harmless(folder: Path, cache: Path | None) -> bool | None:
    """Whether its tokenizer was found to be made of known parts; None where nobody has looked yet."""
    if folder.resolve() == EMBEDDED:
        return True
    if cache is None:
        return None
    with suppress(OSError, ValueError, KeyError, TypeError):
        told: dict[str, Any] = json.loads((cache / "tried" / f"{key_of(folder)}.json").read_bytes())
        return told["harmless"] is True
    return None


def key_of(folder: Path) -> str:
    """Hash of the files' contents, and of the versions of what judges them."""
    versions = [importlib.metadata.version(name) for name in ("tokenizers", "transformers", "jinja2")]
    return hashlib.sha256(json.dumps([REVISION, versions, digest(folder)]).encode()).hexdigest()[:32]


def _is_embedded(folder: Path) -> bool:
    return folder.resolve() == EMBEDDED or ((EMBEDDED / "config.json").is_file() and digest(folder) == digest(EMBEDDED))
