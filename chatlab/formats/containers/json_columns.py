"""JSON that holds a table by its columns or by the names of its rows, as pandas and datasets write one.

Such a file is one object, and is read whole; a larger one is refused as a row that is too long.
"""

from __future__ import annotations

import io
import re
from collections.abc import Generator, Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from chatlab.errors import RowRefused
from chatlab.formats.containers.json_rows import parsed
from chatlab.formats.containers.table import plain
from chatlab.formats.containers.text import utf8_pieces
from chatlab.formats.conversations.content import shows_media
from chatlab.formats.conversations.trees import is_mapping, is_tree
from chatlab.formats.conversations.turns import SAID, WHO, is_exchange, is_turns
from chatlab.formats.layout import KNOWN, TESTING, TURNS
from chatlab.formats.row import MEBIBYTE, Row

Values = dict[str, Any]
LARGEST = 64 * MEBIBYTE
"""Bytes of a file that is read whole."""
_HINT = re.compile(r'\{\s*"(?:[^"\\]|\\.)*"\s*:\s*[\[{]')
_SPLIT = frozenset(["columns", "data", "index", "index_names", "column_names"])
"""Names in an object as pandas splits a table."""
_IN_A_TURN = frozenset([*WHO, *SAID, "name", "type"])


def holds_columns(path: Path, head: str, encoding: str) -> bool:
    """Whether a file that begins with `head` is such a table."""
    if not _HINT.match(head) or path.stat().st_size > LARGEST:
        return False
    first, _, rest = head.partition("\n")
    if rest.lstrip().startswith("{") and first.rstrip().endswith("}"):  # a row on each line
        return False
    with path.open("rb") as file:
        value = _whole(file, encoding)
    return value is not None and table_of(value) is not None


def column_rows(file: BinaryIO, encoding: str) -> Generator[Row, None, None]:
    """The rows of such a table, from 1; a text in place of one says what was left out."""
    rows: Iterable[Values | str] = table_of(_whole(file, encoding) or {}) or ()
    for number, row in enumerate(rows, 1):
        yield Row(number, {}, row) if isinstance(row, str) else Row(number, row)


def table_of(value: Values) -> list[Values | str] | None:
    """The rows of an object that holds a table; None where it is a row, or holds lists of rows."""
    if {"columns", "data"} <= value.keys() <= _SPLIT:
        return _split(value["columns"], value["data"])
    inner = list(value.values())
    if not inner or is_mapping(value) or is_tree(value):
        return None
    if all(isinstance(one, list) for one in inner):
        return _columns(value)
    if not all(isinstance(one, dict) for one in inner):
        return None
    return _splits(value) or _named_cells(value) or _named_rows(value)


def _whole(file: BinaryIO, encoding: str) -> Values | None:
    raw = b"".join(utf8_pieces(io.BytesIO(file.read()), encoding)).removeprefix(b"\xef\xbb\xbf")
    try:
        return parsed(raw)
    except RowRefused:
        return None


def _split(names: Any, data: Any) -> list[Values | str] | None:
    if not isinstance(names, list) or not isinstance(data, list) or not all(isinstance(row, list) for row in data):
        return None
    wrong = f"It has another number of cells than there are columns, {len(names)}."
    return [dict(zip(map(str, names), row, strict=True)) if len(row) == len(names) else wrong for row in data]


def _columns(value: Mapping[str, list[Any]]) -> list[Values | str] | None:
    """`{"prompt": ["...", "..."], "response": ["...", "..."]}`."""
    turns = [is_turns(cells) for cells in value.values()]
    if all(turns) and len(turns) > 1 and not any(plain(name) in KNOWN for name in value):
        return [{"messages": cells} for cells in value.values()]  # conversations by their names
    told = [cells for name, cells in value.items() if plain(name) in KNOWN]
    spoken = any(is_exchange(c) and _are_texts(c) for name, c in value.items() if plain(name) in (*TURNS, "data"))
    if any(turns) or spoken or not any(_are_texts(cells) or _are_conversations(cells) for cells in told):
        return None
    lengths = {name: len(cells) for name, cells in value.items()}
    if len(set(lengths.values())) > 1:
        counts = ", ".join(f"{name!r} {length:,}" for name, length in list(lengths.items())[:6])
        return [
            f"Its columns have different numbers of rows ({counts}), so that it is not known what belongs together."
        ]
    return [dict(zip(value, row, strict=True)) for row in zip(*value.values(), strict=True)]


def _are_texts(cells: list[Any]) -> bool:
    return any(isinstance(one, str) for one in cells) and all(isinstance(one, str | None) for one in cells)


def _are_conversations(cells: list[Any]) -> bool:
    return bool(cells) and all(is_turns(one) for one in cells)


def _splits(value: Mapping[str, Values]) -> list[Values | str] | None:
    """The same in `train` and `test`, as a dictionary of data sets is written."""
    found = {name: _columns(one) if _are_lists(one) else _named_cells(one) for name, one in value.items()}
    if not all(found.values()):
        return None
    learned = [name for name in found if name.casefold() not in TESTING] or list(found)
    rows = [row for name in learned for row in found[name] or ()]
    left = [(name, len(found[name] or ())) for name in found if name not in learned]
    return rows + [f"{name!r}, a table of {count:,}, was not read: it is kept for testing." for name, count in left]


def _are_lists(one: Values) -> bool:
    return all(isinstance(cells, list) for cells in one.values())


def _named_cells(value: Mapping[str, Any]) -> list[Values | str] | None:
    """`{"prompt": {"0": "...", "1": "..."}, "response": {...}}`: columns of cells by the names of their rows."""
    cells = [one for one in value.values() if isinstance(one, dict)]
    names = list(dict.fromkeys(name for one in cells for name in one))
    numbered = bool(names) and all(name.isdecimal() for name in names)
    if len(cells) < len(value) or not names or not any(plain(name) in KNOWN for name in value):
        return None
    if not numbered and any(plain(name) in KNOWN | _IN_A_TURN or shows_media(name) for name in names):
        return None
    return [{column: one.get(name) for column, one in value.items()} for name in names]


def _named_rows(value: Mapping[str, Values]) -> list[Values | str] | None:
    """`{"0": {"prompt": "...", "response": "..."}, "1": {...}}`: rows by their names."""
    if any(plain(name) in KNOWN for name in value) or not all(_is_row(one) for one in value.values()):
        return None
    return list(value.values())


def _is_row(value: Values) -> bool:
    known = [one for name, one in value.items() if plain(name) in KNOWN]
    return any(isinstance(one, str) for one in known) or any(map(is_turns, known))
