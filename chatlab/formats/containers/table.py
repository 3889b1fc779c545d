"""Rows of CSV and TSV: quoted cells with line breaks in them, any delimiter, a header or none."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Generator
from dataclasses import dataclass
from typing import BinaryIO

from chatlab.formats.containers.cells import unescape_cell
from chatlab.formats.containers.text import text_lines
from chatlab.formats.row import LONGEST, Row

DELIMITERS = "\t,;|"
_SEEN = 60
"""Rows that are looked at to tell a delimiter and a header."""


@dataclass(frozen=True, slots=True)
class TableLook:
    """How a table is written."""

    delimiter: str
    header: bool
    columns: tuple[str, ...]
    skip: int = 0
    """Lines of comment before the first row."""


def table_look(head: str, known: frozenset[str], whole: bool) -> TableLook | None:
    """None for text that is no table. `head` is its beginning, all of it if `whole`; `known` are telling names."""
    lines = head.split("\n")
    skip = next((n for n, line in enumerate(lines) if line.strip() and not line.startswith("#")), 0)
    head = "\n".join(lines[skip:])
    best: tuple[tuple[bool, float, int], TableLook] | None = None
    for delimiter in DELIMITERS:
        rows = _first_rows(head, delimiter, whole)
        width, share = _usual_width(rows)
        if width < 2 or share < 0.6:
            continue
        header = _is_header(rows, known)
        columns = tuple(rows[0]) if header else tuple(f"column {n}" for n in range(1, width + 1))
        telling = header and any(plain(name) in known for name in columns)
        if best is None or (telling, share, width) > best[0]:
            best = (telling, share, width), TableLook(delimiter, header, _distinct(columns), skip)
    if best is None and plain(lines[skip]) in known:
        return TableLook(",", True, (lines[skip].strip(),), skip)
    return best[1] if best else None


def numbered(look: TableLook) -> TableLook:
    """The same table without a header."""
    return TableLook(look.delimiter, False, tuple(f"column {n}" for n in range(1, len(look.columns) + 1)), look.skip)


def named(look: TableLook, names: list[str]) -> TableLook:
    """The same table with these names as its header."""
    return TableLook(look.delimiter, True, _distinct(tuple(names)), look.skip)


def table_rows(file: BinaryIO, encoding: str, look: TableLook) -> Generator[Row, None, None]:
    """Cells come untamed. A row with too few or too many cells is refused; an empty line is passed over."""
    with text_lines(file, encoding) as text:
        lines = _Lines(text)
        for _ in range(look.skip):
            next(lines, "")
        reader = csv.reader(lines, delimiter=look.delimiter)
        first = look.header
        while True:
            begun = lines.count + 1
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield Row(begun, {}, f"It cannot be split into cells: {error}. Is a quotation mark left open?")
                continue
            except UnicodeError:
                yield Row(begun, {}, "From here on the file is not text.")
                return
            if first:
                first = False
            elif look.header and _distinct(tuple(cells)) == look.columns:
                yield Row(begun, {}, "It repeats the names of the columns.")
            elif any(cells):
                yield _row(begun, cells, look.columns, lines.was_cut())


def plain(name: str) -> str:
    """A column's name as it is looked up."""
    return name.strip().casefold().replace(" ", "_").replace("-", "_")


def _row(line: int, cells: list[str], columns: tuple[str, ...], cut: bool) -> Row:
    if cut:
        return Row(line, {}, "It is too long.")
    if len(cells) > len(columns) and any(cells[len(columns) :]):
        return Row(line, {}, f"It has {len(cells)} cells, but there are {len(columns)} columns.")
    if len(cells) < len(columns):
        return Row(line, {}, f"It has only {len(cells)} of {len(columns)} cells.")
    return Row(line, {name: unescape_cell(cell) for name, cell in zip(columns, cells, strict=False)})


class _Lines:
    """Counts the lines that a CSV reader takes, and cuts those that are too long."""

    def __init__(self, text: io.TextIOWrapper) -> None:
        self._text = text
        self._cut = False
        self.count = 0

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        line = self._text.readline(LONGEST)
        if not line:
            raise StopIteration
        self.count += 1
        if len(line) == LONGEST and line[-1] not in "\r\n":
            self._cut = True
            while (more := self._text.readline(LONGEST)) and more[-1] not in "\r\n":
                pass
        return line

    def was_cut(self) -> bool:
        """Since it was last asked."""
        cut, self._cut = self._cut, False
        return cut


def _first_rows(head: str, delimiter: str, whole: bool) -> list[list[str]]:
    rows = []
    try:
        for row in csv.reader(io.StringIO(head, newline=""), delimiter=delimiter):
            rows.append(row)
            if len(rows) > _SEEN:
                break
    except csv.Error:
        pass
    cut_through = not whole and len(rows) <= _SEEN
    return [row for row in (rows[:-1] if cut_through else rows) if any(row)]


def _usual_width(rows: list[list[str]]) -> tuple[int, float]:
    """How many cells most rows have, and what share of the rows has so many."""
    if not rows:
        return 0, 0.0
    width, times = Counter(map(len, rows)).most_common(1)[0]
    return width, times / len(rows)


def _is_header(rows: list[list[str]], known: frozenset[str]) -> bool:
    """Names are known ones, or they are short and distinct where what is below them is longer."""
    names, below = rows[0], rows[1:]
    if any(plain(name) in known for name in names):
        return True
    if not below or len(set(names)) < len(names) or not all(0 < len(name.strip()) <= 40 for name in names):
        return False
    if any(
        all(row[n : n + 1] and row[n].isdecimal() for row in below)
        for n, name in enumerate(names)
        if not name.isdecimal()
    ):
        return True
    usual = sum(len(cell) for row in below for cell in row) / max(1, sum(map(len, below)))
    return usual > 2 * sum(map(len, names)) / len(names) and not any(name.endswith((".", "?", "!")) for name in names)


def _distinct(columns: tuple[str, ...]) -> tuple[str, ...]:
    """Names as they are told apart: empty ones get a number, and so do those that come again."""
    seen: dict[str, int] = {}
    names = []
    for place, name in enumerate(columns, 1):
        name = name.strip() or f"column {place}"
        seen[name] = seen.get(name, 0) + 1
        names.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return tuple(names)
