"""What a rendering may cost. An untrusted template must neither compute without end nor fill the memory.

No single operation may be large, and the clock is read before every one: together that bounds the whole. A value is
small before it is worked on, so what an operation costs is known before it begins.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, KeysView, Mapping, ValuesView
from typing import Any

from jinja2.exceptions import SecurityError

ROOM = 4_000_000
"""Characters that one rendering may make, all in all."""
LARGEST = 1_000_000
"""Characters of one value, what it holds included."""
ELEMENT = 8
"""What an element of a list, or a key or a value of a mapping, costs beside its own text, in characters."""
TICK = 20
"""What a turn of a loop costs, in characters."""
SECONDS = 0.5
"""Processor time of one rendering. Real templates take a hundredth of it."""
LARGEST_NUMBER = 2**64
PRODUCT = 20_000_000
"""Steps of one operation whose cost is the product of two sizes, or of a size and the depth of a sort."""
OFTEN = 16
"""Operations between two looks at the clock."""
WALKED = 2_000
"""Elements of a value between two looks at the clock."""


class Meter:
    """Spent by everything that loops or makes a value. Raises SecurityError once a rendering asks too much."""

    def __init__(self) -> None:
        self._left = ROOM
        self._until = time.thread_time() + SECONDS
        self._operations = 0

    def spend(self, cost: int) -> None:
        """Pay for a value of so many characters; and look at the clock now and then."""
        self._left -= cost
        if self._left < 0:
            raise SecurityError(f"it makes more than {ROOM:,} characters or loops too long")
        self._operations += 1
        if cost > WALKED or self._operations % OFTEN == 0:
            self.check_time()

    def check_time(self) -> None:
        if time.thread_time() > self._until:
            raise SecurityError(f"it computes for more than {SECONDS:g} seconds")

    def tick(self, cost: int) -> str:
        """Pay at the start of every turn of a loop and every call of a macro. Writes nothing."""
        self.spend(TICK + cost)
        return ""

    def weigh(self, value: Any) -> Any:
        """Spend what a value would be as text, shared parts as often as they would be written."""
        self.spend(self.size(value))
        return value

    def size(self, value: Any) -> int:
        """Characters of a value and all that it holds. Raises SecurityError for one that is too large to work on."""
        if isinstance(value, str):
            return self.fits(len(value)) + 1
        if not isinstance(value, _CONTAINERS):
            check_number(value)
            return 1
        size, walked, waiting = 0, 0, [value]
        while waiting:
            one = waiting.pop()
            walked += 1
            if walked % WALKED == 0:
                self.check_time()
            if isinstance(one, str):
                size += len(one) + 1
            elif isinstance(one, Mapping):
                size += 1 + 2 * ELEMENT * len(one)
                waiting += [*one.keys(), *one.values()]
            elif isinstance(one, _CONTAINERS):
                size += 1 + ELEMENT * len(one)
                waiting += one
            else:
                check_number(one)
                size += 1
            if size > LARGEST:
                self.fits(size)
        return size

    def fits(self, size: int) -> int:
        """The size of a value that is about to be made or worked on, if that is not too large."""
        if size > LARGEST:
            raise SecurityError(f"it makes a value of more than {LARGEST:,} characters")
        return size

    def multiply(self, first: int, second: int) -> None:
        """Before an operation that takes so many steps so many times."""
        if first * second > PRODUCT:
            raise SecurityError("it compares beyond reason")
        self.check_time()

    def taken(self, values: Iterable[Any]) -> Iterator[Any]:
        """The same values, each paid for as it is taken: before a list of them is made."""
        for value in values:
            self.spend(self.size(value) + ELEMENT)
            yield value


_CONTAINERS = (list, tuple, set, frozenset, Mapping, KeysView, ValuesView)


def check_number(value: Any) -> None:
    """Raises SecurityError for a whole number on which arithmetic could take long."""
    if isinstance(value, int) and not -LARGEST_NUMBER <= value <= LARGEST_NUMBER:
        raise SecurityError("it computes with numbers beyond reason")
