"""llama.cpp for whatever it takes, transformers for the rest."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from chatlab.engines.base import Engine, ReplyChunk, Sampling, Variant
from chatlab.engines.llamacpp import package
from chatlab.engines.transformers.engine import TransformersEngine
from chatlab.errors import EngineUnable
from chatlab.models.unpacked import UnpackedBases
from chatlab.settings import EngineName

if TYPE_CHECKING:
    from chatlab.models.base import Base

log = logging.getLogger("chatlab.engines")


def open_engine(base: Base, cache: Path, threads: int | None = None, wanted: EngineName = "") -> Engine:
    """The fastest engine for a base, or the one that is `wanted`. `cache` keeps what is made of the base.

    Raises EngineUnable where the wanted one, or every one that is installed, cannot run the base.
    """
    if wanted:
        return ENGINES[wanted](base, cache, threads)
    if not package.version():
        return _transformers(base, cache, threads)
    try:
        fast = _llamacpp(base, cache, threads)
    except EngineUnable as unable:
        log.info("%s %s", unable, unable.hint)
        return _transformers(base, cache, threads)
    return fast if base.gguf is not None else FallbackEngine(fast, lambda: _transformers(base, cache, threads))


def _llamacpp(base: Base, cache: Path, threads: int | None) -> Engine:
    from chatlab.engines.llamacpp.engine import LlamaCppEngine

    return LlamaCppEngine.open(base, cache / "gguf", threads)


def _transformers(base: Base, cache: Path, threads: int | None) -> Engine:
    """A GGUF is unpacked first, as it is for training: seconds a billion parameters, once."""
    return TransformersEngine.open(base, threads, UnpackedBases(cache).open(base).folder)


Opener = Callable[["Base", Path, int | None], Engine]
"""A base, the cache for files that are made of it, and the number of threads. Raises EngineUnable."""

ENGINES: dict[EngineName, Opener] = {"llama.cpp": _llamacpp, "transformers": _transformers}
"""By the name that CHATLAB_ENGINE has for each. A new engine is added here, and `tests/engines` tries it."""


class FallbackEngine:
    """Asks `fast` first; adapters that it cannot run are given to the other engine, which is opened only then."""

    def __init__(self, fast: Engine, open_other: Callable[[], Engine]) -> None:
        self._fast = fast
        self._open_other = open_other
        self._other: Engine | None = None
        self._yielding = False

    @property
    def name(self) -> str:
        return self._fast.name

    @property
    def context(self) -> int:
        return self._fast.context

    def stream(
        self, prompt: Sequence[int], sampling: Sampling, variant: Variant, stop_ids: frozenset[int]
    ) -> Iterator[ReplyChunk]:
        try:
            return self._fast.stream(prompt, sampling, variant, stop_ids)
        except EngineUnable:
            return self._slow().stream(prompt, sampling, variant, stop_ids)

    def stream_batch(
        self, prompts: Sequence[Sequence[int]], sampling: Sampling, variant: Variant, stop_ids: frozenset[int]
    ) -> Iterator[tuple[int, ReplyChunk]]:
        try:
            return self._fast.stream_batch(prompts, sampling, variant, stop_ids)
        except EngineUnable:
            return self._slow().stream_batch(prompts, sampling, variant, stop_ids)

    def load(self, variant: Variant) -> None:
        try:
            self._fast.load(variant)
        except EngineUnable:
            self._slow().load(variant)

    def unload(self, folder: Path) -> None:
        for engine in self._open():
            engine.unload(folder)

    def forget_prompts(self) -> None:
        for engine in self._open():
            engine.forget_prompts()

    def yield_cores(self, on: bool) -> None:
        self._yielding = on
        for engine in self._open():
            engine.yield_cores(on)

    def close(self) -> None:
        for engine in self._open():
            engine.close()

    def _open(self) -> list[Engine]:
        return [self._fast, *([self._other] if self._other else [])]

    def _slow(self) -> Engine:
        if self._other is None:
            self._other = self._open_other()
            self._other.yield_cores(self._yielding)
        return self._other
