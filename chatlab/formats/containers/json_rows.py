"""Rows of JSON: one object a line, a list of objects, or objects one after the other; never the whole file at once."""

from __future__ import annotations

import json
import re
from collections.abc import Generator, Iterable, Iterator
from typing import Any, BinaryIO

import orjson

from chatlab.errors import RowRefused
from chatlab.formats.containers.text import utf8_lines, utf8_pieces
from chatlab.formats.conversations.turns import is_turns
from chatlab.formats.layout import TESTING
from chatlab.formats.row import LONGEST, MEBIBYTE, Row

TOO_LONG = f"It is longer than {LONGEST // MEBIBYTE} MB."
_NAMED = re.compile(rb'"\s*:')
_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[\[\]{},"]', re.DOTALL)
_WRAPPING = frozenset(["row_idx", "row", "truncated_cells"])
_OPENING, _CLOSING = frozenset(b"[{"), frozenset(b"]}")
_KINDS = {list: "a list", str: "a text", int: "a number", float: "a number", bool: "true or false", type(None): "null"}


def json_lines(file: BinaryIO, encoding: str) -> Generator[Row, None, None]:
    """One row a line; empty lines are passed over."""
    for number, line in enumerate(utf8_lines(file, encoding), 1):
        if line is None:
            yield Row(number, {}, TOO_LONG)
        elif not line.isspace():
            yield json_row(number, line)


def json_values(
    file: BinaryIO, encoding: str, lists_whole: bool = False, wrapped: bool = False, skipped: Iterable[str] = ()
) -> Generator[Row, None, None]:
    """Objects that stand in lists or one after the other, as `Pieces` takes them apart."""
    pieces = Pieces(utf8_pieces(file, encoding), lists_whole, wrapped, frozenset(skipped))
    for number, raw in enumerate(pieces, 1):
        yield Row(number, {}, raw) if isinstance(raw, str) else json_row(number, raw)
    if pieces.problem:
        yield Row(pieces.count + 1, {}, pieces.problem)


def json_row(number: int, raw: bytes) -> Row:
    if raw.lstrip().startswith((b"//", b"#")):
        return Row(number, {}, "It is a comment, and no row.")
    try:
        return Row(number, _unwrapped(parsed(raw)))
    except RowRefused as error:
        return Row(number, {}, str(error))


def _unwrapped(value: dict[str, Any]) -> dict[str, Any]:
    """A row without what a server of data sets wraps it in: `{"row_idx": 0, "row": {...}, "truncated_cells": []}`."""
    row = value.get("row")
    return row if isinstance(row, dict) and value.keys() <= _WRAPPING else value


def parsed(raw: bytes) -> dict[str, Any]:
    """One object; a list of turns stands for one. NaN and infinity are taken for nothing.

    Raises RowRefused, also for a name that comes twice.
    """
    value: Any
    raw = raw.lstrip().removeprefix(b"\xef\xbb\xbf")  # of a file that was joined to another
    try:
        value = orjson.loads(raw)
        if type(value) is dict and len(_NAMED.findall(raw)) == _names(value):
            return value
    except orjson.JSONDecodeError:
        pass
    value = _slowly(raw)
    if is_turns(value):
        return {"turns": value}
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
    """The bytes of each value in a stream, told apart by brackets alone, so that one bad value spoils no other.

    A stream is any number of values one after the other. Of a list its elements are given, unless `lists_whole`; of an
    object in which rows are `wrapped` those of its lists, less the lists called as in `skipped`, which are told of.
    """

    def __init__(
        self,
        pieces: Iterable[bytes],
        lists_whole: bool = False,
        wrapped: bool = False,
        skipped: frozenset[str] = frozenset(),
    ) -> None:
        self._pieces = iter(pieces)
        self._lists_whole, self._wrapped, self._skipped = lists_whole, wrapped, skipped
        self._data = b""
        self._start = self._at = self._depth = 0
        self._floor = 0
        """Depth at which values are cut."""
        self._in_wrapping = False
        self._name = b""
        """The text that was met last in the wrapping: the name of the list that comes."""
        self._passed_over = 0
        """Elements of the list at hand that are not read."""
        self.count = 0
        self.problem = ""
        """Why the rest of the file was not read; empty when all was."""

    def __iter__(self) -> Iterator[bytes | str]:
        """Values, or in words what was left out."""
        for value in self._values():
            if value.strip():
                self.count += 1
                yield value

    def _values(self) -> Iterator[bytes | str]:
        while not self.problem:
            token = _TOKEN.search(self._data, self._at)
            if token is None or token[0] == b'"':
                self._at = len(self._data) if token is None else token.start()
                if not self._more():
                    break
                continue
            self._at = token.end()
            yield from self._meet(token[0], token.start())
        yield from self._end()

    def _meet(self, token: bytes, place: int) -> Iterator[bytes | str]:
        """One bracket, comma or whole string; the value that it ends, if it ends one."""
        mark = token[0]
        if mark in _OPENING:
            self._open(mark, place)
        elif mark in _CLOSING:
            self._depth -= 1
            yield from self._close(place)
        elif mark == ord(",") and self._depth == self._floor:
            yield self._cut(place)
        elif self._in_wrapping and self._depth == 1 and mark == ord('"'):
            self._name = token[1:-1]
        if self._in_wrapping and self._floor != 2:
            self._start = self._at

    def _open(self, mark: int, place: int) -> None:
        self._depth += 1
        if self._depth == 1:
            self._in_wrapping = mark == ord("{") and self._wrapped
            if mark == ord("[") and not self._lists_whole:
                self._floor, self._start = 1, place + 1
        elif self._in_wrapping and self._depth == 2 and mark == ord("["):
            self._passed_over = 0
            if self._name.decode("utf-8", "replace").casefold() not in self._skipped:
                self._floor, self._start = 2, place + 1
        elif self._in_wrapping and self._depth == 3 and self._floor != 2 and mark == ord("{"):
            self._passed_over += 1

    def _close(self, place: int) -> Iterator[bytes | str]:
        if self._in_wrapping:
            if self._depth == 1 and self._floor == 2:
                yield self._cut(place)
                self._floor = 0
            elif self._depth == 1 and self._passed_over:
                name, count = self._name.decode("utf-8", "replace"), self._passed_over
                why = "it is kept for testing" if name.casefold() in TESTING else "it tells of the columns"
                yield f"{name!r}, a list of {count:,}, was not read: {why}."
                self._passed_over = 0
            elif self._depth <= 0:
                self._in_wrapping, self._depth, self._start = False, 0, self._at
        elif self._floor and self._depth < self._floor:
            yield self._cut(place)
            self._floor = 0
        elif self._depth <= 0:
            self._depth = 0
            yield self._cut(place + 1)

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
        if (self._floor or self._in_wrapping) and not self.problem:
            self.problem = f"The file breaks off in the middle of its {'list' if self._floor else 'object'}."
        elif not self.problem:
            yield self._data[self._start :]
