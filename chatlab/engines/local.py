"""transformers and peft: any base that Chatlab can train, with its adapters, on this machine's processor."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from chatlab.engines.base import Piece, Sampling, Voice, check_prompt, one_by_one
from chatlab.engines.common_prefix import BLOCK
from chatlab.engines.detokenize import Detokenizer, decoder
from chatlab.engines.threads import Threads, usual_cores
from chatlab.errors import EngineError
from chatlab.records import StopReason

if TYPE_CHECKING:
    from chatlab.engines.adapter_cache import AdapterCache, LoadedAdapter
    from chatlab.engines.reading import Reading
    from chatlab.engines.sampling import Scores
    from chatlab.models.base import Base

END: StopReason = "end"
LENGTH: StopReason = "length"


class LocalEngine:
    """Streams replies of one base and any number of adapters, several at once, each on its own keys and values.

    Every voice is a network of its own that shares with the base what its adapter leaves alone. So there is nothing to
    switch, nothing that two replies could mix up, and the base's numbers never change.
    """

    def __init__(self, base: Base, residents: AdapterCache, threads: Threads) -> None:
        self._base = base
        self._text = decoder(base)
        self._residents: AdapterCache | None = residents
        self._threads = threads

    @classmethod
    def open(cls, base: Base, threads: int | None = None) -> LocalEngine:
        """Imports torch and loads the weights. Raises BaseRefused.

        `threads` None takes one core for a small base, which gains nothing from more, and otherwise all.
        """
        from chatlab.engines.adapter_cache import AdapterCache
        from chatlab.engines.network import open_network

        cores = Threads(threads or usual_cores(base.parameters))
        cores.claim()
        return cls(base, AdapterCache(open_network(base.folder, base.parameters), base.fingerprint), cores)

    @property
    def name(self) -> str:
        return "transformers"

    @property
    def context(self) -> int:
        return self._base.context

    def stream(
        self, prompt: Sequence[int], sampling: Sampling, voice: Voice, stop_ids: frozenset[int]
    ) -> Iterator[Piece]:
        """The voice is settled by this call, the rest is done as the iterator is asked."""
        check_prompt(prompt, self.context)
        return self._reply(list(prompt), sampling, self._resident(voice), stop_ids)

    def together(
        self, prompts: Sequence[Sequence[int]], sampling: Sampling, voice: Voice, stop_ids: frozenset[int]
    ) -> Iterator[tuple[int, Piece]]:
        return one_by_one(self, prompts, sampling, voice, stop_ids)

    def prepare(self, voice: Voice) -> None:
        self._resident(voice)

    def forget(self, folder: Path) -> None:
        if self._residents is not None:
            self._residents.forget(folder)

    def forget_prompts(self) -> None:
        if self._residents is not None:
            self._residents.forget_prompts()

    def ease(self, on: bool) -> None:
        self._threads.ease(on)

    def close(self) -> None:
        """Lets the weights go. Replies under way end with EngineError at their next token."""
        self._residents = None

    def _resident(self, voice: Voice) -> LoadedAdapter:
        self._threads.claim()
        return self._open_residents().get(voice)

    def _open_residents(self) -> AdapterCache:
        if self._residents is None:
            raise EngineError("The engine is closed.", "Start Chatlab again.")
        return self._residents

    def _reply(
        self, prompt: Sequence[int], sampling: Sampling, resident: LoadedAdapter, stop_ids: frozenset[int]
    ) -> Iterator[Piece]:
        speech, tokens, stop = Detokenizer(self._text), 0, LENGTH
        room = min(sampling.max_tokens, self.context - len(prompt))
        with closing(self._draw(prompt, sampling, resident)) as drawn:
            for token in islice(drawn, max(0, room)):
                if token in stop_ids:
                    stop = END
                    break
                tokens += 1
                yield Piece(text=speech.add(token), tokens=tokens, sha256=resident.sha256)
        yield Piece(text="", tokens=tokens, sha256=resident.sha256, stop=stop)

    def _draw(self, prompt: Sequence[int], sampling: Sampling, resident: LoadedAdapter) -> Generator[int, None, None]:
        """Token after token, without end."""
        from chatlab.engines.sampling import Sampler

        dice = Sampler(sampling)
        reading = resident.network.begin(prompt, min(self.context, len(prompt) + sampling.max_tokens))
        with self._threads.reply():
            while reading.position < len(prompt):
                scores = self._read(reading, prompt[reading.position : reading.position + BLOCK])
            while True:
                yield (token := dice.draw(scores))
                scores = self._read(reading, [token])

    def _read(self, reading: Reading, ids: Sequence[int]) -> Scores:
        self._open_residents()
        self._threads.claim()
        scores: Scores = reading.read(ids).float().numpy()
        return scores
