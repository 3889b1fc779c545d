"""Which demonstrations go when only the hardest are kept. Decides; what is decided is carried out elsewhere."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruning:
    """Ids by what would become of them."""

    kept: tuple[int, ...]
    duplicates: tuple[int, ...]
    """Gone because another says the same."""
    easy: tuple[int, ...]
    """Gone because the model hardly needs them, the easiest first."""
    unmeasured: tuple[int, ...]
    """Kept because nobody knows how hard they are."""

    @property
    def gone(self) -> tuple[int, ...]:
        return (*self.duplicates, *self.easy)


def pruned(ids: Sequence[int], duplicates: Collection[int], hardness: Mapping[int, float], share: float) -> Pruning:
    """Keep `share` (0 to 1) of `ids`, rounded up: doubles go first, whatever the share, then the easiest.

    Those of unknown hardness stay, beyond the share if there are many.
    """
    rest = [id for id in ids if id not in duplicates]
    known = sorted((id for id in rest if id in hardness), key=lambda id: (-hardness[id], id))
    unmeasured = tuple(id for id in rest if id not in hardness)
    room = max(0, math.ceil(share * len(ids) - 1e-9) - len(unmeasured))
    staying = {*known[:room], *unmeasured}
    return Pruning(
        kept=tuple(id for id in ids if id in staying),
        duplicates=tuple(id for id in ids if id in duplicates),
        easy=tuple(reversed(known[room:])),
        unmeasured=unmeasured,
    )
