"""What time it is, which no weights know."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

from chatlab.errors import ToolFailed

HERE = frozenset({"", "here", "local", "now"})


def time_in(zone: str, moment: datetime) -> str:
    """`Wednesday, 25 November 2026, 04:15 (UTC)`. Raises ToolFailed for a zone that is none."""
    moment = moment.astimezone(None if zone.strip().casefold() in HERE else _zone(zone.strip()))
    return f"{moment:%A}, {moment.day} {moment:%B %Y, %H:%M} ({moment.tzname()})"


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, KeyError) as error:  # not found is a KeyError, a path outside a ValueError
        raise ToolFailed(f"There is no time zone {name[:60]!r}.", "Write it as in Europe/Paris, or here.") from error
