"""Continuous batching: a token of each running reply is computed in one call, for little more than one alone."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol, TypeVar

from chatlab.engines.base import BLOCK, ReplyChunk, Sampling
from chatlab.engines.detokenize import Detokenizer
from chatlab.engines.llamacpp.runtime import Context
from chatlab.engines.sampling import Logits, Sampler
from chatlab.records import StopReason

Result = TypeVar("Result")


class Compute(Protocol):
    """Calls a function with the adapter to compute with, while nobody else computes."""

    def __call__(self, function: Callable[[tuple[int, float] | None], Result], /) -> Result: ...


@dataclass(slots=True)
class RunningSequence:
    """One reply under way, and the sequence that it is kept in."""

    number: int
    """The prompt's index."""
    sequence: int
    logits: Logits
    """Logits of its next token."""
    position: int
    """Tokens read in its sequence."""
    max_tokens: int
    sampler: Sampler
    detokenizer: Detokenizer
    tokens: int = 0
    last: int = 0
    """The token sampled last."""


class BatchGenerator:
    """What all prompts begin with is read once, in the first sequence of the context, and copied to the others."""

    def __init__(self, context: Context, compute: Compute, decode: Callable[[list[int]], str], length: int) -> None:
        """`length` tokens have room in a sequence."""
        self._context, self._compute = context, compute
        self._decode = decode
        self._length = length

    def run(
        self,
        prompts: Sequence[Sequence[int]],
        sampling: Sampling,
        at_once: int,
        stop_ids: frozenset[int],
        sha256: str,
    ) -> Iterator[tuple[int, ReplyChunk]]:
        """Every prompt in turn, as soon as a sequence is free; chunks with the index of their prompt."""
        waiting, free = deque(enumerate(prompts)), list(range(1, 1 + at_once))
        shared = self._read_shared(prompts)
        running: list[RunningSequence] = []
        while waiting or running:
            begun = [(*waiting.popleft(), free.pop()) for _ in range(min(len(waiting), len(free)))]
            running += self._started(begun, shared, sampling)
            for one in list(running):
                text, stop = _step(one, stop_ids)
                if stop != "end":
                    yield one.number, ReplyChunk(text=text, tokens=one.tokens, sha256=sha256)
                if stop:
                    yield one.number, ReplyChunk(tokens=one.tokens, sha256=sha256, stop=stop)
                    running.remove(one)
                    free.append(one.sequence)
            if running:
                ends = [(one.last, one.sequence, one.position) for one in running]
                found = self._compute(partial(self._context.read_each, ends))
                for one, logits in zip(running, found, strict=True):
                    one.logits = logits
                    one.position += 1

    def _read_shared(self, prompts: Sequence[Sequence[int]]) -> int:
        """Read what all prompts begin with, but for the last token of each; how many tokens that is."""
        if len(prompts) < 2:
            return 0
        first, *others = prompts
        shared = min(len(prompt) - 1 for prompt in prompts)
        for other in others:
            same = zip(first[:shared], other, strict=False)
            shared = next((n for n, (one, another) in enumerate(same) if one != another), shared)
        if shared:
            self._read([(first[:shared], 0, 0)])
        return shared

    def _started(
        self, begun: Sequence[tuple[int, Sequence[int], int]], shared: int, sampling: Sampling
    ) -> Iterator[RunningSequence]:
        """Replies to (number, prompt, sequence); what is left of their prompts is read together."""
        for _, _, sequence in begun if shared else ():
            self._compute(partial(self._copy, sequence))
        logits = self._read([(prompt[shared:], sequence, shared) for _, prompt, sequence in begun])
        for (number, prompt, sequence), found in zip(begun, logits, strict=True):
            most = min(sampling.max_tokens, self._length - len(prompt))
            sampler, detokenizer = Sampler(sampling), Detokenizer(self._decode)
            yield RunningSequence(number, sequence, found, len(prompt), most, sampler, detokenizer)

    def _copy(self, sequence: int, _: object) -> None:
        """Let a sequence hold what all prompts begin with."""
        self._context.copy(0, sequence)

    def _read(self, texts: Sequence[tuple[Sequence[int], int, int]]) -> list[Logits]:
        """Each (ids, sequence, position) after what its sequence holds; logits (V,) after the last token of each.

        A block at a time, so that nobody waits for all of them.
        """
        tokens = [
            (id, sequence, position + n, n == len(ids) - 1)
            for ids, sequence, position in texts
            for n, id in enumerate(ids)
        ]
        found: list[Logits] = []
        for start in range(0, len(tokens), BLOCK):
            block = tokens[start : start + BLOCK]
            starts = {sequence: position for _, sequence, position, _ in reversed(block)}
            found += self._compute(partial(self._context.decode, block, [*starts.items()]))
        return found


def _step(one: RunningSequence, stop_ids: frozenset[int]) -> tuple[str, StopReason | None]:
    """Sample a token: its text, and why the reply ends with it, if it does."""
    one.last = one.sampler.sample(one.logits)
    if one.last in stop_ids:
        return "", "end"
    one.tokens += 1
    return one.detokenizer.add(one.last), "length" if one.tokens >= one.max_tokens else None
