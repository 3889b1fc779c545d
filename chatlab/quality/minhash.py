"""Which of many sets are alike, without comparing each with each: MinHash and banding, by rensa.

What MinHash proposes is compared in full, so what comes back is exact; it may only miss some: with 64 bands of 3 rows a
pair of likeness 0.5 once in 5,000 times, (1 - 0.5 ^ 3) ^ 64.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rensa import RMinHash, RMinHashLSH

from chatlab.quality.words import jaccard

HASHES = 192
BANDS = 64
MOST = 200
"""Earlier sets that one is compared with. In a set of one sentence with a thousand names, all are like all."""


def alike(sets: Sequence[frozenset[str]], at_least: float) -> Iterator[tuple[int, int]]:
    """Pairs (earlier, later) of places whose sets have this likeness. Empty sets are like none."""
    index = RMinHashLSH(threshold=at_least, num_perm=HASHES, num_bands=BANDS)
    sketches = RMinHash.from_token_sets([sorted(words) for words in sets], num_perm=HASHES, seed=1)
    for place, sketch in enumerate(sketches):
        if not sets[place]:
            continue
        for earlier in sorted(index.query(sketch))[:MOST]:
            if jaccard(sets[earlier], sets[place]) >= at_least:
                yield earlier, place
        index.insert(place, sketch)
