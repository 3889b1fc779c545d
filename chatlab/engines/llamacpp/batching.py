"""Replies of one voice that grow together: a token of each is computed in one go, for little more than one alone."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from chatlab.engines.base import Piece, Sampling
from chatlab.engines.detokenize import Detokenizer
from chatlab.engines.llamacpp.slots import Place
from chatlab.engines.sampling import Sampler, Scores
from chatlab.records import StopReason


@dataclass(slots=True)
class Lane:
    """One reply under way, and the place in the context that it has."""

    number: int
    place: Place
    scores: Scores
    """Of its next token."""
    position: int
    """Tokens read in its place."""
    room: int
    """Tokens that it may have."""
    dice: Sampler
    speech: Detokenizer
    tokens: int = 0
    last: int = 0
    """The token drawn last."""


class BatchGenerator:
    """`read` reads a prompt in a place, `read_each` a token in each of several places: (token, sequence, position)."""

    def __init__(
        self,
        read: Callable[[Sequence[int], Place], Scores],
        read_each: Callable[[Sequence[tuple[int, int, int]]], Sequence[Scores]],
        decode: Callable[[list[int]], str],
        context: int,
    ) -> None:
        self._read, self._read_each = read, read_each
        self._decode = decode
        self._context = context

    def sing(
        self,
        prompts: Sequence[Sequence[int]],
        sampling: Sampling,
        places: Sequence[Place],
        stop_ids: frozenset[int],
        sha256: str,
    ) -> Iterator[tuple[int, Piece]]:
        """Every prompt in turn, as soon as a place is free; pieces with the number of their prompt."""
        waiting, free = deque(enumerate(prompts)), list(places)
        lanes: list[Lane] = []
        while waiting or lanes:
            while waiting and free:
                number, prompt = waiting.popleft()
                lanes.append(self._begin(number, prompt, free.pop(), sampling))
            for lane in list(lanes):
                text, stop = _step(lane, stop_ids)
                if stop != "end":
                    yield lane.number, Piece(text=text, tokens=lane.tokens, sha256=sha256)
                if stop:
                    yield lane.number, Piece(text="", tokens=lane.tokens, sha256=sha256, stop=stop)
                    lanes.remove(lane)
                    free.append(lane.place)
            self._go_on(lanes)

    def _begin(self, number: int, prompt: Sequence[int], place: Place, sampling: Sampling) -> Lane:
        room = min(sampling.max_tokens, self._context - len(prompt))
        scores = self._read(prompt, place)
        return Lane(number, place, scores, len(prompt), room, Sampler(sampling), Detokenizer(self._decode))

    def _go_on(self, lanes: Sequence[Lane]) -> None:
        if not lanes:
            return
        found = self._read_each([(lane.last, lane.place.sequence, lane.position) for lane in lanes])
        for lane, scores in zip(lanes, found, strict=True):
            lane.scores = scores
            lane.position += 1


def _step(lane: Lane, stop_ids: frozenset[int]) -> tuple[str, StopReason | None]:
    """Draw a token: what it says, and why the reply ends with it, if it does."""
    lane.last = lane.dice.draw(lane.scores)
    if lane.last in stop_ids:
        return "", "end"
    lane.tokens += 1
    return lane.speech.add(lane.last), "length" if lane.tokens >= lane.room else None
