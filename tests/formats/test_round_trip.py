"""Out and in again: every record that a format can hold comes back as it was, field for field."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chatlab.formats import FORMATS, DatasetReader, Format, Imported, Record, format_of, sniff, write
from chatlab.records import Demonstration, Message, Preference

LETTERS = st.characters(exclude_categories=("Cs",))
EDGES = st.sampled_from(
    [
        "=1+1",
        "'=x",
        "''@y",
        "-",
        "\t+",
        "\r\nx\r\n",
        " x ",
        "\x00",
        '"',
        "a,b;c|d",
        "\n\nHuman: x\n\nAssistant: y",
        "\ufeff",
    ]
)
TEXTS = st.one_of(st.text(LETTERS, max_size=40), EDGES, st.builds("{}{}".format, EDGES, st.text(LETTERS, max_size=10)))
SAID = TEXTS.filter(str.strip)


def others(kind: type, *words: str) -> st.SearchStrategy[dict[str, Any]]:
    """Any values for all fields but these, whatever fields the record has."""
    hints = get_type_hints(kind)
    return st.fixed_dictionaries({f.name: values(hints[f.name]) for f in fields(kind) if f.name not in words})


def values(kind: Any) -> st.SearchStrategy[Any]:
    """What an annotation allows, and JSON can hold."""
    inner = get_args(kind)
    if is_dataclass(kind):
        return others(kind).map(lambda given: kind(**given))
    if get_origin(kind) in (Union, UnionType):
        return st.none() | values(inner[0])
    if get_origin(kind) is Literal:
        return st.sampled_from(inner)
    if get_origin(kind) is tuple:
        return st.lists(values(inner[0]), max_size=3).map(tuple)
    numbers = {int: st.integers(-(2**53), 2**53), float: st.floats(allow_nan=False, allow_infinity=False)}
    return (numbers | {str: TEXTS, bool: st.booleans()})[kind]


@st.composite
def demonstrations(draw: st.DrawFn, turns: int = 4) -> Demonstration:
    messages = [Message(role="system", content=draw(SAID))] if draw(st.booleans()) else []
    for _ in range(draw(st.integers(1, turns))):
        reasoning = draw(st.just("") | SAID)
        messages += [Message(role="user", content=draw(SAID)), _thinking(draw(SAID), reasoning)]
    return Demonstration(messages=tuple(messages), **draw(others(Demonstration, "messages")))


def _thinking(content: str, reasoning: str) -> Message:
    return Message(role="assistant", content=content, reasoning=reasoning)


@st.composite
def preferences(draw: st.DrawFn, turns: int = 3) -> Preference:
    chosen = draw(SAID)
    return Preference(
        prompt=draw(demonstrations(turns)).messages[:-1],
        chosen=chosen,
        rejected=draw(SAID.filter(lambda text: text != chosen)),
        **draw(others(Preference, "prompt", "chosen", "rejected")),
    )


QUICK = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)


FEW = settings(QUICK, max_examples=2)
"""For Parquet, which is read in a process of its own."""


def by_name(format: Format) -> str:
    return format.name


def back(path: Path) -> list[Record]:
    proposal = sniff(path)
    assert proposal.sure
    outcomes = list(DatasetReader(path, proposal))
    assert all(isinstance(one, Imported) for one in outcomes), outcomes
    return [one.record for one in outcomes if isinstance(one, Imported)]


def held(format: Format, records: list[Any]) -> Iterator[Any]:
    """Those that a format can hold: a table has one prompt a row."""
    for record in records:
        prompt = record.prompt if isinstance(record, Preference) else record.messages[:-1]
        if format.packed != "table" or len([m for m in prompt if m.role != "system"]) == 1:
            yield record if format.has_reasoning else without_reasoning(record)


def without_reasoning(record: Any) -> Any:
    """The same, less what was thought before its answers."""
    name = "prompt" if isinstance(record, Preference) else "messages"
    return replace(record, **{name: tuple(replace(m, reasoning="") for m in getattr(record, name))})


@pytest.mark.parametrize("format", [f for f in FORMATS if f.demonstrations and f.name != "parquet"], ids=by_name)
@QUICK
@given(records=st.lists(demonstrations(), min_size=1, max_size=4))
def test_demonstrations_come_back_equal(format: Format, records: list[Demonstration], tmp_path: Path) -> None:
    wanted = list(held(format, records))
    written = write(tmp_path / "file", records, format)
    assert written.records == len(wanted)
    assert written.left_out.total() == len(records) - len(wanted)
    if not format.has_reasoning and len(wanted) == len(records):
        assert written.dropped_reasoning == sum(bool(m.reasoning) for one in records for m in one.messages)
    if wanted:
        assert back(written.path) == wanted


@pytest.mark.parametrize("name", ["dpo", "csv", "tsv"])
@QUICK
@given(records=st.lists(preferences(), min_size=1, max_size=4))
def test_preferences_come_back_equal(name: str, records: list[Preference], tmp_path: Path) -> None:
    wanted = list(held(format_of(name), records))
    written = write(tmp_path / "file", records, format_of(name))
    assert written.records == len(wanted)
    if wanted:
        assert back(written.path) == wanted


@pytest.mark.parametrize("format", [f for f in FORMATS if f.demonstrations and f.name != "parquet"], ids=by_name)
@QUICK
@given(record=demonstrations(turns=1))
def test_without_our_own_fields_the_words_come_back(format: Format, record: Demonstration, tmp_path: Path) -> None:
    (held_of_it,) = held(format, [record])
    bare = tuple(
        replace(m, content=m.content.replace("\r\n", "\n").strip(), reasoning=m.reasoning.replace("\r\n", "\n").strip())
        for m in held_of_it.messages
    )
    (came,) = back(write(tmp_path / "file", [record], format, own=False).path)
    assert isinstance(came, Demonstration)
    assert came.messages == bare
    assert (came.source, came.status) == ("imported", "approved")


@FEW
@given(records=st.lists(demonstrations(), min_size=2, max_size=5))
def test_demonstrations_come_back_equal_from_parquet(records: list[Demonstration], tmp_path: Path) -> None:
    assert back(write(tmp_path / "file", records, format_of("parquet")).path) == records


@FEW
@given(records=st.lists(preferences(), min_size=2, max_size=5))
def test_preferences_come_back_equal_from_parquet(records: list[Preference], tmp_path: Path) -> None:
    assert back(write(tmp_path / "file", records, format_of("parquet")).path) == records


def test_a_disliked_answer_is_refused_with_the_reason(tmp_path: Path) -> None:
    pair = Preference(prompt=(Message(role="user", content="Hi"),), chosen="Hello", rejected="What", source="edit")
    written = write(tmp_path / "file", [pair], format_of("kto"))
    liked, disliked = DatasetReader(written.path, sniff(written.path))
    assert isinstance(liked, Imported) and liked.record.messages[-1].content == "Hello"
    assert not isinstance(disliked, Imported) and disliked.line == 2 and "disliked" in disliked.reason


def test_tool_turns_are_held_where_there_is_a_place_for_them(tmp_path: Path) -> None:
    roles = ("user", "tool", "assistant")
    record = Demonstration(messages=tuple(Message(role=role, content=role) for role in roles))
    for name in ("openai", "sharegpt", "completion", "kto", "parquet"):
        assert back(write(tmp_path / "file", [record], format_of(name)).path) == [record]
    assert write(tmp_path / "file", [record], format_of("alpaca")).left_out.total() == 1


THOUGHTFUL = Demonstration(
    messages=(
        Message(role="user", content="What is 2 + 2?"),
        Message(role="assistant", content="4", reasoning="Two and two\nmake four."),
        Message(role="user", content="And 3 more?"),
        Message(role="assistant", content="7"),
    )
)


@pytest.mark.parametrize("format", [f for f in FORMATS if f.demonstrations], ids=by_name)
def test_a_thought_is_held_in_the_field_that_others_read_or_counted_as_left_out(format: Format, tmp_path: Path) -> None:
    one = replace(THOUGHTFUL, messages=THOUGHTFUL.messages[:2])
    written = write(tmp_path / "file", [one], format, own=False)
    (came,) = back(written.path)
    assert isinstance(came, Demonstration)
    assert came.messages == (one if format.has_reasoning else without_reasoning(one)).messages
    assert written.dropped_reasoning == (0 if format.has_reasoning else 1)


def test_a_thought_stands_beside_the_answer_that_it_led_to(tmp_path: Path) -> None:
    path = write(tmp_path / "file", [THOUGHTFUL], format_of("openai"), own=False).path
    _, first, _, second = json.loads(path.read_text())["messages"]
    assert first == {"role": "assistant", "content": "4", "reasoning_content": "Two and two\nmake four."}
    assert second == {"role": "assistant", "content": "7"}


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning", "thinking"])
@pytest.mark.parametrize("value", [" Two and two.\r\nFour. ", None, 7, {"effort": "high"}, ["a"]])
def test_a_thought_is_read_by_each_of_its_names_where_it_is_text(name: str, value: Any, tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "Q", name: "no answer, no thought"}]
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"messages": [*turns, {"role": "assistant", "content": "A", name: value}]}))
    (came,) = back(path)
    assert isinstance(came, Demonstration)
    assert [m.reasoning for m in came.messages] == ["", "Two and two.\nFour." if isinstance(value, str) else ""]


def test_a_column_of_thoughts_goes_before_the_answers(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("question,reasoning,answer\nWhat is 2 + 2?,Two and two make four.,4\nAnd 1 + 1?,,2\n")
    first, second = back(path)
    assert isinstance(first, Demonstration) and isinstance(second, Demonstration)
    assert (first.messages[-1].reasoning, first.answer) == ("Two and two make four.", "4")
    assert (second.messages[-1].reasoning, second.answer) == ("", "2")


def test_a_thought_is_checked_as_words_are(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    long = "x" * (5 << 20)
    turns = [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A", "reasoning_content": "\ud800"}]
    longer = [{"role": "user", "content": long[: 1 << 20]}, {"role": "assistant", "content": long, "thinking": long}]
    path.write_text("\n".join(json.dumps({"messages": each}) for each in (turns, longer)))
    proposal = sniff(path)
    assert not any(isinstance(one, Imported) for one in DatasetReader(path, proposal))


def test_a_file_is_whole_or_not_there(tmp_path: Path) -> None:
    def broken() -> Iterator[Demonstration]:
        yield Demonstration(messages=(Message(role="user", content="Q"), Message(role="assistant", content="A")))
        raise KeyboardInterrupt

    for format in FORMATS:
        with pytest.raises(KeyboardInterrupt):
            write(tmp_path / "file", broken(), format)
        assert list(tmp_path.iterdir()) == []


def test_cells_that_look_like_formulas_are_tamed_in_the_file(tmp_path: Path) -> None:
    messages = (Message(role="user", content="=cmd|' /C calc'!A0"), Message(role="assistant", content="@SUM(1)"))
    path = write(tmp_path / "file", [Demonstration(messages=messages)], format_of("csv"), own=False).path
    assert "'=cmd|" in path.read_text("utf-8-sig") and ",'@SUM" in path.read_text("utf-8-sig")


SIGNS = "=+-@\uff1d\uff0b\uff0d\uff20\ufe66\ufe62\ufe63\ufe6b\u2212\u207a\u208c"
BEFORE = (
    "",
    " ",
    "\t",
    "\n",
    '"',
    "'",
    "''",
    " '",
    "\ufeff",
    "\u200b",
    "\u2060\u200d",
    "\u3000",
    "\xa0",
    "\x01",
    "\u202e",
    '\ufeff "',
)


@pytest.mark.parametrize("kind", ["csv", "tsv"])
def test_no_cell_begins_with_a_sign_of_any_width_and_every_text_comes_back(kind: str, tmp_path: Path) -> None:
    texts = [f"{before}{sign}cmd" for sign in SIGNS for before in BEFORE]
    texts += [f"{before}cmd" for before in BEFORE] + ["'" * 100_000 + "x", "\u200b" * 100_000 + "x"]
    rows = [
        Demonstration(messages=(Message(role="user", content=text), Message(role="assistant", content=text)))
        for text in texts
    ]
    path = write(tmp_path / f"file.{kind}", rows, format_of(kind)).path
    with path.open(encoding="utf-8-sig", newline="") as file:
        cells = [cell for row in csv.reader(file, delimiter="," if kind == "csv" else "\t") for cell in row]
    unseen = re.compile(r"[\s\"\x00-\x1f\u200b-\u200f\u202a-\u202e\u2060\ufeff]*")
    assert not [cell for cell in cells if unseen.sub("", cell, count=1)[:1] in set(SIGNS)]
    found = [one for one in back(path) if isinstance(one, Demonstration)]
    assert [(one.messages[0].content, one.answer) for one in found] == [(text, text) for text in texts]
