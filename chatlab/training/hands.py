"""Two things at once, each on a core of its own.

For a small base this does what a second torch thread cannot: that one would have to be woken for each of thousands of
short operations a second, or spin in between and starve whoever shares its core. A hand waits once a step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

R = TypeVar("R")
T = TypeVar("T")


class Hands:
    """One hand or two. With one, everything happens in order, to the same end."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._pool = ThreadPoolExecutor(count) if count > 1 else None

    def map(self, task: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
        """Results in the order of the items."""
        return self._pool.map(task, items) if self._pool else map(task, items)
