"""What an import added, so that all of it can be taken out in one go, after a restart too."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from chatlab.store import RecordCollection, Store

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

    def present(self, shelf: RecordCollection[Any]) -> list[int]:
        """Those of them that still have a record; takes no longer for a stretch of any length."""
        return [id for first, last in self.stretches for id in shelf.between(first, last)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """A trail as the store keeps it."""

    name: str
    demonstrations: tuple[tuple[int, int], ...]
    preferences: tuple[tuple[int, int], ...]


@dataclass(slots=True)
class ImportRecord:
    """Of the last import."""

    name: str
    """The file's."""
    demonstrations: Ids = field(default_factory=Ids)
    preferences: Ids = field(default_factory=Ids)

    @classmethod
    def last(cls, store: Store) -> ImportRecord | None:
        left = store.state.read(KEY, Left, None)
        if left is None:
            return None
        return cls(left.name, Ids(list(map(list, left.demonstrations))), Ids(list(map(list, left.preferences))))

    def leave(self, store: Store) -> None:
        """Keep it in the store, in place of the one before."""
        stretches = {"demonstrations": self.demonstrations.stretches, "preferences": self.preferences.stretches}
        store.state.set(KEY, {"name": self.name, **stretches})

    def count(self, store: Store) -> int:
        """How many of them are still there."""
        return len(self.demonstrations.present(store.demonstrations)) + len(self.preferences.present(store.preferences))

    def take_back(self, store: Store) -> int:
        """Remove what is still there of it; how many that was."""
        gone = store.demonstrations.remove(self.demonstrations.present(store.demonstrations))
        pairs = store.preferences.remove(self.preferences.present(store.preferences))
        store.state.set(KEY, None)
        return len(gone) + len(pairs)
