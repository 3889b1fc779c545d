"""Parquet, through pyarrow: what the field's data sets come in."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import orjson

from chatlab.errors import FormatRefused
from chatlab.formats.conversations.reasoning import FIELD
from chatlab.formats.own_fields import OWN
from chatlab.formats.row import Row
from chatlab.system.processes.child import Child

_CUT = "The file cannot be read on from here: it is damaged, or its rows are too long."


def parquet_rows(path: Path, columns: Iterable[str] | None = None) -> Iterator[tuple[Row, float]]:
    """Each with the share of the file that is read by then. Only these columns are unpacked; all if None.

    Raises FormatRefused before the first row for what is damaged or too large.
    """
    with _unpacking(path, columns) as (rows, lines):
        number = 0
        for line in lines:
            if not line.endswith(b"\n"):  # the process was ended in the middle of it
                break
            number += 1
            row = _row(number, orjson.loads(line))
            yield row, number / max(1, rows)
            if row.problem == _CUT:
                return
        if number < rows:
            yield Row(number + 1, {}, _CUT), 1.0


def _row(number: int, value: Any) -> Row:
    if isinstance(value, str):
        return Row(number, {}, value)
    return Row(number, {}, _CUT) if value.keys() == {"refused"} else Row(number, value)


@contextmanager
def _unpacking(path: Path, columns: Iterable[str] | None) -> Iterator[tuple[int, IO[bytes]]]:
    """How many rows there are, and their lines. The process that reads them ends with this block."""
    process = Child("chatlab.formats.containers.parquet_worker", path)
    try:
        process.send(None if columns is None else list(columns), last=True)
        header: dict[str, Any] = process.receive() or {"refused": "It is damaged."}
        if why := header["refused"]:
            raise FormatRefused(f"{path.name} cannot be read as Parquet. {why}", "Save it again, or in parts.")
        assert process.stdout
        yield int(header["rows"]), process.stdout
    finally:
        process.end()


class ParquetFile:
    """A Parquet file that is being written, a thousand rows at a time."""

    def __init__(self, path: Path, first: dict[str, Any]) -> None:
        """Its columns are those of the `first` row."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        turns = pa.list_(pa.struct([(name, pa.string()) for name in ("role", "content", FIELD)]))
        kinds = {"tags": pa.list_(pa.string()), OWN: pa.string()}
        self._schema = pa.schema([(name, kinds.get(name, turns)) for name in first])
        self._writer = pq.ParquetWriter(path, self._schema, compression="zstd")
        self._waiting: list[dict[str, Any]] = []

    def write(self, row: dict[str, Any]) -> None:
        self._waiting.append(row)
        if len(self._waiting) >= 1000:
            self._flush()

    def close(self) -> None:
        self._flush()
        self._writer.close()

    def _flush(self) -> None:
        import pyarrow as pa

        if self._waiting:
            self._writer.write_table(pa.Table.from_pylist(self._waiting, self._schema))
            self._waiting = []
