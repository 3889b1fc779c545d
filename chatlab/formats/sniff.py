"""What a file seems to be: how it is packed, what its rows mean, and which column plays which part."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from chatlab.errors import FormatRefused
from chatlab.formats.containers.container import Container, Rows, container_of, sample
from chatlab.formats.containers.table import named, numbered, plain
from chatlab.formats.layout import Columns, LayoutName, Part, layout
from chatlab.formats.own_fields import OWN
from chatlab.formats.turns import is_transcript, is_turns, spelling

Values = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """What was found, for a person to agree with or to change."""

    container: Container
    columns: Columns
    names: tuple[str, ...]
    """Names of all columns, in the file's order."""
    title: str
    """What people call such a file."""
    sure: bool
    """False where the columns were only guessed."""
    own: bool = False
    """Whether Chatlab wrote it."""

    @property
    def unused(self) -> tuple[str, ...]:
        """Columns that no part was given to."""
        taken = {*self.columns.of.values(), OWN}
        return tuple(name for name in self.names if name not in taken)


def sniff(path: Path) -> Proposal:
    """Raises FormatRefused for what is no data set."""
    return _proposal(path, container_of(path))


def with_header(path: Path, proposal: Proposal, header: bool) -> Proposal:
    """The same table, its first line taken for names or for a row. Raises FormatRefused where no row is left."""
    look = proposal.container.table
    if look is None or look.header == header:
        return proposal
    container = replace(proposal.container, table=numbered(look))
    if header:
        first = next((row.values for row in Rows(path, container) if not row.problem), {})
        container = replace(container, table=named(look, list(map(str, first.values()))))
    return _proposal(path, container)


def _proposal(path: Path, container: Container) -> Proposal:
    rows = sample(path, container)
    names = container.table.columns if container.table else _names(rows)
    if not rows or not names:
        raise FormatRefused(
            f"{path.name} has no row that can be read.",
            "Each should be an object with named values, or a line of cells.",
        )
    columns = _columns(names, rows)
    guessed = columns or proposed(_usual_layout(rows), names)
    return Proposal(
        container=container,
        columns=guessed,
        names=names,
        title=f"{_title(guessed, rows)}, {container.label}",
        sure=columns is not None,
        own=any(row.get(OWN) for row in rows),
    )


def proposed(name: LayoutName, names: Sequence[str]) -> Columns:
    """Columns for a layout that a person chose: those that are called so, then, where one must be given, the next."""
    found = _by_name(name, names)
    left = [column for column in names if column not in found.values() and column != OWN]
    for part in layout(name).parts:
        if part.needed and part.name not in found and left:
            found[part.name] = left.pop(0)
    return Columns(layout=name, of=found)


def _columns(names: Sequence[str], rows: Sequence[Values]) -> Columns | None:
    """The first layout that the rows bear out; None if there is none."""
    tries = (_preference, _tasks, _thumb, _conversation, _answer)
    return next((found for attempt in tries if (found := attempt(names, rows)) is not None), None)


def _preference(names: Sequence[str], rows: Sequence[Values]) -> Columns | None:
    found = _by_name("preference", names)
    return Columns(layout="preference", of=found) if {"chosen", "rejected"} <= found.keys() else None


def _tasks(names: Sequence[str], rows: Sequence[Values]) -> Columns | None:
    found = _by_name("tasks", names)
    whole = len(found) > 1 and {"prompt", "instances"} <= found.keys()
    return Columns(layout="tasks", of=found) if whole and _all(rows, found["instances"], list) else None


def _thumb(names: Sequence[str], rows: Sequence[Values]) -> Columns | None:
    found = _by_name("thumb", names)
    if not {"prompt", "answer", "liked"} <= found.keys():
        return None
    labels = {str(row.get(found["liked"])).strip().casefold() for row in rows}
    return Columns(layout="thumb", of=found) if labels <= {"true", "false", "1", "0", "yes", "no", "none", ""} else None


def _conversation(names: Sequence[str], rows: Sequence[Values]) -> Columns | None:
    """A column of turns, whatever it is called."""
    found = _by_name("conversation", names)
    holding = [name for name in names if any(is_turns(row.get(name)) or is_transcript(row.get(name)) for row in rows)]
    if not holding or _answers_apart(names):
        return None
    turns = found.get("turns")
    return Columns(layout="conversation", of=found | {"turns": turns if turns in holding else holding[0]})


def _answers_apart(names: Sequence[str]) -> bool:
    """Prompt and completion may be lists of turns too, and then neither is the whole conversation."""
    return {"prompt", "answer"} <= _by_name("answer", names).keys()


def _answer(names: Sequence[str], rows: Sequence[Values]) -> Columns | None:
    found = _by_name("answer", names)
    return Columns(layout="answer", of=found) if {"prompt", "answer"} <= found.keys() else None


def _usual_layout(rows: Sequence[Values]) -> LayoutName:
    return "conversation" if any(is_turns(value) for row in rows for value in row.values()) else "answer"


def _by_name(name: LayoutName, names: Sequence[str]) -> dict[str, str]:
    """Part -> the column that is called so. No column plays two parts."""
    found: dict[str, str] = {}
    for part in _eager(layout(name).parts):
        column = next((c for called in part.names for c in names if plain(c) == called), None)
        if column is not None and column not in found.values():
            found[part.name] = column
    return found


def _eager(parts: Iterable[Part]) -> list[Part]:
    """Those that a row cannot do without choose first."""
    return sorted(parts, key=lambda part: not part.needed)


def _all(rows: Sequence[Values], column: str, kind: type) -> bool:
    return all(isinstance(row.get(column), kind) for row in rows)


def _names(rows: Iterable[Values]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for row in rows for name in row))


def _title(columns: Columns, rows: Sequence[Values]) -> str:
    """What the field calls such rows."""
    of, name = columns.of, columns.layout
    first = rows[0]
    if name == "conversation":
        turns: Any = first.get(of["turns"]) if "turns" in of else None
        return spelling(turns) if is_turns(turns) else "Transcripts"
    if name == "preference":
        return "HH transcripts" if is_transcript(first.get(of["chosen"])) else "DPO pairs"
    if name == "answer":
        called = plain(of.get("prompt", "")), plain(of.get("answer", ""))
        known = {("instruction", "output"): "Alpaca", ("prompt", "completion"): "Prompt and completion"}
        return known.get(called, "Prompts and answers")
    return {"thumb": "KTO thumbs", "tasks": "Self-Instruct tasks"}[name]
