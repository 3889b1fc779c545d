"""Answers corrupted as careless data is: cut off, another's, the question again, both parts, out of order."""

from __future__ import annotations

import random
from collections.abc import Sequence

from chatlab.experiments.data.generated import Pair


def half_corrupted(pairs: Sequence[Pair], seed: int) -> list[Pair]:
    """Every second demonstration corrupted, each in one of five ways by turns; which ones depends on the seed."""
    rng = random.Random(f"spoiled {seed}")
    places = rng.sample(range(len(pairs)), len(pairs) // 2)
    found = list(pairs)
    for number, place in enumerate(places):
        asked, answer = pairs[place]
        found[place] = (asked, _corrupted(number % 5, asked, answer, pairs, rng))
    return found


def _corrupted(way: int, asked: str, answer: str, pairs: Sequence[Pair], rng: random.Random) -> str:
    words = answer.split()
    if way == 0:
        return " ".join(words[: max(1, len(words) // 2)])
    if way == 1:
        return rng.choice(pairs)[1]
    if way == 2:
        return f"{asked} {answer}"
    if way == 3:
        return f"{answer}\nUser: {rng.choice(pairs)[0]}\nAssistant: {rng.choice(pairs)[1]}"
    rng.shuffle(words)
    return " ".join(words)
