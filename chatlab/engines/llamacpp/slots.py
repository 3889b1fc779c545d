"""Which sequence of the context a reply uses, and which prefix it has cached."""

from __future__ import annotations

import threading
from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from chatlab.engines.base import common_prefix


@dataclass(slots=True)
class Slot:
    """One sequence of keys and values. They belong to the adapter that computed them, and to no other."""

    sequence: int
    adapter: Hashable = None
    ids: list[int] = field(default_factory=list)
    """Whole blocks of the prompt that were read here."""
    busy: bool = False
    used: int = 0
    """When it was acquired last, counted in acquisitions."""
    discard: bool = False
    """Clear it once the reply under way has ended."""

    def cached(self, adapter: Hashable, prompt: Sequence[int]) -> int:
        """Tokens of the prompt that it holds for this adapter."""
        return common_prefix(prompt, self.ids) if self.adapter == adapter else 0

    def clear(self) -> None:
        self.adapter, self.ids, self.discard = None, [], False


class Slots:
    """Hands out slots, one to a reply: the one that holds most of its prompt, or else the one unused for longest."""

    def __init__(self, count: int) -> None:
        self._slots = [Slot(number) for number in range(count)]
        self._free = threading.Condition()
        self._clock = 0

    def __len__(self) -> int:
        return len(self._slots)

    @contextmanager
    def acquire(self, adapter: Hashable, prompt: Sequence[int]) -> Iterator[tuple[Slot, int]]:
        """A slot for the time of a reply, and how many tokens of the prompt it holds. Waits where all are busy."""
        while (taken := self.take(adapter, prompt, timeout=60)) is None:
            pass
        try:
            yield taken
        finally:
            self.give_back(taken[0])

    def take(self, adapter: Hashable, prompt: Sequence[int], timeout: float) -> tuple[Slot, int] | None:
        """As `acquire`, to be given back; None where all are still busy after `timeout` seconds.

        One thread may advance several replies in turn: it must not wait for a slot that another of them holds.
        """
        with self._free:
            if not self._free.wait_for(lambda: any(not slot.busy for slot in self._slots), timeout):
                return None
            idle = (slot for slot in self._slots if not slot.busy)
            slot = max(idle, key=lambda slot: (slot.cached(adapter, prompt), -slot.used))
            cached = slot.cached(adapter, prompt)
            self._clock += 1
            slot.busy, slot.adapter, slot.used, slot.ids = True, adapter, self._clock, slot.ids[:cached]
        return slot, cached

    def give_back(self, slot: Slot) -> None:
        """For the next reply. What it holds stays, unless it was to be discarded."""
        with self._free:
            slot.busy = False
            if slot.discard:
                slot.clear()
            self._free.notify()

    def clear(self) -> list[Slot]:
        """Forget all prompts: idle slots, which are returned, at once, and the others after their reply."""
        with self._free:
            for slot in self._slots:
                if slot.busy:
                    slot.discard = True
                else:
                    slot.clear()
            return [slot for slot in self._slots if not slot.busy]
