"""What the figures say of a claim, by rules that were written down before there were any figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Outcome = Literal["reproduced", "partly reproduced", "not reproduced", "not measured"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One thing that a claim says, when it counts as so, and what was found."""

    says: str
    rule: str
    found: str
    holds: bool | None
    """None where it was not measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Verdict on a whole claim."""

    parts: tuple[Part, ...]

    @property
    def outcome(self) -> Outcome:
        """Reproduced if every part holds, partly if some do."""
        held = [part.holds for part in self.parts]
        if not held or None in held:
            return "not measured"
        return "reproduced" if all(held) else "partly reproduced" if any(held) else "not reproduced"

    @property
    def failed(self) -> Sequence[Part]:
        """What did not reproduce."""
        return [part for part in self.parts if part.holds is False]
