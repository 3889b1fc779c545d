"""Text made after a pattern: `%`, `format`, `tojson`, `strftime`. How long it can become is known before it is made."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import date as Date
from typing import Any

from jinja2.exceptions import SecurityError

from chatlab.template.sandbox.meter import Meter

WIDEST = 40
"""Characters of an indent or a separator."""
LONGEST_DATE = 100
"""Characters of a date's format."""
NUMBER = 400
"""Characters that a number may take, written out in full."""
ESCAPED = 12
"""Characters that one may become in JSON or in a list's text: two `\\uXXXX`."""
_PERCENT = re.compile(r"[^%]|%%|%(?:\(\w*\))?[-+ #]*[sdirfFeEgGxXoc]")
_BRACES = re.compile(r"[^{}]|\{\{|\}\}|\{\w*(?:\.\w+|\[\w+\])*\}")
_DATE = re.compile(r"[^%]|%[-_]?[a-zA-Z%]")


def check_percent(meter: Meter, text: str, values: Any) -> None:
    """Before `text % values`: only plain fields, no widths, and room for what they become."""
    if not _made_of(_PERCENT, text):
        raise SecurityError("it formats to a width")
    _check_fields(meter, text, text.count("%"), values)


def check_braces(meter: Meter, text: str, values: Any) -> bool:
    """Before `text.format(...)`. False for a text with more than plain fields: widths, conversions, further fields."""
    if not _made_of(_BRACES, text):
        return False
    _check_fields(meter, text, text.count("{"), values)
    return True


def tojson(
    meter: Meter,
    value: Any,
    ensure_ascii: bool = False,
    indent: int | str | None = None,
    separators: Any = None,
    sort_keys: bool = False,
) -> str:
    """JSON without Jinja's HTML escapes, as models are trained."""
    width = _width(indent)
    signs = max((len(sign) for sign in _separators(separators)), default=2)
    meter.fits(_json_size(meter, value, width, signs))
    return json.dumps(
        value, ensure_ascii=bool(ensure_ascii), indent=indent, separators=separators, sort_keys=bool(sort_keys)
    )


def strftime(meter: Meter, date: Date, pattern: Any) -> str:
    if not isinstance(pattern, str) or len(pattern) > LONGEST_DATE or not _made_of(_DATE, pattern):
        raise SecurityError("it formats a date beyond reason")
    meter.check_time()
    return date.strftime(pattern)


def _made_of(part: re.Pattern[str], text: str) -> bool:
    """Whether nothing is left of a text once the parts are taken away."""
    return not part.sub("", text)


def _check_fields(meter: Meter, text: str, fields: int, values: Any) -> None:
    """Check the cost as if every field were filled with the longest of the values."""
    given = list(values.values()) if isinstance(values, Mapping) else values
    each = given if isinstance(given, tuple | list) else [given]
    longest = max((_written(meter, one) for one in each), default=0)
    meter.fits(len(text) + fields * longest)
    meter.size(values)


def _written(meter: Meter, value: Any) -> int:
    """An upper bound of the characters that a value has when it is written."""
    if isinstance(value, str):
        return len(value)
    return NUMBER if isinstance(value, int | float) else ESCAPED * meter.size(value)


def _width(indent: Any) -> int:
    if indent is None or isinstance(indent, bool):
        return 1
    width = indent if isinstance(indent, int) else len(indent) if isinstance(indent, str) else WIDEST + 1
    if width > WIDEST:
        raise SecurityError("it indents beyond reason")
    return max(0, width)


def _separators(separators: Any) -> tuple[str, ...]:
    if separators is None:
        return ()
    if not isinstance(separators, list | tuple) or not all(isinstance(s, str) and len(s) <= WIDEST for s in separators):
        raise SecurityError("it separates beyond reason")
    return tuple(separators)


def _json_size(meter: Meter, value: Any, width: int, signs: int) -> int:
    """An upper bound of the value's characters in JSON, escapes aside, which make no more than twelve of one."""
    size, waiting = meter.size(value), [(value, 1)]
    lines = 0
    while waiting:
        one, depth = waiting.pop()
        if isinstance(one, Mapping):
            lines += (len(one) + 1) * (depth * width + 2 * signs)
            waiting += [(item, depth + 1) for item in one.values()]
        elif isinstance(one, list | tuple):
            lines += (len(one) + 1) * (depth * width + signs)
            waiting += [(item, depth + 1) for item in one]
        if lines > size:
            meter.fits(size + lines)
    return size + lines
