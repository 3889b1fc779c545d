"""llama.cpp: the fast engine, for bases and adapters that it computes as transformers does."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from chatlab.engines.base import BLOCK, ReplyChunk, Sampling, Variant, check_prompt
from chatlab.engines.detokenize import Detokenizer, decoder
from chatlab.engines.gguf_export.cached import Precision, kept
from chatlab.engines.llamacpp.adapter_cache import ActiveAdapter, AdapterCache
from chatlab.engines.llamacpp.batching import BatchGenerator
from chatlab.engines.llamacpp.runtime import Runtime
from chatlab.engines.llamacpp.slots import Slot, Slots
from chatlab.engines.sampling import Logits, Sampler
from chatlab.engines.threads import usual_cores
from chatlab.errors import EngineError
from chatlab.models.gguf.architectures import architecture, heads
from chatlab.records import StopReason

if TYPE_CHECKING:
    from chatlab.models.base import Base

Result = TypeVar("Result")

LONGEST = 8192
"""Tokens of prompt and reply, at most, whatever the model was built for: every slot of the context takes memory."""
MEMORY = 1 << 29
"""Bytes for keys and values; there are as many slots as fit, from two to eight."""

AT_ONCE = 4
"""Replies of a batch that are computed together, at most. Sixteen are hardly quicker: a token of a 4-bit model takes
two cores 11.5 ms among sixteen and 13.8 alone, and a chat beside them waits for all.
"""
BATCH_MEMORY = 1 << 27
"""Bytes for their keys and values."""
LOOK = 0.01
"""Seconds that a reply without a slot waits for one before others may go on."""


class LlamaCppEngine:
    """One context, a slot in it for each reply, and adapters switched between tokens.

    Cached keys and values belong to one adapter at one strength, and are never used for another.
    """

    def __init__(self, base: Base, runtime: Runtime, slots: int, threads: int, cache: Path) -> None:
        self._base = base
        self._decode = decoder(base)
        self._runtime: Runtime | None = runtime
        self._slots = Slots(slots)
        self._adapters = AdapterCache(base, runtime, cache)
        self._cores = threads
        self._yielding = False
        self._lock = threading.RLock()
        self._length = min(runtime.length, base.context)

    @classmethod
    def open(cls, base: Base, cache: Path, threads: int | None = None, precision: Precision = "f16") -> LlamaCppEngine:
        """Write the base as GGUF into `cache` the first time; an imported GGUF is run as it is.

        Raises EngineError where llama.cpp cannot take it, BaseRefused for an imported file that has changed.
        """
        if base.gguf is None:
            architecture(base.config)  # or nothing below means anything
        length = min(base.context, LONGEST)
        slots = max(2, min(8, MEMORY // (length * kv_bytes_per_token(base))))
        cores = threads or usual_cores(base.parameters)
        if base.gguf is not None:
            brought = Runtime(base.gguf.unchanged(), length, slots, cores, BLOCK, brought=True)
            return cls(base, brought, slots, cores, cache)
        from chatlab.engines.gguf_export.files import write_base  # brings torch, which takes seconds

        file = kept(cache / f"{base.fingerprint[:32]}-{precision}.gguf", lambda to: write_base(base, to, precision))
        return cls(base, Runtime(file, length, slots, cores, BLOCK), slots, cores, cache)

    @property
    def name(self) -> str:
        return "llama.cpp"

    @property
    def context(self) -> int:
        return self._length

    def stream(
        self, prompt: Sequence[int], sampling: Sampling, variant: Variant, stop_ids: frozenset[int]
    ) -> Iterator[ReplyChunk]:
        """The adapter is loaded by this call; tokens are sampled as the iterator is advanced."""
        check_prompt(prompt, self.context)
        with self._lock:
            self._open_runtime()
            adapter = self._adapters.find(variant)
        return self._reply(list(prompt), sampling, adapter, stop_ids)

    def stream_batch(
        self, prompts: Sequence[Sequence[int]], sampling: Sampling, variant: Variant, stop_ids: frozenset[int]
    ) -> Iterator[tuple[int, ReplyChunk]]:
        for prompt in prompts:
            check_prompt(prompt, self.context)
        with self._lock:
            self._open_runtime()
            adapter = self._adapters.find(variant)
        return self._replies(prompts, sampling, adapter, stop_ids)

    def load(self, variant: Variant) -> None:
        with self._lock:
            self._open_runtime()
            self._adapters.find(variant)

    def unload(self, folder: Path) -> None:
        with self._lock:
            self._adapters.unload(folder)

    def forget_prompts(self) -> None:
        with self._lock:
            idle = self._slots.clear()
            if self._runtime is not None:
                self._runtime.drop([slot.sequence for slot in idle], len(idle) == len(self._slots))

    def yield_cores(self, on: bool) -> None:
        self._yielding = on

    def close(self) -> None:
        """Release the weights. Replies under way end with EngineError at their next token."""
        with self._lock:
            if self._runtime is not None:
                self._runtime.close()
                self._runtime = None

    def _reply(
        self, prompt: list[int], sampling: Sampling, adapter: ActiveAdapter, stop_ids: frozenset[int]
    ) -> Iterator[ReplyChunk]:
        detokenizer, tokens = Detokenizer(self._decode), 0
        stop: StopReason = "length"
        most = min(sampling.max_tokens, self.context - len(prompt))
        with closing(self._sample(prompt, sampling, adapter)) as sampled:
            for token in sampled:
                if token in stop_ids:
                    stop = "end"
                    break
                tokens += token is not None
                yield ReplyChunk(
                    text="" if token is None else detokenizer.add(token), tokens=tokens, sha256=adapter.sha256
                )
                if tokens >= most:
                    break
        yield ReplyChunk(tokens=tokens, sha256=adapter.sha256, stop=stop)

    def _sample(
        self, prompt: list[int], sampling: Sampling, adapter: ActiveAdapter
    ) -> Generator[int | None, None, None]:
        """Token after token, without end. None while it waits for a slot and for each block of the prompt, so that a
        reply can be closed there, and others that the same thread advances can go on.
        """
        sampler = Sampler(sampling)
        while (taken := self._slots.take(adapter, prompt, LOOK)) is None:
            yield None
        slot, position = taken
        try:
            while position < len(prompt):
                block = prompt[position : position + BLOCK]
                logits = self._read(block, slot, position, adapter)
                position += len(block)
                if len(block) == BLOCK:
                    slot.ids = prompt[:position]
                yield None
            while True:
                yield (token := sampler.sample(logits))
                logits = self._read([token], slot, position, adapter)
                position += 1
        finally:
            self._slots.give_back(slot)

    def _replies(
        self, prompts: Sequence[Sequence[int]], sampling: Sampling, adapter: ActiveAdapter, stop_ids: frozenset[int]
    ) -> Iterator[tuple[int, ReplyChunk]]:
        """In a context of their own, so that neither whoever chats nor another batch waits for a slot."""
        longest = max((len(prompt) for prompt in prompts), default=0)
        length = min(self.context, longest + sampling.max_tokens)
        fitting = BATCH_MEMORY // (length * kv_bytes_per_token(self._base))
        at_once = max(1, min(len(prompts), AT_ONCE, fitting))
        with self._lock:
            context = self._open_runtime().beside(length, at_once + 1)

        def compute(read: Callable[[tuple[int, float] | None], Result]) -> Result:
            with self._lock:
                self._open_runtime()
                context.threads(1 if self._yielding else self._cores)
                return read(self._adapters.activate(adapter))

        generator = BatchGenerator(context, compute, self._decode, length)
        try:
            yield from generator.run(prompts, sampling, at_once, stop_ids, adapter.sha256)
        finally:
            with self._lock:
                context.close()

    def _read(self, ids: Sequence[int], slot: Slot, position: int, adapter: ActiveAdapter) -> Logits:
        with self._lock:
            return self._ready().read(ids, slot.sequence, position, self._adapters.activate(adapter))

    def _ready(self) -> Runtime:
        runtime = self._open_runtime()
        runtime.threads(1 if self._yielding else self._cores)
        return runtime

    def _open_runtime(self) -> Runtime:
        if self._runtime is None:
            raise EngineError("The engine is closed.", "Start Chatlab again.")
        return self._runtime


def kv_bytes_per_token(base: Base) -> int:
    """Bytes that keys and values of one token take, 16 bits a number."""
    _, few, width = heads(base.config)
    return 2 * 2 * few * width * int(base.config["num_hidden_layers"])
