"""Two rankings made one."""

from __future__ import annotations

from collections.abc import Sequence

K = 60
"""Reciprocal rank fusion: a passage at rank r of a ranking gets weight / (K + r) from it (Cormack et al., 2009)."""


def fused(rankings: Sequence[tuple[Sequence[int], float]]) -> list[tuple[int, float]]:
    """Keys of all `rankings`, each a list of keys, best first, and its weight; with their scores, best first."""
    scores: dict[int, float] = {}
    for keys, weight in rankings:
        for rank, key in enumerate(keys, 1):
            scores[key] = scores.get(key, 0.0) + weight / (K + rank)
    return sorted(scores.items(), key=lambda item: -item[1])
