"""Chatlab's own fields of a record, in a row under one name that other programs pass over.

A row that has them came from Chatlab, and comes back exactly as it was: source, status, dates, who wrote it, who
approved it, whatever fields its dataclass has.
"""

from __future__ import annotations

import types
from collections.abc import Callable
from dataclasses import MISSING, fields, is_dataclass, replace
from functools import cache
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import orjson

from chatlab.errors import RowRefused
from chatlab.formats.row import Record
from chatlab.former_names import with_current_names

OWN = "chatlab"
WORDS = frozenset({"messages", "prompt", "chosen", "rejected"})
"""What every format has a place for."""

R = TypeVar("R", bound=Record)
Check = Callable[[Any], Any]
"""Turns plain data into a field's value. Raises ValueError."""


def own_fields(record: Record) -> dict[str, Any]:
    """All but the words, as plain data. Every field is there, so that all rows of a file are alike."""
    return {f.name: _plain(getattr(record, f.name)) for f in fields(record) if f.name not in WORDS}


def with_own_fields(record: R, given: Any) -> R:
    """The record with the fields that `given` has, which may be JSON in a cell. Raises RowRefused for a wrong one."""
    if isinstance(given, str):
        try:
            given = orjson.loads(given)
        except orjson.JSONDecodeError as error:
            raise RowRefused(f"What stands under {OWN!r} is not JSON.") from error
    if not isinstance(given, dict):
        raise RowRefused(f"What stands under {OWN!r} is not a set of named values.")
    kind: Any = type(record)
    checks, given = _checks(kind), with_current_names(kind, given)
    return replace(record, **{name: _checked(name, checks[name], given[name]) for name in checks if name in given})


def _checked(name: str, check: Check, value: Any) -> Any:
    try:
        return check(value)
    except (ValueError, TypeError) as error:
        raise RowRefused(f"Its {name!r} cannot be {value!r}.") from error


@cache
def _checks(kind: Any) -> dict[str, Check]:
    hints = get_type_hints(kind)
    return {f.name: _check(hints[f.name]) for f in fields(kind) if f.name not in WORDS}


def _check(kind: Any) -> Check:
    """The check for an annotation: texts, numbers, one of some words, tuples, dataclasses, or None."""
    origin, inner = get_origin(kind), get_args(kind)
    if is_dataclass(kind):
        return _dataclass(kind)
    if origin in (Union, types.UnionType):
        checks = [_check(one) for one in inner if one is not type(None)]
        return lambda value: None if value is None else checks[0](value)
    if origin is Literal:
        return lambda value: _holding(value, value in inner)
    if origin is tuple:
        return _tuple(inner)
    if kind is float:
        return lambda value: float(_holding(value, type(value) in (int, float)))
    return lambda value: _holding(value, type(value) is kind)


def _tuple(inner: tuple[Any, ...]) -> Check:
    if inner[1:] == (...,):
        each = _check(inner[0])
        return lambda value: tuple(each(item) for item in _holding(value, isinstance(value, list)))
    checks = [_check(one) for one in inner]
    return lambda value: tuple(check(item) for check, item in zip(checks, value, strict=True))


def _dataclass(kind: Any) -> Check:
    hints = get_type_hints(kind)
    checks = {f.name: _check(hints[f.name]) for f in fields(kind)}
    needed = {f.name for f in fields(kind) if f.default is MISSING and f.default_factory is MISSING}

    def check(value: Any) -> Any:
        value = with_current_names(kind, _holding(value, isinstance(value, dict)))
        _holding(value, needed <= set(value))
        return kind(**{name: checks[name](item) for name, item in value.items() if name in checks})

    return check


def _holding(value: Any, holds: bool) -> Any:
    if not holds:
        raise ValueError(value)
    return value


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: _plain(getattr(value, f.name)) for f in fields(value)}
    return value
