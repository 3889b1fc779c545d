"""Continuous batching: a token of each running reply is computed in one call, for little more than one alone."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from chatlab.engines.base import ReplyChunk, Sampling
from chatlab.engines.detokenize import Detokenizer
from chatlab.engines.llamacpp.slots import Slot
from chatlab.engines.sampling import Logits, Sampler
from chatlab.records import StopReason


@dataclass(slots=True)
class RunningSequence:
    """One reply under way, and the slot that it has."""

    number: int
    """The prompt's index."""
    slot: Slot
    logits: Logits
    """Logits of its next token."""
    position: int
    """Tokens read in its slot."""
    max_tokens: int
    sampler: Sampler
    detokenizer: Detokenizer
    tokens: int = 0
    last: int = 0
    """The token sampled last."""


class BatchGenerator:
    """`read` reads a prompt in a slot, `read_each` a token in each of several slots: (token, sequence, position)."""

    def __init__(
        self,
        read: Callable[[Sequence[int], Slot], Logits],
        read_each: Callable[[Sequence[tuple[int, int, int]]], Sequence[Logits]],
        decode: Callable[[list[int]], str],
        context: int,
    ) -> None:
        self._read, self._read_each = read, read_each
        self._decode = decode
        self._context = context

    def run(
        self,
        prompts: Sequence[Sequence[int]],
        sampling: Sampling,
        slots: Sequence[Slot],
        stop_ids: frozenset[int],
        sha256: str,
    ) -> Iterator[tuple[int, ReplyChunk]]:
        """Every prompt in turn, as soon as a slot is free; chunks with the index of their prompt."""
        waiting, free = deque(enumerate(prompts)), list(slots)
        running: list[RunningSequence] = []
        while waiting or running:
            while waiting and free:
                number, prompt = waiting.popleft()
                running.append(self._start(number, prompt, free.pop(), sampling))
            for one in list(running):
                text, stop = _step(one, stop_ids)
                if stop != "end":
                    yield one.number, ReplyChunk(text=text, tokens=one.tokens, sha256=sha256)
                if stop:
                    yield one.number, ReplyChunk(tokens=one.tokens, sha256=sha256, stop=stop)
                    running.remove(one)
                    free.append(one.slot)
            if running:
                found = self._read_each([(one.last, one.slot.sequence, one.position) for one in running])
                for one, logits in zip(running, found, strict=True):
                    one.logits = logits
                    one.position += 1

    def _start(self, number: int, prompt: Sequence[int], slot: Slot, sampling: Sampling) -> RunningSequence:
        most = min(sampling.max_tokens, self._context - len(prompt))
        logits = self._read(prompt, slot)
        return RunningSequence(number, slot, logits, len(prompt), most, Sampler(sampling), Detokenizer(self._decode))


def _step(one: RunningSequence, stop_ids: frozenset[int]) -> tuple[str, StopReason | None]:
    """Sample a token: its text, and why the reply ends with it, if it does."""
    one.last = one.sampler.sample(one.logits)
    if one.last in stop_ids:
        return "", "end"
    one.tokens += 1
    return one.detokenizer.add(one.last), "length" if one.tokens >= one.max_tokens else None
