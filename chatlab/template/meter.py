"""What a rendering may cost. An untrusted template must neither loop for ever nor fill the memory."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from jinja2.exceptions import SecurityError

ROOM = 4_000_000
"""Characters that one rendering may make, all in all."""
TICK = 20
"""What a turn of a loop costs, in characters."""
SECONDS = 2.0
"""Of processor time in one rendering. Only a net below the rest: the room is what ends a bad template."""


class Meter:
    """Spent by everything that loops or makes text. Raises SecurityError once a rendering asks too much."""

    def __init__(self) -> None:
        self._left = ROOM
        self._until = time.thread_time() + SECONDS

    def spend(self, cost: int) -> None:
        self._left -= cost
        if self._left < 0:
            raise SecurityError(f"it makes more than {ROOM:,} characters or loops too long")

    def tick(self, cost: int) -> str:
        """At the start of every turn of a loop and every call of a macro. Writes nothing."""
        self.spend(TICK + cost)
        if time.thread_time() > self._until:
            raise SecurityError(f"it computes for more than {SECONDS:g} seconds")
        return ""

    def weigh(self, value: Any) -> Any:
        """Spends what a value would be as text, shared parts as often as they would be written."""
        waiting = [value]
        while waiting:
            one = waiting.pop()
            self.spend(len(one) + 1 if isinstance(one, str) else 1)
            if isinstance(one, list | tuple):
                waiting += one
            elif isinstance(one, Mapping):
                waiting += [*one.keys(), *one.values()]
        return value
