"""Frozen dataclasses to plain documents and back, from their annotations alone.

A field left at None, "" or () is not written: such a default never changes its meaning. What a newer version wrote
is read as far as this one knows it: unknown fields are passed over, unknown words of a Literal kept. A dataclass with
a method `check` has it called both ways, for what annotations cannot say.
"""

from __future__ import annotations

import math
import types
from collections.abc import Callable
from dataclasses import MISSING, Field, fields, is_dataclass
from functools import cache
from reprlib import Repr
from typing import Any, Literal, Protocol, TypeVar, Union, get_args, get_origin, get_type_hints, runtime_checkable

from chatlab.errors import InputError
from chatlab.former_names import FORMER, with_current_names

T = TypeVar("T")
Document = dict[str, Any]
"""A dataclass in its plain form: what JSON holds."""
Way = Callable[[Any], Any]
"""Turns one value, to or from its plain form. Raises ValueError or TypeError."""

EMPTY: tuple[object, ...] = (None, "", ())

_SHORT = Repr()
_SHORT.maxstring = _SHORT.maxother = 60
"""What is wrong may be of any size; an error quotes the beginning."""


@runtime_checkable
class Checked(Protocol):
    """A dataclass whose fields must fit each other."""

    def check(self) -> None:
        """Raises ValueError."""
        ...


def to_document(value: Any) -> Document:
    """Raises InputError for what the value's own annotations do not allow, NaN and infinity included."""
    kind: Any = type(value)
    try:
        document: Document = _writer(kind)(value)
    except (ValueError, TypeError, AttributeError) as error:
        raise InputError(f"This {kind.__name__} cannot be kept: {error}.") from error
    return document


def from_document(kind: type[T], document: Document) -> T:
    """Raises ValueError if `document` lacks something that `kind` must have."""
    own: Any = kind
    try:
        value: T = _reader(own)(document)
    except (TypeError, AttributeError, KeyError) as error:
        raise ValueError(f"not a {kind.__name__}: {error}") from error
    return value


def read_as(kind: type[T], value: Any) -> T:
    """Plain data as a value of `kind`, which may be made of list[X] and dict[str, X] too. Raises ValueError."""
    own: Any = kind
    try:
        read: T = _reader(own)(value)
    except (TypeError, AttributeError, KeyError) as error:
        raise ValueError(str(error)) from error
    return read


def known_fields(kind: type[Any]) -> frozenset[str]:
    """What `to_document` may write for a value of this kind, and what it wrote in earlier versions."""
    return frozenset(field.name for field in fields(kind)) | FORMER.get(kind.__name__, {}).keys()


def renamed(kind: Any, value: Any) -> Any:
    """What was written for `kind`, its fields at every depth under the names of today; other shapes as they are."""
    way = _renamer(kind)
    return value if way is None else way(value)


def well_formed(value: Any) -> Any:
    """Plain data with each half of a broken character replaced by U+FFFD, which JSON and disks can hold."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, dict):
        return {well_formed(key): well_formed(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [well_formed(item) for item in value]
    return value


@cache
def _writer(kind: Any) -> Way:
    """How a value annotated as `kind` is written."""
    if is_dataclass(kind):
        return _dataclass_writer(kind)
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return _optional(_writer(_not_none(inner)))
    if origin is Literal:
        return _checked(lambda value: value in inner, f"one of {', '.join(map(repr, inner))}")
    if origin is tuple:
        return _tuple_writer(inner)
    if kind is float:
        return _checked(_is_finite, "a finite number")
    return _exactly(kind)


@cache
def _reader(kind: Any) -> Way:
    """How what was written for `kind` is read."""
    if kind is Any:
        return lambda value: value
    if is_dataclass(kind):
        return _dataclass_reader(kind)
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return _optional(_reader(_not_none(inner)))
    if origin is Literal:
        return _exactly(str)
    if origin is tuple:
        return _tuple_reader(inner)
    if origin is list:
        way = _reader(inner[0])
        return lambda value: [way(item) for item in _a_list(value)]
    if origin is dict:
        way = _reader(inner[1])
        return lambda value: {key: way(item) for key, item in _exactly(dict)(value).items()}
    return _finite if kind is float else _exactly(kind)


@cache
def _renamer(kind: Any) -> Way | None:
    """None where nothing within ever had another name."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return _renamer(_not_none(inner))
    if origin is tuple and inner[1:] == (...,) and (way := _renamer(inner[0])):
        return lambda value: [way(item) for item in value] if isinstance(value, list) else value
    if not (isinstance(kind, type) and is_dataclass(kind)):
        return None
    hints = get_type_hints(kind)
    ways = {field.name: way for field in fields(kind) if (way := _renamer(hints[field.name]))}
    if not ways and kind.__name__ not in FORMER:
        return None

    def rename(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        current = with_current_names(kind, value)
        return {name: ways[name](item) if name in ways else item for name, item in current.items()}

    return rename


def _dataclass_writer(kind: Any) -> Way:
    hints = get_type_hints(kind)
    ways = [(field.name, _writer(hints[field.name]), _left_out(field)) for field in fields(kind)]
    check = _check_of(kind)

    def write(value: Any) -> Document:
        if type(value) is not kind:
            raise TypeError(f"{_SHORT.repr(value)} is not a {kind.__name__}")
        document: Document = {}
        for name, way, left_out in ways:
            item = getattr(value, name)
            if item not in left_out:
                document[name] = _named(name, way, item)
        check(value)
        return document

    return write


def _dataclass_reader(kind: Any) -> Way:
    hints = get_type_hints(kind)
    ways = {field.name: _reader(hints[field.name]) for field in fields(kind)}
    check = _check_of(kind)

    def read(document: Document) -> Any:
        current = with_current_names(kind, document)
        value = kind(**{name: ways[name](item) for name, item in current.items() if name in ways})
        check(value)
        return value

    return read


def _check_of(kind: Any) -> Callable[[Any], None]:
    return kind.check if issubclass(kind, Checked) else lambda value: None


def _left_out(field: Field[Any]) -> tuple[object, ...]:
    """Values that are not written: the empty ones where that is what is read for them, and the default of a field that
    is marked as `rare`.
    """
    if field.metadata.get("rare"):
        return (field.default,)
    return EMPTY if field.default is not MISSING and field.default in EMPTY else ()


def _named(name: str, way: Way, item: Any) -> Any:
    try:
        return way(item)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{name}: {error}") from error


def _not_none(inner: tuple[Any, ...]) -> Any:
    """`X` of `X | None`, the only union that records use."""
    (kind,) = (one for one in inner if one is not type(None))
    return kind


def _optional(way: Way) -> Way:
    return lambda value: None if value is None else way(value)


def _checked(holds: Callable[[Any], bool], wanted: str) -> Way:
    def check(value: Any) -> Any:
        if not holds(value):
            raise ValueError(f"{_SHORT.repr(value)} is not {wanted}")
        return value

    return check


def _exactly(kind: Any) -> Way:
    def check(value: Any) -> Any:
        if type(value) is kind:
            return value
        raise ValueError(f"{_SHORT.repr(value)} is not a value of type {kind.__name__}")

    return check


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _finite(value: Any) -> float:
    if not _is_finite(value):
        raise ValueError(f"{_SHORT.repr(value)} is not a finite number")
    return float(value)


def _tuple_writer(inner: tuple[Any, ...]) -> Way:
    if inner[1:] == (...,):
        way = _writer(inner[0])
        return lambda value: [way(item) for item in _a_tuple(value)]
    ways = [_writer(kind) for kind in inner]
    return lambda value: [way(item) for way, item in zip(ways, _a_tuple(value), strict=True)]


def _tuple_reader(inner: tuple[Any, ...]) -> Way:
    if inner[1:] == (...,):
        way = _reader(inner[0])
        return lambda value: tuple([way(item) for item in _a_list(value)])
    ways = [_reader(kind) for kind in inner]
    return lambda value: tuple([way(item) for way, item in zip(ways, _a_list(value), strict=True)])


def _a_tuple(value: Any) -> tuple[Any, ...]:
    if not isinstance(value, tuple | list):
        raise TypeError(f"{_SHORT.repr(value)} is not a tuple")
    return tuple(value)


def _a_list(value: Any) -> list[Any]:
    """Neither a text nor a dict, which can be walked through as well."""
    if not isinstance(value, list):
        raise TypeError(f"{_SHORT.repr(value)} is not a list")
    return value
