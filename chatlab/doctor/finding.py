"""What was found in one place, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from chatlab.errors import ChatlabError

Mark = Literal["good", "note", "bad"]
"""`note`: the app works, but something is worth knowing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One line of the doctor's report."""

    about: str
    mark: Mark
    words: str
    advice: str = ""


def refused(about: str, error: ChatlabError) -> Finding:
    return Finding(about=about, mark="bad", words=str(error), advice=error.hint)


def as_text(findings: Iterable[Finding]) -> str:
    lines = []
    for found in findings:
        lines.append(f"  {found.mark:4}  {found.about:11}  {found.words}")
        if found.advice:
            lines.append(f"{'':21}-> {found.advice}")
    return "\n".join(lines)
