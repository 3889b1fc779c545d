"""llama.cpp: the fast engine, for bases and adapters that it computes as transformers does."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING

from chatlab.engines.base import Piece, Sampling, Voice, check_prompt
from chatlab.engines.common_prefix import BLOCK
from chatlab.engines.detokenize import Detokenizer, decoder
from chatlab.engines.gguf_export.files import Precision, kept, write_base
from chatlab.engines.llamacpp.adapter_cache import Wardrobe, Worn
from chatlab.engines.llamacpp.batching import BatchGenerator
from chatlab.engines.llamacpp.runtime import Runtime
from chatlab.engines.llamacpp.slots import Place, Slots
from chatlab.engines.sampling import Sampler, Scores
from chatlab.engines.threads import usual_cores
from chatlab.errors import EngineError
from chatlab.models.gguf.architectures import family, heads
from chatlab.records import StopReason

if TYPE_CHECKING:
    from chatlab.models.base import Base

LONGEST = 8192
"""Tokens of prompt and reply, at most, whatever the model was built for: every place in the context takes memory."""
MEMORY = 1 << 29
"""Bytes for keys and values; there are as many places as fit, from two to eight."""


class LlamaEngine:
    """One context, a place in it for each reply, and adapters put on and off between tokens.

    What was read belongs to one adapter at one strength, and is never used for another.
    """

    def __init__(self, base: Base, runtime: Runtime, places: int, threads: int, cache: Path) -> None:
        self._base = base
        self._text = decoder(base)
        self._runtime: Runtime | None = runtime
        self._places = Slots(places)
        self._wardrobe = Wardrobe(base, runtime, cache)
        self._cores = threads
        self._eased = False
        self._lock = threading.RLock()
        self._crowd = threading.Lock()
        self._length = min(runtime.length, base.context)

    @classmethod
    def open(cls, base: Base, cache: Path, threads: int | None = None, precision: Precision = "f16") -> LlamaEngine:
        """Writes the base as GGUF into `cache` the first time; one that was brought so is run as it is.

        Raises EngineError where llama.cpp cannot take it, BaseRefused for a brought file that has changed.
        """
        if base.gguf is None:
            family(base.config)  # or nothing below means anything
        length = min(base.context, LONGEST)
        places = max(2, min(8, MEMORY // (length * cell(base))))
        cores = threads or usual_cores(base.parameters)
        if base.gguf is not None:
            brought = Runtime(base.gguf.whole(), length, places, cores, BLOCK, brought=True)
            return cls(base, brought, places, cores, cache)
        file = kept(cache / f"{base.fingerprint[:32]}-{precision}.gguf", lambda to: write_base(base, to, precision))
        return cls(base, Runtime(file, length, places, cores, BLOCK), places, cores, cache)

    @property
    def name(self) -> str:
        return "llama.cpp"

    @property
    def context(self) -> int:
        return self._length

    def stream(
        self, prompt: Sequence[int], sampling: Sampling, voice: Voice, stop_ids: frozenset[int]
    ) -> Iterator[Piece]:
        """The voice is settled by this call, the rest is done as the iterator is asked."""
        check_prompt(prompt, self.context)
        with self._lock:
            self._open_runtime()
            worn = self._wardrobe.find(voice)
        return self._reply(list(prompt), sampling, worn, stop_ids)

    def together(
        self, prompts: Sequence[Sequence[int]], sampling: Sampling, voice: Voice, stop_ids: frozenset[int]
    ) -> Iterator[tuple[int, Piece]]:
        for prompt in prompts:
            check_prompt(prompt, self.context)
        with self._lock:
            self._open_runtime()
            worn = self._wardrobe.find(voice)
        return self._replies(prompts, sampling, worn, stop_ids)

    def prepare(self, voice: Voice) -> None:
        with self._lock:
            self._open_runtime()
            self._wardrobe.find(voice)

    def forget(self, folder: Path) -> None:
        with self._lock:
            self._wardrobe.forget(folder)

    def forget_prompts(self) -> None:
        with self._lock:
            idle = self._places.forget()
            if self._runtime is not None:
                self._runtime.drop([place.sequence for place in idle], len(idle) == len(self._places))

    def ease(self, on: bool) -> None:
        self._eased = on

    def close(self) -> None:
        """Lets the weights go. Replies under way end with EngineError at their next token."""
        with self._lock:
            if self._runtime is not None:
                self._runtime.close()
                self._runtime = None

    def _reply(self, prompt: list[int], sampling: Sampling, worn: Worn, stop_ids: frozenset[int]) -> Iterator[Piece]:
        speech, tokens = Detokenizer(self._text), 0
        stop: StopReason = "length"
        room = min(sampling.max_tokens, self.context - len(prompt))
        with closing(self._draw(prompt, sampling, worn)) as drawn:
            for token in drawn:
                if token in stop_ids:
                    stop = "end"
                    break
                tokens += token is not None
                yield Piece(text="" if token is None else speech.add(token), tokens=tokens, sha256=worn.sha256)
                if tokens >= room:
                    break
        yield Piece(text="", tokens=tokens, sha256=worn.sha256, stop=stop)

    def _draw(self, prompt: list[int], sampling: Sampling, worn: Worn) -> Generator[int | None, None, None]:
        """Token after token, without end; None for each block of the prompt, so that a reply can be closed there."""
        dice = Sampler(sampling)
        with self._places.taken(worn, prompt) as (place, position):
            while position < len(prompt):
                block = prompt[position : position + BLOCK]
                scores = self._read(block, place, position, worn)
                position += len(block)
                if len(block) == BLOCK:
                    place.ids = prompt[:position]
                yield None
            while True:
                yield (token := dice.draw(scores))
                scores = self._read([token], place, position, worn)
                position += 1

    def _replies(
        self, prompts: Sequence[Sequence[int]], sampling: Sampling, worn: Worn, stop_ids: frozenset[int]
    ) -> Iterator[tuple[int, Piece]]:
        """In half of the places and one crowd at a time, so that whoever chats finds a place free."""

        def read(prompt: Sequence[int], place: Place) -> Scores:
            for start in range(0, len(prompt), BLOCK):
                scores = self._read(prompt[start : start + BLOCK], place, start, worn)
            return scores

        chorus = BatchGenerator(read, lambda ends: self._read_each(ends, worn), self._text, self.context)
        with self._crowd, ExitStack() as held:
            most = min(len(prompts), max(1, len(self._places) // 2))
            places = [held.enter_context(self._places.taken(worn, ()))[0] for _ in range(most)]
            yield from chorus.sing(prompts, sampling, places, stop_ids, worn.sha256)

    def _read(self, ids: Sequence[int], place: Place, position: int, worn: Worn) -> Scores:
        with self._lock:
            return self._ready().read(ids, place.sequence, position, self._wardrobe.wear(worn))

    def _read_each(self, ends: Sequence[tuple[int, int, int]], worn: Worn) -> list[Scores]:
        with self._lock:
            return self._ready().read_each(ends, self._wardrobe.wear(worn))

    def _ready(self) -> Runtime:
        runtime = self._open_runtime()
        runtime.threads(1 if self._eased else self._cores)
        return runtime

    def _open_runtime(self) -> Runtime:
        if self._runtime is None:
            raise EngineError("The engine is closed.", "Start Chatlab again.")
        return self._runtime


def cell(base: Base) -> int:
    """Bytes that keys and values of one token take, 16 bits a number."""
    _, few, width = heads(base.config)
    return 2 * 2 * few * width * int(base.config["num_hidden_layers"])
