"""The formats that records can be written in, and what a record looks like in each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import orjson

from chatlab.errors import RowRefused
from chatlab.formats.conversations.reasoning import count_reasoning, field_of
from chatlab.formats.conversations.tool_messages import schemas_of, turns_of
from chatlab.formats.own_fields import OWN, own_fields
from chatlab.formats.row import Record
from chatlab.records import Demonstration, Message, Preference

FormatName = Literal["openai", "sharegpt", "alpaca", "completion", "dpo", "kto", "csv", "tsv", "parquet"]
Packed = Literal["lines", "list", "table", "parquet"]
Values = dict[str, Any]

CELL = 131_072
"""Characters that a cell may have: what Python's own reader takes, and four times what Excel does."""
_FROM = {"user": "human", "assistant": "gpt", "system": "system", "tool": "tool"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """One way to write records down."""

    name: FormatName
    label: str
    about: str
    ending: str
    packed: Packed
    demonstrations: Callable[[Demonstration], list[Values]] | None = None
    """Rows of one; None where the format has no place for them. Raises RowRefused for one that it cannot hold."""
    preferences: Callable[[Preference], list[Values]] | None = None
    has_reasoning: bool = True
    """Whether it has a place for reasoning before an answer."""

    def rows(self, record: Record, own: bool) -> list[Values]:
        """Rows of a record, with Chatlab's own fields if `own`. Raises RowRefused for what this format cannot hold."""
        write: Any = self.demonstrations if isinstance(record, Demonstration) else self.preferences
        if write is None:
            kind = "demonstrations" if isinstance(record, Demonstration) else "preferences"
            raise RowRefused(f"{self.label} has no place for {kind}.")
        rows: list[Values] = write(record)
        if own and len(rows) == 1:
            fields = own_fields(record)
            text = self.packed in ("table", "parquet")
            rows[0][OWN] = orjson.dumps(fields).decode() if text else fields
        return rows

    def dropped_reasoning(self, record: Record) -> int:
        """How many messages of a record have reasoning that this format has no place for."""
        said = record.messages if isinstance(record, Demonstration) else record.prompt
        return 0 if self.has_reasoning else count_reasoning(said)


def _openai(d: Demonstration) -> list[Values]:
    return [{"messages": turns_of(d.messages), **_tools(d.messages), "tags": list(d.tags)}]


def _columns(d: Demonstration) -> list[Values]:
    _check_calls(d.messages, "Parquet")
    return [{"messages": _turns(d.messages), "tags": list(d.tags)}]


def _pair_columns(p: Preference) -> list[Values]:
    _check_calls(p.prompt, "Parquet")
    return [{"prompt": _turns(p.prompt), "chosen": _answer(p.chosen), "rejected": _answer(p.rejected)}]


def _sharegpt(d: Demonstration) -> list[Values]:
    _check_calls(d.messages, "ShareGPT")
    turns = [{"from": _FROM[m.role], "value": m.content} for m in d.messages]
    return [{"conversations": turns, "tags": list(d.tags)}]


def _completion(d: Demonstration) -> list[Values]:
    asked = {"prompt": turns_of(d.prompt), "completion": turns_of(d.messages[-1:]), **_tools(d.messages)}
    return [{**asked, "tags": list(d.tags)}]


def _alpaca(d: Demonstration) -> list[Values]:
    system, *pairs = _in_pairs(d.messages, "Alpaca")
    prompt, answer = pairs.pop()
    words = {"instruction": prompt, "input": "", "output": answer, "system": system, "history": list(map(list, pairs))}
    return [{**words, "tags": list(d.tags)}]


def _dpo(p: Preference) -> list[Values]:
    answers = {"chosen": _answer(p.chosen), "rejected": _answer(p.rejected)}
    return [{"prompt": turns_of(p.prompt), **answers, **_tools(p.prompt)}]


def _liked(d: Demonstration) -> list[Values]:
    _check_calls(d.messages, "KTO")
    return [{"prompt": _turns(d.prompt), "completion": _turns(d.messages[-1:]), "label": True}]


def _thumbs(p: Preference) -> list[Values]:
    """One up, one down."""
    _check_calls(p.prompt, "KTO")
    return [
        {"prompt": _turns(p.prompt), "completion": _answer(answer), "label": liked}
        for answer, liked in ((p.chosen, True), (p.rejected, False))
    ]


def _cells(d: Demonstration) -> list[Values]:
    system, *pairs = _in_pairs(d.messages, "A table")
    if len(pairs) > 1:
        raise RowRefused("A table has one prompt and one answer a row; this conversation has more turns.")
    prompt, answer = pairs[0]
    return [_small({"system": system, "prompt": prompt, "answer": answer, "tags": ", ".join(d.tags)})]


def _pair_cells(p: Preference) -> list[Values]:
    system, *pairs = _in_pairs((*p.prompt, Message(role="assistant", content="")), "A table")
    if len(pairs) > 1:
        raise RowRefused("A table has one prompt a row; this conversation has more turns.")
    return [_small({"system": system, "prompt": pairs[0][0], "chosen": p.chosen, "rejected": p.rejected})]


def _turns(messages: Sequence[Message]) -> list[Values]:
    return [{"role": m.role, "content": m.content, **field_of(m)} for m in messages]


def _tools(messages: Sequence[Message]) -> Values:
    tools = schemas_of(messages)
    return {"tools": tools} if tools else {}


def _check_calls(messages: Sequence[Message], what: str) -> None:
    if any(m.calls or m.tools for m in messages):
        raise RowRefused(f"{what} has no place for tools and calls; OpenAI messages have.")
    if any(m.masked for m in messages):
        raise RowRefused(f"{what} has no place for answers that are not learned; OpenAI messages have.")


def _answer(text: str) -> list[Values]:
    return [{"role": "assistant", "content": text}]


def _in_pairs(messages: Sequence[Message], what: str) -> list[Any]:
    """The system message, then (prompt, answer) for each. Raises RowRefused where they do not take turns."""
    _check_calls(messages, what)
    heading = messages[0].content if messages[0].role == "system" else ""
    turns = messages[1:] if messages[0].role == "system" else messages
    asked, answered = turns[0::2], turns[1::2]
    apart = all(m.role == "user" and m.content for m in asked) and all(m.role == "assistant" for m in answered)
    if not answered or len(asked) != len(answered) or not apart or bool(heading) != (len(turns) < len(messages)):
        raise RowRefused(f"{what} holds only prompts and answers in turn, after at most one system message.")
    return [heading, *zip((m.content for m in asked), (m.content for m in answered), strict=True)]


def _small(cells: Values) -> Values:
    if any(len(cell) >= CELL for cell in cells.values()):
        raise RowRefused(f"A cell holds up to {CELL:,} characters.")
    return cells


FORMATS: tuple[Format, ...] = (
    Format(
        name="openai",
        label="OpenAI messages",
        about="Holds everything. JSON lines.",
        ending=".jsonl",
        packed="lines",
        demonstrations=_openai,
    ),
    Format(
        name="sharegpt",
        label="ShareGPT",
        about="For Axolotl, LLaMA-Factory, Unsloth. JSON lines.",
        ending=".jsonl",
        packed="lines",
        demonstrations=_sharegpt,
        has_reasoning=False,
    ),
    Format(
        name="alpaca",
        label="Alpaca",
        about="Instruction, output, system, history. A JSON list.",
        ending=".json",
        packed="list",
        demonstrations=_alpaca,
        has_reasoning=False,
    ),
    Format(
        name="completion",
        label="Prompt and completion",
        about="For TRL's SFTTrainer. JSON lines.",
        ending=".jsonl",
        packed="lines",
        demonstrations=_completion,
    ),
    Format(
        name="dpo",
        label="DPO pairs",
        about="Prompt, chosen, rejected, for TRL's DPOTrainer. JSON lines.",
        ending=".jsonl",
        packed="lines",
        preferences=_dpo,
    ),
    Format(
        name="kto",
        label="KTO thumbs",
        about="Prompt, completion, label, for TRL's KTOTrainer. JSON lines.",
        ending=".jsonl",
        packed="lines",
        demonstrations=_liked,
        preferences=_thumbs,
    ),
    Format(
        name="csv",
        label="CSV",
        about="For a spreadsheet; one prompt and one answer a row.",
        ending=".csv",
        packed="table",
        demonstrations=_cells,
        preferences=_pair_cells,
        has_reasoning=False,
    ),
    Format(
        name="tsv",
        label="TSV",
        about="The same, separated by tabs.",
        ending=".tsv",
        packed="table",
        demonstrations=_cells,
        preferences=_pair_cells,
        has_reasoning=False,
    ),
    Format(
        name="parquet",
        label="Parquet",
        about="As on the Hugging Face Hub; messages in columns.",
        ending=".parquet",
        packed="parquet",
        demonstrations=_columns,
        preferences=_pair_columns,
    ),
)


def format_of(name: str) -> Format:
    """Raises RowRefused for a name that is none."""
    found = next((one for one in FORMATS if one.name == name), None)
    if found is None:
        raise RowRefused(f"There is no format {name!r}.", "Choose one of: " + ", ".join(f.name for f in FORMATS))
    return found
