"""Tables with a turn, or an exchange, in each row: rows of one conversation are put together, in order.

Rows may stand in any order. At most `HELD` characters wait to be put together; what comes later than that for a
conversation that was let go is left out, and named.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from chatlab.errors import RowRefused
from chatlab.formats.conversations.opened import opened
from chatlab.formats.conversations.trees import is_sound, turns_of_tree
from chatlab.formats.conversations.turns import ROLES, SAID, WHO
from chatlab.formats.layout import Columns
from chatlab.formats.row import MEBIBYTE, Row

Values = dict[str, Any]
HELD = 64 * MEBIBYTE
_CALLS = ("tool_calls", "function_call")
LINE = "line"
"""Where a turn stood, beside its own fields."""
_CLOSED = "It goes on with conversation {!r}, whose other rows stand far before it. Sort the rows by conversation."
_NO_KEY = "It does not say which conversation it belongs to."
_NO_PARENT = "The message that it answers, {!r}, is not in the file, or far from it."
_OTHER_PATH = "It is on another path through its conversation: of several replies to a message the best is taken."


def spoken_by(value: Any) -> str:
    """The role of who speaks; empty for what is none."""
    return ROLES.get(value.strip().casefold(), "") if isinstance(value, str) else ""


def conversations(rows: Iterable[Row], columns: Columns) -> Iterator[Row]:
    """A row for each conversation, under `turns`, where its first turn stood; those left out with the reason."""
    of = columns.of
    put_together = _tree_rows if "parent" in of and "id" in of else _rows_in_turn
    waiting: dict[str, list[Values]] = defaultdict(list)
    closed: set[str] = set()
    held = 0
    for row in rows:
        key = _key(row.values.get(of["conversation"])) if "conversation" in of else "all"
        if row.problem or not key or (key in closed and "conversation" in of):
            yield row if row.problem else Row(row.line, {}, _CLOSED.format(key) if key else _NO_KEY)
            continue
        waiting[key].append({**row.values, LINE: row.line})
        held += 200 + sum(len(value) for value in row.values.values() if isinstance(value, str))
        while held > HELD:
            oldest = next(iter(waiting))
            held -= sum(200 + sum(len(v) for v in one.values() if isinstance(v, str)) for one in waiting[oldest])
            closed.add(oldest)
            yield from put_together(waiting.pop(oldest), columns)
    for turns in waiting.values():
        yield from put_together(turns, columns)


def _rows_in_turn(rows: Sequence[Values], columns: Columns) -> Iterator[Row]:
    """Turns by their number; those without one as they stand."""
    first = min(row[LINE] for row in rows)
    try:
        turns = [turn for row in _in_order(rows, columns.of.get("turn", "")) for turn in _turns(row, columns)]
    except RowRefused as error:
        yield Row(first, {}, str(error))
        return
    yield Row(first, {"turns": turns})


def _in_order(rows: Sequence[Values], column: str) -> Sequence[Values]:
    """Raises RowRefused where a turn is missing, so that an answer would follow what it does not answer."""
    numbers = [number_of(row.get(column)) for row in rows]
    known = sorted({number for number in numbers if number is not None})
    if not known or None in numbers:
        return rows
    steps = [after - before for before, after in pairwise(known)]
    if known[0] in (0, 1) and 1 in steps and max(steps) > 1:
        gap = next(before for before, step in zip(known, steps, strict=False) if step > 1)
        raise RowRefused(f"Its turn {gap + 1:g} is missing.")
    order = sorted(range(len(rows)), key=lambda place: (numbers[place], not _asks(rows[place])))
    return [rows[place] for place in order]


def _asks(row: Values) -> bool:
    return any(spoken_by(row.get(name)) in ("user", "system") for name in row if name in WHO)


def _turns(row: Values, columns: Columns) -> list[Values]:
    of = columns.of
    left = {name: value for name, value in row.items() if name not in (*WHO, *SAID, *of.values())}
    left |= {name: opened(left[name]) for name in _CALLS if name in left}
    if columns.layout == "exchanges":
        asked, answered = row.get(of["prompt"]), row.get(of["answer"])
        return [{"role": "user", "text": asked}, {"role": "assistant", "text": answered, **left}]
    return [{"role": row.get(of["role"]), "text": row.get(of["text"]), **left}]


def _tree_rows(rows: Sequence[Values], columns: Columns) -> Iterator[Row]:
    """A row for each first message, with the best path from it; each message that is on none is named."""
    of = columns.of
    nodes: dict[str, Values] = {}
    for row in rows:
        (turn,) = _turns(row, columns)
        key = _key(row.get(of["id"]))
        if not key or key in nodes:
            yield Row(row[LINE], {}, f"Its id, {key!r}, comes twice." if key else "It has no id.")
            continue
        nodes[key] = {**turn, "text": turn["text"] if isinstance(turn["text"], str) else "", "replies": []}
    parents = {key: _key(row.get(of["parent"])) for row in rows if (key := _key(row.get(of["id"]))) in nodes}
    roots = [key for key in nodes if parents[key] in ("", key)]
    for key, parent in parents.items():
        if parent in nodes and parent != key:
            nodes[parent]["replies"].append(nodes[key])
    taken: set[int] = set()
    for key in roots:
        path = turns_of_tree(nodes[key])
        taken.update(map(id, path))
        yield Row(nodes[key][LINE], {"turns": path})
    for key, node in nodes.items():
        if id(node) not in taken:
            yield Row(node[LINE], {}, _why_not_taken(node, parents[key], nodes))


def _why_not_taken(node: Values, parent: str, nodes: Mapping[str, Values]) -> str:
    if parent not in nodes:
        return _NO_PARENT.format(parent)
    if not is_sound(node):
        return "It was deleted, or reviewers refused it."
    if spoken_by(node["role"]) == "user" and not node["replies"]:
        return "Nobody answers it."
    return _OTHER_PATH


def _key(value: Any) -> str:
    """An id as it is compared; empty for none."""
    text = "" if value is None or value != value else str(value).strip()
    return "" if text.casefold() in ("none", "null", "nan") else text.removesuffix(".0")


def number_of(value: Any) -> float | None:
    """The number of a turn, also as a table has it; None for none."""
    try:
        return None if isinstance(value, bool) else float(str(value).strip())
    except ValueError:
        return None
