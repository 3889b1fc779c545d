"""A row as its file holds it, before anybody asks what it means; and what became of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from chatlab.records import Demonstration, Preference

MEBIBYTE = 1 << 20
LONGEST = 8 * MEBIBYTE
"""Bytes of one row. A conversation of a million words is shorter."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt without an answer, which is no lesson: it can be asked before and after a run."""

    text: str


Record = Demonstration | Preference


@dataclass(frozen=True, slots=True)
class Row:
    """Named values, or why there are none."""

    line: int
    """Where it begins: the line of a text file, from 1; the row of a list or of Parquet, from 1."""
    values: dict[str, Any]
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Imported:
    """A record that a row holds."""

    line: int
    record: Record | Prompt


@dataclass(frozen=True, slots=True)
class Refused:
    """A row that cannot become a record, and why, worded for people."""

    line: int
    reason: str


Outcome = Imported | Refused
