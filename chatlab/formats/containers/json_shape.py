"""How objects stand in a file of JSON: one a line, in lists, one after the other, or in lists that an object wraps."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal

import orjson

from chatlab.formats.containers.json_rows import Pieces
from chatlab.formats.containers.table import plain
from chatlab.formats.conversations.turns import is_turns
from chatlab.formats.guess import by_name
from chatlab.formats.layout import KNOWN, TESTING, TURNS
from chatlab.formats.own_fields import OWN

_LIST = re.compile(r'"([^"\\]{1,60})"\s*:\s*\[\s*\{')


@dataclass(frozen=True, slots=True, kw_only=True)
class JsonShape:
    """How to take a file of JSON apart."""

    packing: Literal["lines", "list", "objects"] = "lines"
    lists_whole: bool = False
    """Whether a list is a conversation, not a list of rows."""
    wrapped: bool = False
    """Whether rows stand in the lists of an object."""
    skipped: frozenset[str] = frozenset()
    """Names of lists in it that are not read, in lower case."""


def json_shape(text: str, whole: bool) -> JsonShape | None:
    """`text` is the file's beginning, all of it if `whole`; None for what is no JSON."""
    if re.match(r"\[\s*[^\[\]{\s]", text):
        return None
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    if not whole and len(lines) > 1:
        lines.pop()
    values = [_loaded(line) for line in lines[:20] if not line.startswith(("//", "#"))]
    rows = [value for value in values if isinstance(value, dict) or is_turns(value)]
    if len(lines) > 1 and 2 * len(rows) >= len(values) and (text[0] == "{" or is_turns(values[0])):
        wrapped = len(rows) == len(values) and all(map(_wraps, rows))
        return JsonShape(packing="list", wrapped=True, skipped=TESTING) if wrapped else JsonShape(packing="lines")
    first = _first(text)
    if text.startswith("["):
        return JsonShape(packing="list", lists_whole=is_turns([first]) and not _is_of_many(first))
    if (whole and first is None and len(lines) > 1 and lines[0].endswith("}")) or (len(lines) == 1 and first is None):
        return (
            JsonShape(packing="lines") if len(lines) == 1 and not _LIST.search(text) else JsonShape(packing="objects")
        )
    lists = _lists(text, first)
    if not lists:
        return JsonShape(packing="lines" if len(lines) == 1 and isinstance(values[0], dict) else "objects")
    others = [name for name in lists if name.casefold() not in TESTING]
    skipped = TESTING if others else frozenset()
    if lists[:1] == ["features"] and ("rows" in lists or '"rows"' in text):
        skipped |= {"features"}  # of an answer of a server of data sets
    return JsonShape(packing="list", wrapped=True, skipped=skipped)


def _lists(text: str, first: Any) -> list[str]:
    """Names of the lists of rows in the first object; none where the object is a row itself."""
    if not isinstance(first, dict):
        name, element = _LIST.search(text), None
        if name is not None:
            element = _first(text[name.end() - 1 :])
        known = name is None or element is None or is_turns([element]) or _is_row_name(text)
        return [] if known or name is None else [name[1]]
    lists = [name for name, value in first.items() if isinstance(value, list) and _has_objects(value)]
    is_row = OWN in first or any(is_turns(value) for value in first.values())
    return [] if is_row or (len(first) > 2 and "instances" in map(str.casefold, lists)) else lists


def _wraps(value: Any) -> bool:
    """Whether an object of one line is no row, but holds rows: it has lists of them, which are called like no turns."""
    lists = _lists("", value) if isinstance(value, dict) else []
    elements = [value[name][0] for name in lists if plain(name) not in TURNS]
    return bool(elements) and all({"prompt", "answer"} <= by_name("answer", list(one)).keys() for one in elements)


def _is_row_name(text: str) -> bool:
    name = re.match(r'\{\s*"([^"\\]*)"\s*:\s*[^\[\s]', text)
    return name is not None and name[1] in KNOWN


def _has_objects(value: list[Any]) -> bool:
    return bool(value) and all(isinstance(one, dict) for one in value)


def _is_of_many(turn: Any) -> bool:
    """Whether a turn says which conversation it belongs to, so that a list of such is more than one."""
    return any(name.endswith("_id") and name != "tool_call_id" for name in turn)


def _first(text: str) -> Any:
    """The first object; None where it does not end here or is none."""
    raw = next(iter(Pieces([text.encode("utf-8", "surrogatepass")])), b"")
    return _loaded(raw)


def _loaded(raw: str | bytes) -> Any:
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError:
        return None
