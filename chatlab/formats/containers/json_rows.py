"""Rows of JSON: one object a line, a list of objects, or objects one after the other; never the whole file at once."""

from __future__ import annotations

import json
import re
from collections.abc import Generator, Iterable, Iterator
from typing import Any, BinaryIO

import orjson

from chatlab.errors import RowRefused
from chatlab.formats.containers.text import utf8_lines, utf8_pieces
from chatlab.formats.row import LONGEST, MEBIBYTE, Row

TOO_LONG = f"It is longer than {LONGEST // MEBIBYTE} MB."
_NAMED = re.compile(rb'"\s*:')
_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[\[\]{},"]', re.DOTALL)
_OPENING, _CLOSING = frozenset(b"[{"), frozenset(b"]}")
_KINDS = {list: "a list", str: "a text", int: "a number", float: "a number", bool: "true or false", type(None): "null"}


def json_lines(file: BinaryIO, encoding: str) -> Generator[Row, None, None]:
    """One row a line; empty lines are passed over."""
    for number, line in enumerate(utf8_lines(file, encoding), 1):
        if line is None:
            yield Row(number, {}, TOO_LONG)
        elif not line.isspace():
            yield json_row(number, line)


def json_values(file: BinaryIO, encoding: str, in_list: bool) -> Generator[Row, None, None]:
    """The objects of a list, or those that stand one after the other. `file` is at the list's bracket."""
    pieces = Pieces(utf8_pieces(file, encoding), in_list)
    for number, raw in enumerate(pieces, 1):
        yield json_row(number, raw)
    if pieces.problem:
        yield Row(pieces.count + 1, {}, pieces.problem)


def json_row(number: int, raw: bytes) -> Row:
    try:
        return Row(number, parsed(raw))
    except RowRefused as error:
        return Row(number, {}, str(error))


def parsed(raw: bytes) -> dict[str, Any]:
    """One object. NaN and infinity are taken for nothing. Raises RowRefused, also for a name that comes twice."""
    try:
        value = orjson.loads(raw)
        if type(value) is dict and len(_NAMED.findall(raw)) == _names(value):
            return value
    except orjson.JSONDecodeError:
        pass
    value = _slowly(raw)
    if not isinstance(value, dict):
        raise RowRefused(f"It is {_KINDS.get(type(value), 'not an object')}, not an object with named values.")
    return value


def _names(value: Any) -> int:
    """How many names all objects in `value` have, without recursion."""
    found, waiting = 0, [value]
    while waiting:
        item = waiting.pop()
        if type(item) is dict:
            found += len(item)
            item = item.values()
        waiting += [inner for inner in item if type(inner) is dict or type(inner) is list]
    return found


def _slowly(raw: bytes) -> Any:
    """What the fast parser refuses or cannot vouch for, with a reason where it is refused."""
    try:
        return json.loads(raw.decode("utf-8", "surrogatepass"), object_pairs_hook=_once, parse_constant=lambda _: None)
    except RecursionError as error:
        raise RowRefused("It is nested too deeply.") from error
    except UnicodeDecodeError as error:
        raise RowRefused(f"Byte {error.start + 1} of it is not UTF-8.") from error
    except json.JSONDecodeError as error:
        raise RowRefused(f"It is not JSON: {error.msg} at character {error.pos + 1}.") from error
    except ValueError as error:  # a number of too many digits
        raise RowRefused(f"It is not JSON that can be read: {error}.") from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    named = dict(pairs)
    if len(named) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise RowRefused(f"The name {twice!r} comes twice, and only one of its values could be kept.")
    return named


class Pieces:
    """The bytes of each value in a stream, told apart by brackets alone, so that one bad value spoils no other."""

    def __init__(self, pieces: Iterable[bytes], in_list: bool) -> None:
        self._pieces = iter(pieces)
        self._floor = 1 if in_list else 0
        self._data = b""
        self._start = self._at = self._depth = 0
        self.count = 0
        self.problem = ""
        """Why the rest of the file was not read; empty when all was."""

    def __iter__(self) -> Iterator[bytes]:
        for value in self._values():
            if value.strip():
                self.count += 1
                yield value

    def _values(self) -> Iterator[bytes]:
        while not self.problem:
            token = _TOKEN.search(self._data, self._at)
            if token is None or token[0] == b'"':
                self._at = len(self._data) if token is None else token.start()
                if not self._more():
                    break
                continue
            self._at = token.end()
            yield from self._meet(token[0][0], token.start())
            if self._floor and not self._depth:
                return
        yield from self._end()

    def _meet(self, mark: int, place: int) -> Iterator[bytes]:
        """One bracket, comma or whole string; the value that it ends, if it ends one."""
        if mark in _OPENING:
            self._depth += 1
            if self._floor and self._depth == 1:
                self._start = place + 1
        elif mark in _CLOSING:
            self._depth -= 1
            if self._depth < self._floor:
                yield self._cut(place)
            elif self._depth == 0:
                yield self._cut(place + 1)
        elif mark == ord(",") and self._depth == self._floor:
            yield self._cut(place)

    def _cut(self, end: int) -> bytes:
        value = self._data[self._start : end]
        self._start = self._at
        return value

    def _more(self) -> bool:
        """Read on, and let go of what was handed out."""
        if len(self._data) - self._start > LONGEST:
            self.problem = f"{TOO_LONG} The rest of the file was not read."
            return False
        piece = next(self._pieces, b"")
        self._data, self._at = self._data[self._start :] + piece, self._at - self._start
        self._start = 0
        return bool(piece)

    def _end(self) -> Iterator[bytes]:
        if self._floor and not self.problem:
            self.problem = "The file breaks off in the middle of its list."
        elif not self.problem:
            yield self._data[self._start :]
