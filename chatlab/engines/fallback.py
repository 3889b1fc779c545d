"""llama.cpp for whatever it takes, transformers for the rest."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from chatlab.engines.base import Engine, Piece, Sampling, Voice
from chatlab.engines.local import LocalEngine
from chatlab.errors import EngineUnable

if TYPE_CHECKING:
    from chatlab.models.base import Base

log = logging.getLogger("chatlab.engines")


def open_engine(base: Base, cache: Path, threads: int | None = None, wanted: str = "") -> Engine:
    """The fastest engine for a base, or the one that is `wanted` ("llama.cpp" or "transformers").

    Raises EngineUnable if llama.cpp is wanted and cannot run the base, or transformers for one that is a GGUF.
    """
    if base.gguf is not None:
        return _brought(base, cache, threads, wanted)
    if wanted == "transformers" or importlib.util.find_spec("llama_cpp") is None:
        return LocalEngine.open(base, threads)
    from chatlab.engines.llamacpp.engine import LlamaEngine

    try:
        fast = LlamaEngine.open(base, cache, threads)
    except EngineUnable as unable:
        if wanted:
            raise
        log.info("%s %s", unable, unable.hint)
        return LocalEngine.open(base, threads)
    return FallbackEngine(fast, lambda: LocalEngine.open(base, threads))


def _brought(base: Base, cache: Path, threads: int | None, wanted: str) -> Engine:
    """A GGUF has one engine that runs it."""
    from chatlab.engines.llamacpp.engine import LlamaEngine

    if wanted == "transformers":
        raise EngineUnable(f"transformers does not run {base.name}, which is a GGUF.", "Take CHATLAB_ENGINE away.")
    return LlamaEngine.open(base, cache, threads)


class FallbackEngine:
    """Asks `fast` first; voices that it is unable to speak with are given to the other, which is opened only then."""

    def __init__(self, fast: Engine, open_other: Callable[[], Engine]) -> None:
        self._fast = fast
        self._open_other = open_other
        self._other: Engine | None = None
        self._eased = False

    @property
    def name(self) -> str:
        return self._fast.name

    @property
    def context(self) -> int:
        return self._fast.context

    def stream(
        self, prompt: Sequence[int], sampling: Sampling, voice: Voice, stop_ids: frozenset[int]
    ) -> Iterator[Piece]:
        try:
            return self._fast.stream(prompt, sampling, voice, stop_ids)
        except EngineUnable:
            return self._slow().stream(prompt, sampling, voice, stop_ids)

    def together(
        self, prompts: Sequence[Sequence[int]], sampling: Sampling, voice: Voice, stop_ids: frozenset[int]
    ) -> Iterator[tuple[int, Piece]]:
        try:
            return self._fast.together(prompts, sampling, voice, stop_ids)
        except EngineUnable:
            return self._slow().together(prompts, sampling, voice, stop_ids)

    def prepare(self, voice: Voice) -> None:
        try:
            self._fast.prepare(voice)
        except EngineUnable:
            self._slow().prepare(voice)

    def forget(self, folder: Path) -> None:
        for engine in self._open():
            engine.forget(folder)

    def forget_prompts(self) -> None:
        for engine in self._open():
            engine.forget_prompts()

    def ease(self, on: bool) -> None:
        self._eased = on
        for engine in self._open():
            engine.ease(on)

    def close(self) -> None:
        for engine in self._open():
            engine.close()

    def _open(self) -> list[Engine]:
        return [self._fast, *([self._other] if self._other else [])]

    def _slow(self) -> Engine:
        if self._other is None:
            self._other = self._open_other()
            self._other.ease(self._eased)
        return self._other
