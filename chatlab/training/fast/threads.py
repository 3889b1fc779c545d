"""A small thread pool, for micro-batches side by side on cores of their own.

For a small base this does what a second torch thread cannot: that one would have to be woken for each of thousands of
short operations a second, or spin in between and starve whoever shares its core. A worker waits once a step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

R = TypeVar("R")
T = TypeVar("T")


class Workers:
    """`count` threads; with one, everything runs in order in the caller's thread, to the same result."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._pool = ThreadPoolExecutor(count) if count > 1 else None

    def map(self, task: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
        """Results in the order of the items."""
        return self._pool.map(task, items) if self._pool else map(task, items)
