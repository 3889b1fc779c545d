"""Which sequence of the context a reply uses, and what it holds already."""

from __future__ import annotations

import threading
from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from chatlab.engines.common_prefix import shared


@dataclass(slots=True)
class Place:
    """One sequence of keys and values. They belong to the voice that computed them, and to no other."""

    sequence: int
    voice: Hashable = None
    ids: list[int] = field(default_factory=list)
    """Whole blocks of the prompt that were read here."""
    busy: bool = False
    used: int = 0
    passing: bool = False
    """What is read here is not remembered after the reply under way."""


class Slots:
    """Hands out sequences, one to a reply, the one that holds most of its prompt first and the oldest otherwise."""

    def __init__(self, count: int) -> None:
        self._places = [Place(number) for number in range(count)]
        self._free = threading.Condition()
        self._clock = 0

    def __len__(self) -> int:
        return len(self._places)

    @contextmanager
    def taken(self, voice: Hashable, prompt: Sequence[int]) -> Iterator[tuple[Place, int]]:
        """A place for the time of a reply, and how many tokens of the prompt it holds. Waits where all are in use."""
        with self._free:
            self._free.wait_for(lambda: any(not place.busy for place in self._places))
            place = max((p for p in self._places if not p.busy), key=lambda p: (known(p, voice, prompt), -p.used))
            held = known(place, voice, prompt)
            self._clock += 1
            place.busy, place.voice, place.used, place.ids = True, voice, self._clock, place.ids[:held]
        try:
            yield place, held
        finally:
            with self._free:
                place.busy = False
                if place.passing:
                    _forget(place)
                self._free.notify()

    def forget(self) -> list[Place]:
        """Remember no prompt: those places that are idle hold nothing from now on, the others after their reply."""
        with self._free:
            for place in self._places:
                if place.busy:
                    place.passing = True
                else:
                    _forget(place)
            return [place for place in self._places if not place.busy]


def _forget(place: Place) -> None:
    place.voice, place.ids, place.passing = None, [], False


def known(place: Place, voice: Hashable, prompt: Sequence[int]) -> int:
    """Tokens of the prompt that a place holds for this voice."""
    return shared(prompt, place.ids) if place.voice == voice else 0
