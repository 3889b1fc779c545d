"""What an import added, so that all of it can be taken out in one go, after a restart too."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from chatlab.store import Store

KEY = "last import"


@dataclass(slots=True)
class Ids:
    """Ids as stretches without a gap: an import of any size takes a few numbers."""

    stretches: list[list[int]] = field(default_factory=list)
    """First and last of each."""

    def add(self, ids: list[int]) -> None:
        for one in ids:
            if self.stretches and self.stretches[-1][1] == one - 1:
                self.stretches[-1][1] = one
            else:
                self.stretches.append([one, one])

    def __iter__(self) -> Iterator[int]:
        for first, last in self.stretches:
            yield from range(first, last + 1)


@dataclass(slots=True)
class Trail:
    """Of the last import."""

    name: str
    """The file's."""
    demonstrations: Ids = field(default_factory=Ids)
    preferences: Ids = field(default_factory=Ids)

    @classmethod
    def last(cls, store: Store) -> Trail | None:
        left = store.state.get(KEY)
        if not left:
            return None
        return cls(left["name"], Ids(left["demonstrations"]), Ids(left["preferences"]))

    def leave(self, store: Store) -> None:
        """Keep it in the store, in place of the one before."""
        stretches = {"demonstrations": self.demonstrations.stretches, "preferences": self.preferences.stretches}
        store.state.set(KEY, {"name": self.name, **stretches})

    def count(self, store: Store) -> int:
        """How many of them are still there."""
        found = sum(one in store.demonstrations for one in self.demonstrations)
        return found + sum(one in store.preferences for one in self.preferences)

    def take_back(self, store: Store) -> int:
        """Remove what is still there of it; how many that was."""
        gone = len(store.demonstrations.remove(self.demonstrations)) + len(store.preferences.remove(self.preferences))
        store.state.set(KEY, None)
        return gone
