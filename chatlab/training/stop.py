"""A stop that the trainer was told of, and how long it may take to carry it out before it is killed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from chatlab.records import Step

FROZEN, FROZEN_WARMING = 4.0, 15.0
"""Seconds without a sign of life after which a trainer that is told to stop is ended; importing torch may keep one
silent for longer.
"""
FROZEN_AGAIN = 60.0
"""The same for one that was just started to carry out the stop: it is slow rather than frozen."""
ASKED = 1.0
"""Seconds that even a frozen trainer has to answer to a stop."""
STUCK, STUCK_WARMING, STUCK_MEASURING = 8.0, 60.0, 30.0
"""Seconds within which one that does give signs of life has to end its step, to come up, or to measure and save."""
STEPS = 3
"""A step may take so many times the longest before it."""


@dataclass(slots=True)
class StopRequest:
    """A stop that the worker was told of and has not carried out yet."""

    keep: bool
    waited: float = 0.0
    """Seconds since it was told."""
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
    if silent > (FROZEN if phase else FROZEN_WARMING) and stop.waited > ASKED:
        return True
    if not phase:
        return stop.waited > STUCK_WARMING
    if phase in ("evaluate", "save"):  # to keep the adapter is to measure and save, which takes as long as it takes
        return stop.waited > STUCK_MEASURING and not stop.keep
    times = [step.seconds for step in steps if step.step > 0]
    longest = max((later - earlier for earlier, later in pairwise(times)), default=STUCK)
    return stop.waited > max(STUCK, STEPS * longest)
