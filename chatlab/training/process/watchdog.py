"""How long the trainer may be silent, and how long a stop may take, before the process is killed."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from chatlab.measurements import Step

TICK = 0.5
"""Seconds between two looks."""
JUMP = 5.0
"""Seconds between two looks after which the machine is taken to have slept, or this process to have been stopped."""
FROZEN, FROZEN_WARMING = 4.0, 15.0
"""Seconds without a sign of life after which a trainer that is told to stop is ended; importing torch may keep one
silent for longer.
"""
FROZEN_AGAIN = 60.0
"""The same for one that was just started to carry out the stop: it is slow rather than frozen."""
GRACE = 1.0
"""Seconds that even a frozen trainer has to carry out a stop."""
STUCK, STUCK_WARMING, STUCK_MEASURING = 8.0, 60.0, 30.0
"""Seconds within which one that does give signs of life has to end its step, to come up, or to measure and save."""
STEPS = 3
"""A step may take so many times the longest before it."""


@dataclass(slots=True)
class StopRequest:
    """A stop that the worker was sent and has not carried out yet."""

    keep: bool
    waited: float = 0.0
    """Seconds since it was sent."""
    forced: bool = False
    """Whether the worker was killed for not answering."""
    second: bool = False
    """Whether this worker was started to carry out what a killed one did not."""


def is_overdue(stop: StopRequest, silent: float, phase: str, steps: Sequence[Step]) -> bool:
    """Whether the worker has had its time, given its silence in seconds.

    `phase` is the run's, empty while the worker comes up; `steps` are those made so far.
    """
    if stop.second:
        return silent > FROZEN_AGAIN
    if silent > (FROZEN if phase else FROZEN_WARMING) and stop.waited > GRACE:
        return True
    if not phase:
        return stop.waited > STUCK_WARMING
    if phase in ("evaluate", "save"):  # to keep the adapter is to measure and save, which takes as long as it takes
        return stop.waited > STUCK_MEASURING and not stop.keep
    times = [step.seconds for step in steps if step.step > 0]
    longest = max((later - earlier for earlier, later in pairwise(times)), default=STUCK)
    return stop.waited > max(STUCK, STEPS * longest)


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

    def reset(self) -> None:
        """The process gave a sign of life."""
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
