"""How long the trainer has given no sign of life, whatever the clocks did meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable

TICK = 0.5
"""Seconds between two looks."""
JUMP = 5.0
"""Seconds between two looks after which the machine is taken to have slept, or this process to have been stopped."""


class Silence:
    """Seconds since the last sign of life in which this process itself was awake.

    A laptop that sleeps, a paused virtual machine, an app that is swapped out: then the trainer could not be heard, and
    it gets a new start. Clocks tell such a time differently from system to system, so `tick` is called all the time,
    and a gap between two calls that is far too long counts for nothing.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last = clock()
        self.seconds = 0.0

    def heard(self) -> None:
        """A sign of life."""
        self.seconds = 0.0

    def tick(self) -> float:
        """Count the time since the last call; how much of it counted."""
        now = self._clock()
        passed, self._last = now - self._last, now
        if not 0 <= passed <= JUMP:
            self.seconds = 0.0
            return 0.0
        self.seconds += passed
        return passed
