"""Lines of text files. They end at a line feed alone: `str.splitlines` also ends them at characters, such as U+2028 and
U+0085, that people's texts and the strings in JSON may hold.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple


class JsonLine(NamedTuple):
    """One line of a JSON lines file."""

    number: int
    """From 1."""
    row: dict[str, Any] | None
    """None for a line that holds no JSON object."""


def split_lines(text: str) -> list[str]:
    """The lines without what ends them: a line feed, before which Windows puts a carriage return."""
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    return lines if lines[-1] else lines[:-1]


def json_lines(file: Path) -> Iterator[JsonLine]:
    """The lines of a UTF-8 file, empty ones left out. Raises OSError."""
    for number, line in enumerate(file.read_bytes().split(b"\n"), start=1):
        if line.strip():
            yield JsonLine(number, _object(line))


def json_rows(file: Path) -> list[dict[str, Any]]:
    """The rows of a file that was written here. Raises ValueError, which names the line, for one that is no object."""
    found = []
    for number, row in json_lines(file):
        if row is None:
            raise ValueError(f"line {number} of {file.name} holds no JSON object")
        found.append(row)
    return found


def _object(line: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(line.decode("utf-8"))
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
