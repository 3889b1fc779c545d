"""The filters and tests that a chat template may use, each with the cost of what it does known before it is done."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import wraps
from operator import contains, eq, ge, gt, le, lt, ne
from typing import TYPE_CHECKING, Any

import jinja2
from jinja2 import filters
from jinja2.exceptions import SecurityError

from chatlab.template.sandbox.formatting import WIDEST, check_percent, tojson
from chatlab.template.sandbox.meter import ELEMENT, Meter, check_number

if TYPE_CHECKING:
    from chatlab.template.sandbox.environment import Environment

AS_THEY_ARE = "d default first items length count last map reject rejectattr select selectattr"
"""Filters that make nothing, or only as it is asked for."""
TEXT = "capitalize e escape lower safe string title upper"
ORDERED = "max min sort unique"
GROWS = 6
"""Characters that one becomes at most in a text filter: `&#34;`."""
LONGEST_NUMBER = 64
"""Characters of a text that is read as a number."""
COMPARED: dict[str, Callable[[Any, Any], Any]] = {
    "eq": eq,
    "==": eq,
    "equalto": eq,
    "ne": ne,
    "!=": ne,
    "lt": lt,
    "<": lt,
    "lessthan": lt,
    "le": le,
    "<=": le,
    "gt": gt,
    ">": gt,
    "greaterthan": gt,
    "ge": ge,
    ">=": ge,
}
TESTS = (
    "boolean callable defined escaped false float integer iterable mapping none number sameas sequence string true "
    "undefined"
)
"""Tests that look at nothing but the kind of a value."""


class Filters:
    """Those of one environment, whose meter they spend."""

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        known: dict[str, Any] = dict(environment.filters)
        # A template may name a filter that it never uses, so the others are refused when they are.
        self.filters: dict[str, Any] = {name: _refuser(name) for name in known}
        self.filters |= {name: known[name] for name in AS_THEY_ARE.split()}
        self.filters |= {name: self._on_text(known[name]) for name in TEXT.split()}
        self.filters |= {name: self._ordering(known[name]) for name in ORDERED.split()}
        self.filters |= {
            "abs": self.absolute,
            "dictsort": self.dict_sorted,
            "float": self.real,
            "format": self.formatted,
            "indent": self.indented,
            "int": self.whole,
            "join": self.joined,
            "list": self.listed,
            "replace": self.replaced,
            "reverse": self.turned,
            "tojson": self.as_json,
            "trim": self.trimmed,
        }
        self.tests: dict[str, Any] = {name: _refuser(name) for name in environment.tests}
        self.tests |= {name: environment.tests[name] for name in TESTS.split()}
        self.tests |= {name: self._comparing(compare) for name, compare in COMPARED.items()}
        self.tests |= {"in": self.within, "lower": self._is_lower, "upper": self._is_upper}
        self.tests |= {"divisibleby": self._divisible, "odd": self._odd, "even": self._even}
        self.tests |= {"filter": self._is_filter, "test": self._is_test}

    @property
    def _meter(self) -> Meter:
        return self._environment.meter

    def compare(self, operator: str, left: Any, right: Any) -> Any:
        """A comparison, paid for. `operator` is Jinja's name for it."""
        if operator in ("in", "notin"):
            return self.within(left, right) is (operator == "in")
        return self._comparing(COMPARED[{"lteq": "le", "gteq": "ge"}.get(operator, operator)])(left, right)

    def within(self, value: Any, values: Any) -> bool:
        self._meter.size(value)
        if isinstance(values, Iterator):
            return any(value is one or value == one for one in self._meter.taken(values))
        self._meter.size(values)
        self._meter.spend(1)
        return contains(values, value)

    def absolute(self, value: Any) -> Any:
        _check_numbers(value)
        return abs(value)

    def whole(self, value: Any, default: Any = 0, base: int = 10) -> Any:
        self._check_number_text(value)
        number = filters.do_int(value, default, base)
        check_number(number)
        return number

    def real(self, value: Any, default: Any = 0.0) -> Any:
        self._check_number_text(value)
        return filters.do_float(value, default)

    def trimmed(self, value: Any, chars: str | None = None) -> str:
        text = self._text(value)
        if chars is not None:
            self._meter.multiply(len(text), len(chars))
        return str(self._meter.weigh(text.strip(chars)))

    def turned(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._meter.weigh(value[::-1])
        return reversed(value if isinstance(value, list | tuple | range) else self.listed(value))

    def listed(self, value: Any) -> list[Any]:
        if isinstance(value, str):
            self._meter.spend(ELEMENT * len(value))
        return list(self._meter.taken(value))

    def dict_sorted(
        self, value: Mapping[Any, Any], case_sensitive: bool = False, by: str = "key", reverse: bool = False
    ) -> Any:
        self._check_sort(value)
        by = "value" if by == "value" else "key"
        return self._meter.weigh(filters.do_dictsort(value, bool(case_sensitive), by, bool(reverse)))  # type: ignore[arg-type]

    def replaced(self, text: Any, old: Any, new: Any, count: Any = None) -> str:
        text, old, new = self._text(text), self._text(old), self._text(new)
        times = text.count(old) if count is None or count < 0 else min(text.count(old), count)
        self._meter.spend(self._meter.fits(len(text) + times * len(new)))
        return str(text.replace(old, new, -1 if count is None else count))

    def joined(self, values: Any, between: Any = "", attribute: str | int | None = None) -> str:
        found = self.listed(values)
        if attribute is not None:
            found = [self._attribute(value, attribute) for value in found]
        joint = self._text(between)
        self._meter.fits(sum(self._meter.size(value) for value in found) + len(joint) * len(found))
        return str(self._meter.weigh(joint.join(str(value) for value in found)))

    def indented(self, text: Any, width: int | str = 4, first: bool = False, blank: bool = False) -> str:
        text = self._text(text)
        if not isinstance(width, str) and width > WIDEST:
            raise SecurityError("it indents beyond reason")
        prefix = self._text(width) if isinstance(width, str) else " " * width
        self._meter.fits(len(text) + (len(prefix) + 1) * (len(text.splitlines()) + 1))
        return str(self._meter.weigh(filters.do_indent(text, prefix, bool(first), bool(blank))))

    def formatted(self, text: Any, *args: Any, **kwargs: Any) -> Any:
        if args and kwargs:
            raise SecurityError("it formats by place and by name at once")
        return self.remainder(self._text(text), kwargs or args)

    def remainder(self, left: Any, right: Any) -> Any:
        if isinstance(left, str):
            check_percent(self._meter, left, right)
        else:
            _check_numbers(left, right)
        return self._meter.weigh(left % right)

    def as_json(self, value: Any, *args: Any, **kwargs: Any) -> Any:
        return self._meter.weigh(tojson(self._meter, value, *args, **kwargs))

    def _attribute(self, value: Any, attribute: str | int) -> Any:
        for part in str(attribute).split(".") if isinstance(attribute, str) else [attribute]:
            value = self._environment.getitem(value, int(part) if isinstance(part, str) and part.isdigit() else part)
        return value

    def _text(self, value: Any) -> str:
        self._meter.spend(1)
        self._meter.size(value)
        return str(value)

    def _check_number_text(self, value: Any) -> None:
        if isinstance(value, str) and len(value) > LONGEST_NUMBER:
            raise SecurityError("it reads a number beyond reason")

    def _check_sort(self, value: Any) -> None:
        size = self._meter.size(value)
        self._meter.multiply(size, max(1, int(math.log2(len(value) + 2))))

    def _on_text(self, function: Callable[..., Any]) -> Callable[[Any], Any]:
        @wraps(function)
        def on_text(value: Any) -> Any:
            return self._meter.weigh(function(value if isinstance(value, str) else self._text(value)))

        return on_text

    def _ordering(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """A filter that compares all elements with each other."""

        @wraps(function)
        def ordering(environment: Any, value: Iterable[Any], *args: Any, **kwargs: Any) -> Any:
            values = self.listed(value)
            self._check_sort(values)
            found = function(environment, values, *args, **kwargs)
            if isinstance(found, list | Iterator):  # taken one by one: where hashes collide, each costs as all before
                return self.listed(found)
            return found

        return ordering

    def _comparing(self, compare: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
        def comparing(left: Any, right: Any) -> Any:
            self._meter.size(left)
            self._meter.size(right)
            self._meter.spend(1)
            return compare(left, right)

        return comparing

    def _is_lower(self, value: Any) -> bool:
        return self._text(value).islower()

    def _is_upper(self, value: Any) -> bool:
        return self._text(value).isupper()

    def _divisible(self, value: Any, number: Any) -> bool:
        _check_numbers(value, number)
        return bool(value % number == 0)

    def _odd(self, value: Any) -> bool:
        _check_numbers(value)
        return bool(value % 2 == 1)

    def _even(self, value: Any) -> bool:
        _check_numbers(value)
        return bool(value % 2 == 0)

    def _is_filter(self, name: Any) -> bool:
        return name in self.filters

    def _is_test(self, name: Any) -> bool:
        return name in self.tests


def _check_numbers(*values: Any) -> None:
    """An undefined value raises an error of its own when it is computed with."""
    for value in values:
        if not isinstance(value, int | float | jinja2.Undefined):
            raise SecurityError("it computes with what is no number")
        check_number(value)


def _refuser(name: str) -> Callable[..., Any]:
    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise SecurityError(f"it uses {name}, which a chat template has no need of")

    return refuse
