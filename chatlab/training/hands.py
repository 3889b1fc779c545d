"""Two things at once, each on a core of its own.

For a small base this does what a second torch thread cannot: that one would have to be woken for each of thousands of
short operations a second, or spin in between and starve whoever shares its core. A hand waits once a step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


class Hands:
    """One hand or two. With one, everything happens in order, to the same end."""

    def __init__(self, count: int) -> None:
        self._pool = ThreadPoolExecutor(count) if count > 1 else None

    def start(self, task: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> Callable[[], R]:
        """Begin a task; calling what comes back waits for its result."""
        if self._pool:
            return self._pool.submit(task, *args, **kwargs).result
        result = task(*args, **kwargs)
        return lambda: result

    def map(self, task: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
        """Results in the order of the items."""
        return self._pool.map(task, items) if self._pool else map(task, items)
