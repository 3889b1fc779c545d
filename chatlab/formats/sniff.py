"""What a file seems to be: how it is packed, what its rows mean, and which column plays which part."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from chatlab.errors import FormatRefused
from chatlab.formats.containers.container import Container, Rows, container_of, sample
from chatlab.formats.containers.table import named, numbered, plain
from chatlab.formats.conversations.opened import is_conversation, is_texts_in_turn, opened
from chatlab.formats.conversations.transcripts import is_hh
from chatlab.formats.conversations.turns import ROLES, WHO, is_turns, spelling
from chatlab.formats.guess import by_name, guessable, guessed, is_unlikely, twins
from chatlab.formats.layout import TURNS, WORDED, Columns, LayoutName, layout
from chatlab.formats.own_fields import OWN
from chatlab.formats.several import exchanges, has_several_answers, ranked, turns
from chatlab.formats.verdicts import DISLIKED, LIKED, is_verdict, scale

Values = dict[str, Any]
WORDED_ONLY = ("label", *WORDED)
NO_MARKS = ("label", "weight", "loss_weight", "sample_weight", "status")


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
        why = "" if rows or container.packing == "parquet" else next((row.problem for row in Rows(path, container)), "")
        raise FormatRefused(
            f"{path.name} has no row that can be read. {why}".strip(),
            "Each should be an object with named values, or a line of cells.",
        )
    columns = _columns(names, rows)
    found = columns or proposed(_usual_layout(rows), names, rows)
    return Proposal(
        container=container,
        columns=found,
        names=names,
        title=f"{_title(found, rows)}, {container.label}",
        sure=columns is not None and not columns.missing() and plain(columns.of.get("answer", "")) != "label",
        own=any(row.get(OWN) for row in rows),
    )


def proposed(name: LayoutName, names: Sequence[str], rows: Sequence[Values] = ()) -> Columns:
    """Columns for a layout that a person chose: those that are called so, then those that can be told from the rest.

    A part that several columns could play has none: whoever asked has to say.
    """
    found = by_name(name, names)
    if name == "comparison":
        found |= twins(names, rows) or {}
    for part in layout(name).parts:
        if part.needed and part.name not in found:
            column = guessed(part.name, names, rows, set(found.values()) | {OWN})
            found |= {part.name: column} if column else {}
    return Columns(layout=name, of=found, best=_best(found, rows))


def _columns(names: Sequence[str], rows: Sequence[Values]) -> Columns | None:
    """The first layout that the rows bear out; None if there is none."""
    tries = (turns, _preference, _comparison, ranked, _tasks, _thumb, _conversation, exchanges, _answer, _prompts)
    return next((found for attempt in tries if (found := attempt(names, rows)) is not None), None)


def _preference(names: Sequence[str], rows: Sequence[Values]) -> Columns | None:
    """Chosen and rejected; where only the rejected one has a name of its own, the chosen one is the answer."""
    found = by_name("preference", names)
    if not _any(rows, found.get("rejected"), str, list, dict):
        return None
    if "chosen" not in found:
        answers, turns = by_name("answer", names).get("answer"), by_name("conversation", names).get("turns")
        if (column := turns or answers) is None:
            return None
        found = {part: name for part, name in found.items() if name != column} | {"chosen": column}
    return Columns(layout="preference", of=found) if _any(rows, found["chosen"], str, list, dict) else None


def _comparison(names: Sequence[str], rows: Sequence[Values]) -> Columns | None:
    """Two answers side by side. Which is better has to be said, or one of them might be learned for nothing."""
    pair = twins(names, rows)
    if pair is None:
        return None
    rest = [name for name in names if name not in pair.values()]
    return Columns(layout="comparison", of=by_name("comparison", rest) | pair)


def _tasks(names: Sequence[str], rows: Sequence[Values]) -> Columns | None:
    found = by_name("tasks", names)
    whole = len(found) > 1 and {"prompt", "instances"} <= found.keys()
    return Columns(layout="tasks", of=found) if whole and _all(rows, found["instances"], list) else None


def _thumb(names: Sequence[str], rows: Sequence[Values]) -> Columns | None:
    found = by_name("thumb", names)
    if not {"prompt", "answer"} <= found.keys():
        return None
    liked = _verdicts("thumb", [name for name in names if name not in (found["prompt"], found["answer"])], rows)
    return Columns(layout="thumb", of=found | {"liked": liked}, best=_best({"liked": liked}, rows)) if liked else None


def _conversation(names: Sequence[str], rows: Sequence[Values]) -> Columns | None:
    """A column of turns, whatever it is called."""
    found = by_name("conversation", names)
    holding = [name for name in names if _holds_conversations(name, rows)]
    if not holding or _answers_apart(names):
        return None
    turns = found.get("turns")
    found |= {"turns": turns if turns in holding else holding[0]}
    found.pop("liked", None)
    if liked := _verdicts("conversation", names, rows):
        found["liked"] = liked
    if not _answered(rows, found["turns"]):
        return Columns(layout="prompts", of={"prompt": found["turns"]})
    return Columns(layout="conversation", of=found, best=_best(found, rows))


def _holds_conversations(name: str, rows: Sequence[Values]) -> bool:
    """Whether a column has conversations: one is enough, but of texts with names in them it takes every other."""
    values = [opened(row[name]) for row in rows if row.get(name)]
    named = plain(name) in TURNS
    holding = [v for v in values if is_conversation(v, named) or (plain(name) == "data" and is_texts_in_turn(v))]
    return bool(holding) and (not isinstance(holding[0], str) or is_hh(holding[0]) or 2 * len(holding) >= len(values))


def _answered(rows: Sequence[Values], column: str) -> bool:
    """Whether somebody answers in these conversations; a benchmark's lists of texts are questions alone."""
    values = [opened(row.get(column)) for row in rows]
    if plain(column) == "turns" and any("question_id" in row for row in rows):
        return not all(isinstance(value, list) and all(isinstance(one, str) for one in value) for value in values)
    lists = [value for value in values if is_turns(value)]
    if not lists or len(lists) < len(values):
        return True
    return any(_has_answer([_role(turn) for turn in turns]) for turns in lists)


def _has_answer(roles: Sequence[str | None]) -> bool:
    """Where nobody else answers, the system may, as in dialogues between USER and SYSTEM."""
    return not {"user", "system"}.issuperset(roles) or (roles[0] == "user" and "system" in roles)


def _role(turn: Values) -> str | None:
    who = next((turn[name] for name in WHO if name in turn), None)
    return ROLES.get(who.strip().casefold()) if isinstance(who, str) else None


def _answers_apart(names: Sequence[str]) -> bool:
    """Prompt and completion may be lists of turns too, and then neither is the whole conversation."""
    found = by_name("answer", names)
    return {"prompt", "answer"} <= found.keys() and plain(found["answer"]) not in ("label", "ideal")


def _answer(names: Sequence[str], rows: Sequence[Values]) -> Columns | None:
    found = by_name("answer", names)
    if not {"prompt", "answer"} <= found.keys() or is_unlikely(found["answer"], names, rows):
        return None
    return Columns(layout="answer", of=found)


def _prompts(names: Sequence[str], rows: Sequence[Values]) -> Columns | None:
    """Prompts, and nothing beside them that could be an answer."""
    column = by_name("prompts", names).get("prompt")
    if column is None or plain(column) == "text" or not all(_are_texts(row.get(column)) for row in rows):
        return None
    alone = not guessable("answer", names, rows, {column}) and not has_several_answers(names, rows)
    return Columns(layout="prompts", of={"prompt": column}) if alone else None


def _are_texts(value: Any) -> bool:
    return isinstance(value, str) or (isinstance(value, list) and all(isinstance(one, str) for one in value))


def _verdicts(name: LayoutName, names: Sequence[str], rows: Sequence[Values]) -> str | None:
    """The column that says whether an answer was liked, by its name and by what stands in it."""
    part = next(part for part in layout(name).parts if part.name == "liked")
    for called in part.names:
        column = next((one for one in names if plain(one) == called), None)
        values = [row[column] for row in rows if row.get(column) is not None] if column else []
        if column and values and (all(map(is_verdict, values)) or (called not in NO_MARKS and scale(values))):
            return column
        if column and called in WORDED_ONLY and _are_mostly_words_of_praise(values):
            return column
        if (
            column
            and called not in (*WORDED_ONLY, "score", "feedback")
            and (not values or any(map(is_verdict, values)))
        ):
            return column
    return None


def _are_mostly_words_of_praise(values: Sequence[Any]) -> bool:
    """Whether most values praise or blame in words, and some do each; others may say `neutral`."""
    told = [
        str(value).strip().casefold() for value in values if isinstance(value, str) and not value.strip().isdecimal()
    ]
    praised, blamed = sum(one in LIKED for one in told), sum(one in DISLIKED for one in told)
    return praised > 0 and blamed > 0 and 2 * (praised + blamed) >= len(values)


def _best(of: Mapping[str, str], rows: Sequence[Values]) -> float:
    """The best mark of those that stand in the column of likes; 1 where these are no marks."""
    values = [row.get(of["liked"]) for row in rows] if "liked" in of else []
    return scale(values) or 1.0


def _usual_layout(rows: Sequence[Values]) -> LayoutName:
    return "conversation" if any(is_turns(opened(value)) for row in rows for value in row.values()) else "answer"


def _all(rows: Sequence[Values], column: str, kind: type) -> bool:
    return all(isinstance(row.get(column), kind) for row in rows)


def _any(rows: Sequence[Values], column: str | None, *kinds: type) -> bool:
    return column is not None and any(isinstance(row.get(column), kinds) for row in rows)


def _names(rows: Iterable[Values]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for row in rows for name in row))


def _title(columns: Columns, rows: Sequence[Values]) -> str:
    """What the field calls such rows."""
    of, name = columns.of, columns.layout
    first = rows[0]
    if name == "conversation":
        turns: Any = opened(first.get(of["turns"])) if "turns" in of else None
        if is_turns(turns):
            return spelling(turns)
        return "Transcripts" if isinstance(turns, str) else "Conversations"
    if name == "preference":
        return "HH transcripts" if is_hh(first.get(of.get("chosen", ""))) else "DPO pairs"
    if name == "answer":
        called = plain(of.get("prompt", "")), plain(of.get("answer", ""))
        known = {("instruction", "output"): "Alpaca", ("prompt", "completion"): "Prompt and completion"}
        return known.get(called, "Prompts and answers")
    known_titles = {"thumb": "KTO thumbs", "tasks": "Self-Instruct tasks"}
    return known_titles.get(name, layout(name).label)
