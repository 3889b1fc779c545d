"""The journal: one line per change, appended and synced before anybody is told that the change is kept.

A line is `crc32hex SP json LF`, the json `[number, {table: {id: document | null} | null}]`, null for what was
removed. The first line of a file has no change but a third item, `{"format": n}`, and the number of the last
change before it.
"""

from __future__ import annotations

import os
import re
import zlib
from bisect import bisect_left
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import orjson

from chatlab.errors import ChatlabError, InputError, StoreError
from chatlab.store.disk import Disk, as_chatlab_error
from chatlab.store.shape import are_changes, is_number
from chatlab.system.files import DISK_FULL

Document = dict[str, Any]
Changes = dict[str, dict[str, Document | None] | None]
"""Table name -> id -> document, or None for a removed document; None for a dropped table."""

_START = re.compile(rb"[0-9a-f]{8} \[\d+,")


@dataclass(frozen=True, slots=True)
class Line:
    """One change as read back."""

    number: int
    changes: Changes
    format: int | None = None
    """Only in a journal's first line."""


@dataclass(frozen=True, slots=True)
class Contents:
    """What a journal file holds."""

    lines: tuple[Line, ...] = ()
    damaged: tuple[bytes, ...] = ()
    """Lines whose checksum, shape or number does not fit, as they stand in the file."""
    size: int = 0
    """Bytes up to the end of the last whole line; what follows is a write that was cut off."""
    unended: bool = False
    """The last line is whole but for its LF."""


def encode_line(number: int, changes: Changes, format: int | None = None) -> bytes:
    """A journal line. Raises InputError for what JSON cannot hold."""
    item = [number, changes] if format is None else [number, changes, {"format": format}]
    try:
        body = orjson.dumps(item)
    except TypeError as error:
        raise InputError(f"This cannot be kept: {error}.", "Only text, numbers, lists and named values can.") from error
    return b"%08x %s\n" % (zlib.crc32(body), body)


def decode_line(line: bytes) -> Line | None:
    """None if the checksum does not fit, or what it seals is no change. `line` comes without its LF."""
    if line[8:9] != b" " or b"%08x" % zlib.crc32(line[9:]) != line[:8]:
        return None
    try:
        item = orjson.loads(line[9:])
    except orjson.JSONDecodeError:
        return None
    match item:
        case [number, changes] if is_number(number) and are_changes(changes):
            return Line(number, changes)
        case [number, {}, {"format": format}] if is_number(number) and not item[1] and is_number(format, 1):
            return Line(number, {}, format)
    return None


def read_journal(file: Path) -> Contents:
    """Whatever can be read; an absent file is an empty journal."""
    if not file.is_file():
        return Contents()
    data = file.read_bytes()
    *whole, tail = data.split(b"\n")
    lines: list[Line] = []
    raws: list[bytes] = []
    damaged: list[bytes] = []
    for raw in whole:
        if line := decode_line(raw):
            lines.append(line)
            raws.append(raw)
        else:
            damaged.append(raw)
            rescued = list(_rescued(raw))
            lines += rescued
            raws += [raw] * len(rescued)
    last = list(_rescued(tail))
    cut = 0 if last else len(tail)
    lines += last
    raws += [tail] * len(last)
    kept = _ascending([line.number for line in lines])
    damaged += [raw for place, raw in enumerate(raws) if place not in kept]
    return Contents(
        tuple(line for place, line in enumerate(lines) if place in kept), tuple(damaged), len(data) - cut, bool(last)
    )


def _ascending(numbers: list[int]) -> Collection[int]:
    """Places of the longest run of numbers that go up: a line with a number out of line hides none that follow it."""
    if all(one < other for one, other in pairwise(numbers)):
        return range(len(numbers))
    ends: list[int] = []  # for each length, the place of the smallest number that a run of it may end with
    before: list[int | None] = []
    for place, number in enumerate(numbers):
        length = bisect_left(ends, number, key=lambda end: numbers[end])
        before.append(ends[length - 1] if length else None)
        ends[length : length + 1] = [place]
    kept: set[int] = set()
    at = ends[-1] if ends else None
    while at is not None:
        kept.add(at)
        at = before[at]
    return kept


def _rescued(raw: bytes) -> Iterator[Line]:
    """Whole lines inside a damaged one: a flipped bit in an LF joins two lines."""
    starts = [match.start() for match in _START.finditer(raw)]
    for place, start in enumerate(starts):
        for end in (*(s - 1 for s in starts[place + 1 :]), len(raw), len(raw) - 1):
            if line := decode_line(raw[start:end]):
                yield line
                break


class Journal:
    """An open journal file. Not thread-safe: the storage's lock guards it."""

    def __init__(self, file: Path, disk: Disk, contents: Contents) -> None:
        """Goes on after `contents`, which was read from the same file."""
        self._disk = disk
        self._handle = disk.open(file, os.O_RDWR | os.O_CREAT | os.O_APPEND)
        self.size = contents.size
        self.refusal = ""
        """Why nothing more can be written until the store is opened again; empty while all is well."""
        try:
            disk.truncate(self._handle, self.size)
            if contents.unended:
                self.append(b"\n")
        except (OSError, ChatlabError) as error:
            self.refusal = f"its journal could not be repaired ({error})"

    def append(self, line: bytes) -> None:
        """Write and sync a line. Raises DiskFull or StoreError, and then the file is as it was."""
        if self.refusal:
            raise StoreError(f"The store takes no changes: {self.refusal}.", "Restart Chatlab; what was kept is safe.")
        try:
            self._disk.write(self._handle, line)
        except OSError as error:
            self._cut_back()
            if error.errno not in DISK_FULL:
                self.refusal = f"writing to the disk failed ({error.strerror})"
            raise as_chatlab_error(error, "keep this change") from error
        try:
            self._disk.sync(self._handle)
        except OSError as error:
            # The kernel may have dropped the pages, and a second fsync would report success: never retry it.
            self.refusal = f"the disk did not confirm a write ({error.strerror})"
            self._cut_back()
            raise as_chatlab_error(error, "keep this change") from error
        self.size += len(line)

    def _cut_back(self) -> None:
        try:
            self._disk.truncate(self._handle, self.size)
        except OSError as error:
            self.refusal = f"half a write could not be taken back ({error.strerror})"

    def close(self) -> None:
        """May be called again."""
        self.refusal = self.refusal or "it is closed"
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1
