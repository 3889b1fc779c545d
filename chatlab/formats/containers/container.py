"""How rows are packed into a file, told from its first bytes; its name says nothing."""

from __future__ import annotations

import re
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, Literal

from chatlab.errors import FormatRefused
from chatlab.formats.containers.json_columns import column_rows, holds_columns
from chatlab.formats.containers.json_rows import json_lines, json_values
from chatlab.formats.containers.json_shape import JsonShape, json_shape
from chatlab.formats.containers.parquet import parquet_rows
from chatlab.formats.containers.table import TableLook, table_look, table_rows
from chatlab.formats.containers.text import HEAD, decoded, encoding_of, head_of
from chatlab.formats.layout import HEADINGS
from chatlab.formats.row import Row

Packing = Literal["lines", "list", "objects", "columns", "table", "parquet"]
_COMMENT = re.compile(r"(?:\s*(?://|#)[^\n]*(?:\n|\Z))*")
"""Lines of comment at the head of a file."""
_LABELS: dict[Packing, str] = {
    "lines": "JSON lines",
    "list": "a JSON list",
    "objects": "JSON objects",
    "columns": "a table in JSON",
    "table": "a table",
    "parquet": "Parquet",
}
SAMPLE = 50
"""Rows that are looked at to tell what columns there are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """How to take a file apart."""

    packing: Packing
    encoding: str = "utf-8"
    start: int = 0
    """Byte at which the rows begin, after lines of comment."""
    shape: JsonShape = field(default_factory=JsonShape)
    table: TableLook | None = None

    @property
    def label(self) -> str:
        if self.table:
            names = {"\t": "tab-separated", ",": "comma-separated", ";": "semicolon-separated", "|": "bar-separated"}
            return f"{names[self.table.delimiter]} table" + ("" if self.table.header else " without a header")
        return _LABELS[self.packing]

    @property
    def counts(self) -> str:
        """What a row's number counts."""
        return "line" if self.packing in ("lines", "table") else "row"


def container_of(path: Path) -> Container:
    """Raises FormatRefused for what is no data set."""
    head = head_of(path)
    if head.startswith(b"PAR1"):
        return Container(packing="parquet")
    encoding = encoding_of(path.name, head)
    text = decoded(head, encoding)
    whole = len(head) < HEAD
    comment = _COMMENT.match(text)
    begun = text[comment.end() if comment else 0 :].lstrip()
    if begun.startswith("{") and holds_columns(path, begun, "utf-8" if encoding == "cp1252" else encoding):
        return Container(packing="columns", encoding="utf-8" if encoding == "cp1252" else encoding)
    if begun.startswith(("{", "[")) and (found := json_shape(begun, whole)):
        encoding = "utf-8" if encoding == "cp1252" else encoding  # JSON is never in it: such bytes are damage
        start = len(text[: len(text) - len(begun)].encode()) if comment and comment[0].strip() else 0
        return Container(
            packing=found.packing,
            encoding=encoding,
            start=start if encoding == "utf-8" and found.packing != "lines" else 0,
            shape=found,
        )
    look = table_look(text, HEADINGS, whole)
    if look is None:
        raise FormatRefused(
            f"{path.name} holds text, but no rows that Chatlab knows.", "It reads JSON, JSON lines, CSV, TSV, Parquet."
        )
    return Container(packing="table", encoding=encoding, table=look)


class Rows:
    """The rows of a file, one after the other. `share` says how much of it has been read."""

    def __init__(self, path: Path, container: Container, columns: frozenset[str] | None = None) -> None:
        """`columns` are those of a Parquet file to unpack, all if None; rows of text have all of theirs."""
        self._path = path
        self._container = container
        self._columns = columns
        self._size = max(1, path.stat().st_size)
        self.share = 0.0

    def __iter__(self) -> Generator[Row, None, None]:
        if self._container.packing == "parquet":
            yield from self._parquet()
            return
        with self._path.open("rb") as file:
            file.seek(self._container.start)
            with closing(_opened(file, self._container)) as rows:
                for number, row in enumerate(rows):
                    if number % 200 == 0:
                        self.share = min(1.0, file.tell() / self._size)
                    yield row
        self.share = 1.0

    def _parquet(self) -> Generator[Row, None, None]:
        for row, share in parquet_rows(self._path, self._columns):
            self.share = share
            yield row


def sample(path: Path, container: Container) -> list[dict[str, Any]]:
    """The first rows that can be read. A thousand that cannot are enough."""
    with closing(iter(Rows(path, container))) as rows:
        return list(islice((row.values for row in islice(rows, 1000) if not row.problem), SAMPLE))


def _opened(file: BinaryIO, container: Container) -> Generator[Row, None, None]:
    if container.table:
        return table_rows(file, container.encoding, container.table)
    if container.packing == "columns":
        return column_rows(file, container.encoding)
    if container.packing == "lines":
        return json_lines(file, container.encoding)
    shape = container.shape
    return json_values(file, container.encoding, shape.lists_whole, shape.wrapped, shape.skipped)
