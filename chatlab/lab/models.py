"""The base model and the engine that runs it, opened when they are first needed."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from chatlab.engines.base import Engine
from chatlab.engines.gguf_import.validator import GgufValidator
from chatlab.models.base import Base
from chatlab.models.included import check_included
from chatlab.models.unpacked import TrainingBase, UnpackedBases
from chatlab.models.validation.validator import FolderValidator

OpenEngine = Callable[[Base], Engine]


class ModelHost:
    """Opens the base and its engine once, whoever asks first, and hands out the same ones ever after.

    A base that did not come with the app is validated first, which takes seconds once; the engine imports torch and
    reads the weights. A failure is raised to everyone who asks, and tried again at the next call.
    """

    def __init__(self, path: Path, cache: Path, open_engine: OpenEngine) -> None:
        self._path = path
        self._cache = cache
        self._gguf_validator = GgufValidator(cache)
        self._folder_validator = FolderValidator(cache)
        self._unpacked = UnpackedBases(cache)
        self._open_engine = open_engine
        self._lock = threading.RLock()
        self._base: Base | None = None
        self._engine: Engine | None = None

    @property
    def base(self) -> Base:
        """Raises BaseMissing, BaseRefused, TemplateRefused or TokenizerFailed."""
        with self._lock:
            if self._base is None:
                self._base = self._open_base()
            return self._base

    @property
    def engine(self) -> Engine:
        """Raises what `base` raises, and EngineError."""
        with self._lock:
            if self._engine is None:
                self._engine = self._open_engine(self.base)
            return self._engine

    def training_base(self) -> TrainingBase:
        """The base as a trainer opens it. A GGUF is unpacked first, which takes seconds, once.

        Raises what `base` raises, BaseRefused for one that cannot be trained, and DiskFull.
        """
        return self._unpacked.open(self.base)

    @property
    def unpacking(self) -> float | None:
        """The part of an unpacking under way that is done, 0 to 1."""
        return self._unpacked.done

    @property
    def started(self) -> bool:
        """Whether the engine is open already, so that asking for it costs nothing."""
        return self._engine is not None

    def unload(self, folder: Path) -> None:
        """Drop an adapter from the engine's memory, if the engine is open."""
        if self._engine is not None:
            self._engine.unload(folder)

    def forget_prompts(self) -> None:
        """Clear what is kept of prompts: the engine's prefix cache and the tokenizer's words."""
        if self._engine is not None:
            self._engine.forget_prompts()
        if self._base is not None:
            self._base.forget_words()

    def yield_cores(self, on: bool) -> None:
        """Leave a core to training, if the engine is open."""
        if self._engine is not None:
            self._engine.yield_cores(on)

    def close(self) -> None:
        self._gguf_validator.close()
        self._unpacked.close()
        self._folder_validator.close()
        with self._lock:
            if self._base is not None:
                self._base.close()
            if self._engine is not None:
                self._engine.close()
                self._engine = None

    def _open_base(self) -> Base:
        one_file = self._path.is_file() or (self._path.suffix == ".gguf" and not self._path.is_dir())
        if one_file:
            base = self._gguf_validator.open(self._path)
            check_included(base)
            return base
        self._folder_validator.check(self._path)
        return Base.open(self._path, self._cache)
