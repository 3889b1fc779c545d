"""Records to a file that others read: whole under its name, or not there."""

from __future__ import annotations

import contextlib
import csv
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, TextIO

import orjson

from chatlab.errors import ChatlabError, DiskFull, FormatRefused, RowRefused
from chatlab.formats.containers.cells import escape_cell
from chatlab.formats.containers.parquet import ParquetFile
from chatlab.formats.kinds import Format
from chatlab.formats.row import Record
from chatlab.system.files import DISK_FULL, replacing

Values = dict[str, Any]
Put = Callable[[Values], None]
"""Writes one row."""


@dataclass(slots=True)
class WriteResult:
    """What became of the records."""

    path: Path
    records: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    """Reason -> how many records the format could not hold for it."""
    dropped_reasoning: int = 0
    """Messages whose reasoning the format has no place for, in records that are written."""


def write(path: Path, records: Iterable[Record], format: Format, own: bool = True) -> WriteResult:
    """All records that the format can hold. Raises DiskFull or FormatRefused, and then `path` is as it was.

    With `own`, Chatlab's own fields stand beside the words, under a name that others pass over.
    """
    written = WriteResult(path)
    with _as_chatlab_error(path), replacing(path) as partial, _PACKED[format.packed](partial, format) as put:
        for record in records:
            try:
                rows = format.rows(record, own)
            except RowRefused as error:
                written.left_out[str(error)] += 1
                continue
            for row in rows:
                put(row)
            written.records += 1
            written.dropped_reasoning += format.dropped_reasoning(record)
    return written


@contextlib.contextmanager
def _lines(path: Path, format: Format) -> Iterator[Put]:
    with path.open("wb") as file:
        yield lambda row: _write_bytes(file, orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))


@contextlib.contextmanager
def _list(path: Path, format: Format) -> Iterator[Put]:
    with path.open("wb") as file:
        before = [b"[\n"]

        def put(row: Values) -> None:
            _write_bytes(file, before[0] + orjson.dumps(row))
            before[0] = b",\n"

        yield put
        _write_bytes(file, b"\n]\n" if before[0] == b",\n" else b"[]\n")


@contextlib.contextmanager
def _table(path: Path, format: Format) -> Iterator[Put]:
    """UTF-8 with a byte order mark, without which Excel reads another encoding."""
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        yield _rows_into(file, "\t" if format.name == "tsv" else ",")


def _rows_into(file: TextIO, delimiter: str) -> Put:
    writer = csv.writer(file, delimiter=delimiter, lineterminator="\r\n")
    begun = False

    def put(row: Values) -> None:
        nonlocal begun
        if not begun:
            writer.writerow(row)
            begun = True
        writer.writerow(map(escape_cell, row.values()))

    return put


@contextlib.contextmanager
def _parquet(path: Path, format: Format) -> Iterator[Put]:
    """The columns are those of the first row."""
    files: list[ParquetFile] = []

    def put(row: Values) -> None:
        if not files:
            files.append(ParquetFile(path, row))
        files[0].write(row)

    try:
        yield put
        if not files:
            files.append(ParquetFile(path, {"messages": []}))
    finally:
        for file in files:
            file.close()


_PACKED = {"lines": _lines, "list": _list, "table": _table, "parquet": _parquet}


def _write_bytes(file: BinaryIO, data: bytes) -> None:
    file.write(data)


@contextlib.contextmanager
def _as_chatlab_error(path: Path) -> Iterator[None]:
    try:
        yield
    except ChatlabError:
        raise
    except OSError as error:
        if error.errno in DISK_FULL:
            raise DiskFull(f"There is no room for {path.name}.", "Free some space and try again.") from error
        raise FormatRefused(f"{path.name} cannot be written: {error.strerror}.", "Choose another folder.") from error
