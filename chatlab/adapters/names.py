"""What an adapter may be called: names that are also safe as folders, on every system."""

from __future__ import annotations

import re
from collections.abc import Container

from chatlab.errors import NameRefused
from chatlab.records import BASE

LONGEST = 64
_SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_DEVICES = {"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(10))}
"""Windows opens these as devices, whatever follows the first dot."""


def check_name(name: str) -> str:
    """The name itself, or NameRefused."""
    if len(name) > LONGEST or not _SAFE.fullmatch(name) or name.endswith("."):
        raise NameRefused(
            f"{name[:80]!r} cannot be an adapter's name.",
            f"Use up to {LONGEST} letters, digits, dots, dashes and underscores; begin with a letter or a digit.",
        )
    if name.casefold() == BASE or name.split(".")[0].casefold() in _DEVICES:
        raise NameRefused(f"{name!r} is a reserved name.", "Choose another one.")
    return name


def unlike(name: str, taken: Container[str]) -> str:
    """`name`, or `name-2`, `name-3`... `taken` holds casefolded names, as some file systems see no difference."""
    number, candidate = 1, name
    while candidate.casefold() in taken:
        number += 1
        candidate = f"{name[: LONGEST - len(str(number)) - 1]}-{number}"
    return candidate
