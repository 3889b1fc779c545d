"""How many processor cores a reply computes with."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from chatlab.system.host import available_cores

SMALL = 64_000_000
"""Parameters up to which a token costs more in calls than in arithmetic, so that a second core adds little but waiting;
and threads that wait for each other crawl as soon as anybody else wants a core."""


class Threads:
    """Divides the cores among the replies under way, and leaves one to training while it runs.

    Threads that wait in vain for a core which somebody else uses slow each other down tenfold to a hundredfold, so
    there are never more of them than cores.
    """

    def __init__(self, cores: int) -> None:
        self._cores = cores
        self._yielding = False
        self._replies = 0
        self._lock = threading.Lock()

    def yield_cores(self, on: bool) -> None:
        self._yielding = on

    @contextmanager
    def reply(self) -> Iterator[None]:
        """Count a reply as under way."""
        with self._lock:
            self._replies += 1
        try:
            yield
        finally:
            with self._lock:
                self._replies -= 1

    def share(self) -> int:
        """Threads that one reply may use now."""
        return 1 if self._yielding else max(1, self._cores // max(1, self._replies))

    def claim(self) -> None:
        """Set the calling thread's share. To be called before each step: torch keeps the number for each thread."""
        import torch

        if torch.get_num_threads() != (share := self.share()):
            torch.set_num_threads(share)


def usual_cores(parameters: int) -> int:
    """Cores for a base of that size, where nobody asked for another number."""
    return 1 if parameters <= SMALL else available_cores()
