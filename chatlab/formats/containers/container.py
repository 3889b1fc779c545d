"""How rows are packed into a file, told from its first bytes; its name says nothing."""

from __future__ import annotations

import re
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, Literal

import orjson

from chatlab.errors import FormatRefused
from chatlab.formats.containers.json_rows import json_lines, json_values
from chatlab.formats.containers.parquet import parquet_rows
from chatlab.formats.containers.table import TableLook, table_look, table_rows
from chatlab.formats.containers.text import HEAD, decoded, encoding_of, head_of
from chatlab.formats.layout import KNOWN
from chatlab.formats.own_fields import OWN
from chatlab.formats.row import Row

Packing = Literal["lines", "list", "objects", "table", "parquet"]
_LABELS: dict[Packing, str] = {
    "lines": "JSON lines",
    "list": "a JSON list",
    "objects": "JSON objects",
    "table": "a table",
    "parquet": "Parquet",
}
_WRAPPED = re.compile(r'\{\s*"[^"\\]{1,60}"\s*:\s*\[\s*\{')
SAMPLE = 50
"""Rows that are looked at to tell what columns there are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """How to take a file apart."""

    packing: Packing
    encoding: str = "utf-8"
    start: int = 0
    """Byte at which the list begins, where it is wrapped in an object."""
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
    if packing := _json(text):
        encoding = "utf-8" if encoding == "cp1252" else encoding  # JSON is never in it: such bytes are damage
        start = _list_at(text, encoding) if packing == "list" else 0
        return Container(packing=packing, encoding=encoding, start=start)
    look = table_look(text, KNOWN, whole)
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
    if container.packing == "lines":
        return json_lines(file, container.encoding)
    return json_values(file, container.encoding, in_list=container.packing == "list")


def _json(text: str) -> Packing | None:
    """A list, one object a line, or objects over several lines each; None for what is no JSON."""
    text = text.lstrip()
    if re.match(r"\[\s*[{\]]", text):
        return "list"
    if not text.startswith("{"):
        return None
    first = text.split("\n", 1)[0].strip()
    if _WRAPPED.match(text) and not _is_row(first):
        return "list"
    return "lines" if first.endswith("}") or len(first) > 20 else "objects"


def _is_row(line: str) -> bool:
    """Whether a line is a row of its own, and not a list in its wrapping."""
    name = re.match(r'\{\s*"([^"\\]*)"', line)
    if name is None or name[1] in KNOWN or name[1] == OWN:
        return name is not None
    try:
        return len(orjson.loads(line)) > 1
    except orjson.JSONDecodeError:
        return False


def _list_at(text: str, encoding: str) -> int:
    """The byte where the list's bracket stands; 0 where that is where the search begins anyway."""
    before = text[: text.index("[")]
    return len(before.encode(encoding)) if before.strip() and encoding.startswith("utf-8") else 0
