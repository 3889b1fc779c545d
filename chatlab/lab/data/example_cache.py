"""What is known of single demonstrations, worked out once each and again only after an edit."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable
from typing import TypeVar, cast

from chatlab.errors import ChatlabError
from chatlab.models.base import Base
from chatlab.quality.duplicates import wording
from chatlab.quality.findings import Case, content_hash
from chatlab.quality.words import content, jaccard
from chatlab.records import Demonstration

T = TypeVar("T")

FRAME = 64
"""Tokens, at most, that a template puts around a short demonstration; each byte of the words is at most one more."""
MIN_SIMILARITY = 0.12
"""Likeness below which two demonstrations are not called similar."""


class ExampleCache:
    """What was computed, by id, as long as the store hands out the same value for it."""

    def __init__(self) -> None:
        self._known: dict[str, dict[int, tuple[Demonstration, object]]] = {}

    def hash(self, id: int, demonstration: Demonstration) -> str:
        """Content hash."""
        return self._cached("hash", id, demonstration, lambda: content_hash(demonstration.messages))

    def digest(self, id: int, demonstration: Demonstration) -> str:
        """Hash of all that it says, calls and tools included."""
        return self._cached("digest", id, demonstration, lambda: demonstration.content_hash)

    def wording(self, id: int, demonstration: Demonstration) -> tuple[str, ...]:
        """Equal for those that say the same word for word."""
        return self._cached("wording", id, demonstration, lambda: wording(Case(id, demonstration)))

    def tokens(self, id: int, demonstration: Demonstration, base: Base, enough: int) -> int:
        """Tokens of its longest sequence; 0 where surely no more than `enough`. Raises TemplateRefused, EmptyAnswer."""
        size = sum(len(f"{m.reasoning}{m.content}".encode("utf-8", "replace")) + FRAME for m in demonstration.messages)
        if size <= enough:
            return 0
        return self._cached(f"tokens {base.fingerprint}", id, demonstration, lambda: _longest(base, demonstration))

    def similar(
        self, id: int, one: Demonstration, rows: Iterable[tuple[int, Demonstration]], limit: int
    ) -> list[tuple[int, float]]:
        """Other ids with the share of words that they have in common with `one`, the likest first."""
        own = self._words(id, one)
        scored = ((jaccard(own, self._words(i, d)), i) for i, d in rows if i != id)
        best = heapq.nlargest(limit, (pair for pair in scored if pair[0] >= MIN_SIMILARITY))
        return [(i, share) for share, i in best]

    def _words(self, id: int, demonstration: Demonstration) -> frozenset[str]:
        case = Case(id, demonstration)
        return self._cached("words", id, demonstration, lambda: content(f"{case.asked}\n{case.answer}"))

    def _cached(self, kind: str, id: int, demonstration: Demonstration, compute: Callable[[], T]) -> T:
        known = self._known.setdefault(kind, {})
        kept = known.get(id)
        if kept is None or kept[0] is not demonstration:
            kept = known[id] = (demonstration, compute())
        return cast(T, kept[1])


def _longest(base: Base, demonstration: Demonstration) -> int:
    try:
        return max(len(one.ids) for one in base.template.encode(demonstration.messages))
    except ChatlabError:
        return 0
