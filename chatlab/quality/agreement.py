"""How far annotators agree on what they judged together: Krippendorff's alpha, as NLTK computes it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

ENOUGH = 10
"""Shared items below which alpha says next to nothing: two strangers can reach any figure on a handful."""
RELIABLE, TENTATIVE = 0.8, 0.667
"""Krippendorff's own marks: conclusions may be drawn from above the first, tentative ones from above the second."""

Judgement = tuple[str, int, int]
"""Who, on which item, and what on a scale of equal steps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """1 is perfect agreement, 0 that of people who draw lots, below it they contradict each other on purpose."""

    alpha: float | None
    """None where it is not defined: nothing shared, or nobody ever said anything but one and the same."""
    shared: int
    """Items that two or more have judged."""
    annotators: tuple[str, ...]
    """Krippendorff's alpha over the shared items."""

    @property
    def tells(self) -> bool:
        """Whether there is enough to say anything."""
        return self.alpha is not None and self.shared >= ENOUGH


def agreement(judgements: Iterable[Judgement]) -> Agreement:
    """Agreement of any number of judgements, in any order. What only one annotator has judged is passed over."""
    shared = shared_items(judgements)
    given = [(who, item, stars) for item, by in shared.items() for who, stars in by.items()]
    names = sorted({who for who, _, _ in given})
    return Agreement(alpha=_alpha(given), shared=len(shared), annotators=tuple(names))


def shared_items(judgements: Iterable[Judgement]) -> dict[int, Mapping[str, int]]:
    """Item -> annotator -> the last thing they said of it, for items of two or more annotators."""
    found: dict[int, dict[str, int]] = defaultdict(dict)
    for who, item, stars in judgements:
        found[item][who] = stars
    return {item: by for item, by in found.items() if len(by) > 1}


def _alpha(given: list[Judgement]) -> float | None:
    """Krippendorff's alpha with squared differences, as stars stand at equal steps."""
    if len({stars for _, _, stars in given}) < 2:
        return None
    from nltk.metrics.agreement import AnnotationTask  # a third of a second, for those who ask
    from nltk.metrics.distance import interval_distance

    return float(AnnotationTask(data=given, distance=interval_distance).alpha())
