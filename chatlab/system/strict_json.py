"""JSON that says one thing: libraries differ in which of two equal names they take, and NaN is no JSON."""

from __future__ import annotations

import json
from typing import Any


def loads(data: str | bytes, *, constants: bool = False) -> Any:
    """Parse as `json.loads` does. Raises ValueError also for an object that names something twice.

    With `constants` NaN and Infinity are read, as Python itself writes them; else they are refused too.
    """
    return json.loads(data, object_pairs_hook=_once, parse_constant=None if constants else _no_constant)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"it says {name[:60]!r} twice")
        found[name] = value
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name[:20]} is no number")
