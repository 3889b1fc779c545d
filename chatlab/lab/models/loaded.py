"""One model: its base and the engine that runs it, opened when they are first needed."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from chatlab.engines.base import Engine
from chatlab.errors import BaseError, ChatlabError, EngineError
from chatlab.models.base import Base

OpenBase = Callable[[Path, str], Base]
"""Of a path, with the chat template that a person gave the model, if any."""
OpenEngine = Callable[[Base], Engine]

Stamp = tuple[tuple[int, ...], ...]


class LoadedModel:
    """Opens its base and its engine once, whoever asks first, and hands out the same ones ever after.

    A failure is raised to everyone who asks, and tried again at the next call. Whoever computes for longer than a
    moment holds a lease of it, see `ModelHost.lease`; it is closed by the host, once nobody does.
    """

    def __init__(self, path: Path, open_base: OpenBase, open_engine: OpenEngine, template: str = "") -> None:
        self.path = path
        self.template = template
        """A chat template that a person gave the model; empty for its own."""
        self.leases = 0
        """How many use it now. The host counts, under its own lock."""
        self.background = 0
        """How many of them are work that nobody waits for in the chat."""
        self.yielding = False
        """Whether its engine leaves a core to training."""
        self.failure = ""
        """Why its engine could not be opened when it was tried last; empty where it was not, or could."""
        self._open_base = open_base
        self._open_engine = open_engine
        self._lock = threading.RLock()
        self._base: Base | None = None
        self._engine: Engine | None = None
        self._stamp: Stamp = ()
        self._closed = False

    @property
    def base(self) -> Base:
        """Raises BaseMissing, BaseRefused, TemplateRefused or TokenizerFailed."""
        with self._lock:
            if self._base is None:
                base = self._open_base(self.path, self.template)
                with suppress(ChatlabError):  # hashing gigabytes takes a while: now, not when something is drawn
                    _ = base.fingerprint
                self._base, self._stamp = base, _stamp(base)
            return self._base

    @property
    def engine(self) -> Engine:
        """Raises what `base` raises, and EngineError."""
        with self._lock:
            if self._closed:
                raise EngineError("This model was closed meanwhile.", "Ask again.")
            if self._engine is None:
                base = self.base
                try:
                    self._engine = self._open_engine(base)
                except ChatlabError as error:
                    self.failure = f"{error} {error.hint}".strip()
                    raise
                self.failure = ""
                if self.yielding:
                    self._engine.yield_cores(True)
            return self._engine

    @property
    def opened_base(self) -> Base | None:
        """The base, if it is open already. Never waits."""
        return self._base

    @property
    def opened_engine(self) -> Engine | None:
        """The engine, if it is open already. Never waits."""
        return self._engine

    @property
    def unchanged(self) -> bool:
        """Whether its files are still the ones that were opened."""
        try:
            return self._base is None or _stamp(self._base) == self._stamp
        except (OSError, BaseError):
            return False

    def close(self) -> None:
        """Release the weights. Whoever still computes with them fails with EngineError."""
        with self._lock:
            self._closed = True
            if self._base is not None:
                self._base.close()
            if self._engine is not None:
                self._engine.close()
                self._engine = None


def _stamp(base: Base) -> Stamp:
    """Changes when a file of the base does. Raises OSError or BaseError for one that is gone or another."""
    if base.gguf is not None:
        base.gguf.unchanged()
        return (base.gguf.stamp,)
    files = (*base.weights, base.folder / "config.json", base.folder / "tokenizer.json")
    found = (file.stat() for file in files)
    return tuple((status.st_ino, status.st_size, status.st_mtime_ns) for status in found)
