"""Parquet unpacked in a process of its own, and handed over as JSON lines.

    python -m chatlab.formats.containers.parquet_worker FILE

The library that reads Parquet is native code. A damaged file can end its process, and a few kilobytes can unpack to
more than any memory holds; here neither reaches the app. The first line says what the file is, or why it is refused;
then comes one line a row. Columns are named on standard input, as a JSON list; null asks for all.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from chatlab.formats.row import LONGEST, MEBIBYTE
from chatlab.system.processes.limits import limit_cpu_time, limit_memory

if TYPE_CHECKING:
    import pyarrow
    import pyarrow.parquet

GROUP = 512 * MEBIBYTE
"""Unpacked bytes of one row group, by the file's own account."""
ROWS = 20_000_000
MEMORY = 4096 * MEBIBYTE
"""Address space of this process, where the system keeps to such a limit."""
SECONDS = 60
"""Processor time for each handful of rows. The library can be made to go round for ever; then this process ends."""
HANDFUL = 32 * MEBIBYTE
_DESCRIPTION = 16 * MEBIBYTE


def main() -> None:
    os.environ["ARROW_DEFAULT_MEMORY_POOL"] = "system"
    limit_memory(MEMORY)
    limit_cpu_time(SECONDS)
    path, columns = Path(sys.argv[1]), orjson.loads(sys.stdin.buffer.read())
    for line in unpacked(path, columns):
        sys.stdout.buffer.write(orjson.dumps(line, default=_kind, option=orjson.OPT_APPEND_NEWLINE))


def unpacked(path: Path, columns: list[str] | None) -> Iterator[Any]:
    """What the file is, then each row's values, or a text that says why a row has none."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    limits = {"thrift_string_size_limit": _DESCRIPTION, "thrift_container_size_limit": _DESCRIPTION}
    try:
        with pq.ParquetFile(path, memory_map=False, **limits) as file:
            names, metadata = file.schema_arrow.names, file.metadata
            yield {"rows": metadata.num_rows, "refused": _too_large(metadata)}
            yield from _rows(file, names if columns is None else [name for name in names if name in set(columns)])
    except (pa.ArrowException, OSError, ValueError, MemoryError) as error:
        yield {"refused": f"It is damaged: {(str(error).splitlines() or ['out of memory'])[0][:200].rstrip('.')}."}


def _rows(file: pyarrow.parquet.ParquetFile, columns: list[str]) -> Iterator[Any]:
    for group in range(file.metadata.num_row_groups):
        size = _handful(file.metadata.row_group(group))
        for batch in file.iter_batches(size, row_groups=[group], columns=columns, use_threads=False):
            yield from _values(batch)
            limit_cpu_time(SECONDS)


def _values(batch: pyarrow.RecordBatch) -> list[Any]:
    try:
        return batch.to_pylist() if batch.nbytes <= LONGEST else [_value(batch, n) for n in range(batch.num_rows)]
    except UnicodeDecodeError:
        return [_value(batch, n) for n in range(batch.num_rows)]


def _value(batch: pyarrow.RecordBatch, number: int) -> Any:
    row = batch.slice(number, 1)
    if row.get_total_buffer_size() > LONGEST and row.nbytes > LONGEST:
        return f"It is longer than {LONGEST // MEBIBYTE} MB."
    try:
        return row.to_pylist()[0]
    except UnicodeDecodeError:
        return "It has bytes that are not UTF-8."


def _handful(metadata: pyarrow.parquet.RowGroupMetaData) -> int:
    """How many rows to take at a time. A value may be as large as its whole column, and stand in every row."""
    largest = max((metadata.column(n).total_uncompressed_size for n in range(metadata.num_columns)), default=1)
    return max(4, min(1024, HANDFUL // max(1, largest)))


def _too_large(metadata: pyarrow.parquet.FileMetaData) -> str:
    largest = max((metadata.row_group(group).total_byte_size for group in range(metadata.num_row_groups)), default=0)
    if metadata.num_rows <= ROWS and largest <= GROUP:
        return ""
    size = f"{metadata.num_rows:,} rows, row groups of up to {largest // MEBIBYTE:,} MB"
    return f"It would unpack to more than can be read: {size}."


def _kind(value: Any) -> str | None:
    """What JSON has no word for: nothing that anybody said."""
    return None if isinstance(value, bytes) else str(value)


if __name__ == "__main__":
    main()
