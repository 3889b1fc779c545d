"""Layouts in which a conversation takes several rows, or a row has several answers, told by what columns hold."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

from chatlab.formats.containers.table import plain
from chatlab.formats.conversations.turn_rows import number_of, spoken_by
from chatlab.formats.guess import by_name, twins
from chatlab.formats.layout import Columns, layout
from chatlab.formats.ranked import holds_ranked
from chatlab.formats.verdicts import mark_of

Values = dict[str, Any]


def turns(names: Sequence[str], rows: Sequence[Values]) -> Columns | None:
    """A turn in each row: who speaks, what is said, and which conversation or message it belongs to."""
    found = by_name("turns", names)
    if not {"role", "text"} <= found.keys() or {"prompt", "answer"} <= by_name("answer", names).keys():
        return None
    found["role"] = max(
        (name for name in names if plain(name) in _names_of("role")), key=lambda name: _share_of_roles(name, rows)
    )
    if _share_of_roles(found["role"], rows) < 0.8 or not _are_scalars(found["text"], rows):
        return None
    if "parent" not in found:
        found.pop("id", None)
    if "conversation" in found and not _are_scalars(found["conversation"], rows):
        del found["conversation"]
    if "turn" in found and not _are_numbers(found["turn"], rows):
        del found["turn"]
    return Columns(layout="turns", of=found)


def exchanges(names: Sequence[str], rows: Sequence[Values]) -> Columns | None:
    """A prompt and its answer in each row, where several rows of the sample are turns of one conversation."""
    found = by_name("exchanges", names)
    if len(found) < len(layout("exchanges").parts) or not _are_numbers(found["turn"], rows) or twins(names, rows):
        return None
    seen: dict[str, Counter[str]] = defaultdict(Counter)
    for row in rows:
        seen[str(row.get(found["conversation"]))][str(row.get(found["turn"]))] += 1
    several = any(len(numbers) > 1 for numbers in seen.values())
    once = all(max(numbers.values()) == 1 for numbers in seen.values())
    return Columns(layout="exchanges", of=found) if several and once else None


def ranked(names: Sequence[str], rows: Sequence[Values]) -> Columns | None:
    """Several answers to a prompt, each with a mark, or with marks in a column of their own."""
    prompt = by_name("ranked", names).get("prompt")
    if prompt is None:
        return None
    for column in names:
        if column != prompt and any(holds_ranked(row.get(column)) for row in rows):
            return Columns(layout="ranked", of={"prompt": prompt, "answers": column, **_system(names)})
    answers = next((n for n in names if plain(n) in _names_of("answers", "ranked") and _are_lists(n, rows)), None)
    if answers is None:
        return None
    marks = next((n for n in names if plain(n) in _names_of("marks", "ranked") and _are_marks(n, answers, rows)), None)
    of = {"prompt": prompt, "answers": answers, **_system(names)}
    return Columns(layout="ranked", of=of | {"marks": marks}) if marks else None


def has_several_answers(names: Sequence[str], rows: Sequence[Values]) -> bool:
    """Whether a column is called as several answers are, and holds lists of them."""
    return any(plain(name) in _names_of("answers", "ranked") and _are_lists(name, rows) for name in names)


def _names_of(part: str, name: Any = "turns") -> tuple[str, ...]:
    return next(one.names for one in layout(name).parts if one.name == part)


def _system(names: Sequence[str]) -> dict[str, str]:
    return {part: name for part, name in by_name("ranked", names).items() if part == "system"}


def _share_of_roles(name: str, rows: Sequence[Values]) -> float:
    """Of the values in a column, how many say who speaks; none where only one side does."""
    values = [row[name] for row in rows if row.get(name) not in (None, "")]
    roles = [role for value in values if (role := spoken_by(value))]
    return len(roles) / len(values) if {"user", "assistant"} <= set(roles) or len(values) == 1 else 0.0


def _are_scalars(name: str, rows: Sequence[Values]) -> bool:
    return not any(isinstance(row.get(name), list | dict) for row in rows)


def _are_numbers(name: str, rows: Sequence[Values]) -> bool:
    return all(number_of(row.get(name)) is not None for row in rows)


def _are_lists(name: str, rows: Sequence[Values]) -> bool:
    """Whether a column holds lists of texts."""
    values = [row[name] for row in rows if row.get(name)]
    return bool(values) and all(isinstance(v, list) and all(isinstance(one, str) for one in v) for v in values)


def _are_marks(name: str, answers: str, rows: Sequence[Values]) -> bool:
    pairs = [(row[name], row[answers]) for row in rows if row.get(answers) and row.get(name)]
    return bool(pairs) and all(
        isinstance(marks, list)
        and len(marks) == len(texts)
        and all(mark is None or mark_of(mark) is not None for mark in marks)
        for marks, texts in pairs
    )
