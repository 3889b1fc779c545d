"""transformers and peft: any base that Chatlab can train, with its adapters, on this machine's processor."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from chatlab.engines.base import BLOCK, ReplyChunk, Sampling, Variant, check_prompt, one_by_one
from chatlab.engines.detokenize import Detokenizer, decoder
from chatlab.engines.threads import Threads, usual_cores
from chatlab.errors import EngineError
from chatlab.records import StopReason

if TYPE_CHECKING:
    from chatlab.engines.sampling import Logits
    from chatlab.engines.transformers.decode import DecodeSession
    from chatlab.engines.transformers.variant_cache import LoadedVariant, VariantCache
    from chatlab.models.base import Base


class TransformersEngine:
    """Streams replies of one base and any number of adapters, several at once, each with its own KV cache.

    Every variant is a model of its own that shares with the base what its adapter leaves alone. So there is nothing to
    switch, nothing that two replies could mix up, and the base's weights never change.
    """

    def __init__(self, base: Base, variants: VariantCache, threads: Threads) -> None:
        self._base = base
        self._decode = decoder(base)
        self._variants: VariantCache | None = variants
        self._threads = threads

    @classmethod
    def open(cls, base: Base, threads: int | None = None, folder: Path | None = None) -> TransformersEngine:
        """Imports torch and loads the weights. Raises BaseRefused.

        `folder` holds the weights of a base that is a GGUF, unpacked. `threads` None takes one core for a small base,
        which gains nothing from more, and otherwise all.
        """
        from chatlab.engines.transformers.network import open_network
        from chatlab.engines.transformers.variant_cache import VariantCache

        cores = Threads(threads or usual_cores(base.parameters))
        cores.claim()
        return cls(base, VariantCache(open_network(folder or base.folder, base.parameters), base.fingerprint), cores)

    @property
    def name(self) -> str:
        return "transformers"

    @property
    def context(self) -> int:
        return self._base.context

    def stream(
        self, prompt: Sequence[int], sampling: Sampling, variant: Variant, stop_ids: frozenset[int]
    ) -> Iterator[ReplyChunk]:
        """The variant is loaded by this call; tokens are sampled as the iterator is advanced."""
        check_prompt(prompt, self.context)
        return self._reply(list(prompt), sampling, self._load(variant), stop_ids)

    def stream_batch(
        self, prompts: Sequence[Sequence[int]], sampling: Sampling, variant: Variant, stop_ids: frozenset[int]
    ) -> Iterator[tuple[int, ReplyChunk]]:
        return one_by_one(self, prompts, sampling, variant, stop_ids)

    def load(self, variant: Variant) -> None:
        self._load(variant)

    def unload(self, folder: Path) -> None:
        if self._variants is not None:
            self._variants.unload(folder)

    def forget_prompts(self) -> None:
        if self._variants is not None:
            self._variants.forget_prompts()

    def yield_cores(self, on: bool) -> None:
        self._threads.yield_cores(on)

    def close(self) -> None:
        """Release the weights. Replies under way end with EngineError at their next token."""
        self._variants = None

    def _load(self, variant: Variant) -> LoadedVariant:
        self._threads.claim()
        return self._open_variants().get(variant)

    def _open_variants(self) -> VariantCache:
        if self._variants is None:
            raise EngineError("The engine is closed.", "Start Chatlab again.")
        return self._variants

    def _reply(
        self, prompt: Sequence[int], sampling: Sampling, loaded: LoadedVariant, stop_ids: frozenset[int]
    ) -> Iterator[ReplyChunk]:
        detokenizer, tokens = Detokenizer(self._decode), 0
        stop: StopReason = "length"
        most = min(sampling.max_tokens, self.context - len(prompt))
        with closing(self._sample(prompt, sampling, loaded)) as sampled:
            for token in islice(sampled, max(0, most)):
                if token in stop_ids:
                    stop = "end"
                    break
                tokens += 1
                yield ReplyChunk(text=detokenizer.add(token), tokens=tokens, sha256=loaded.sha256)
        yield ReplyChunk(tokens=tokens, sha256=loaded.sha256, stop=stop)

    def _sample(self, prompt: Sequence[int], sampling: Sampling, loaded: LoadedVariant) -> Generator[int, None, None]:
        """Token after token, without end."""
        from chatlab.engines.sampling import Sampler

        sampler = Sampler(sampling)
        session = loaded.model.start(prompt)
        with self._threads.reply():
            while session.position < len(prompt):
                logits = self._read(session, prompt[session.position : session.position + BLOCK])
            while True:
                yield (token := sampler.sample(logits))
                logits = self._read(session, [token])

    def _read(self, session: DecodeSession, ids: Sequence[int]) -> Logits:
        self._open_variants()
        self._threads.claim()
        logits: Logits = session.read(ids).float().numpy()
        return logits
