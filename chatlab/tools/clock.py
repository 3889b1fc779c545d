"""The clock: date and time in a zone."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

from chatlab.errors import ToolFailed

HERE = frozenset({"", "here", "local", "now"})


def time_in(zone: str, now: datetime) -> str:
    """`Wednesday, 25 November 2026, 04:15 (UTC)`. Raises ToolFailed for a zone that is none."""
    now = now.astimezone(None if zone.strip().casefold() in HERE else _zone(zone.strip()))
    return f"{now:%A}, {now.day} {now:%B %Y, %H:%M} ({now.tzname()})"


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, KeyError) as error:  # not found is a KeyError, a path outside a ValueError
        raise ToolFailed(f"There is no time zone {name[:60]!r}.", "Write it as in Europe/Paris, or here.") from error
