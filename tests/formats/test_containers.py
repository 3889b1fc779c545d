"""All rows of a file are read, however they are packed into it; what is left out is said."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from chatlab.errors import FormatRefused
from chatlab.formats import DatasetReader, Imported, Outcome, Refused, sniff
from chatlab.records import Demonstration

BIRD, TREE = {"prompt": "Name a bird.", "completion": "A wren."}, {"prompt": "Name a tree.", "completion": "An elm."}
B, T = json.dumps(BIRD), json.dumps(TREE)
CONVERSATION = [{"role": "user", "content": "Name a bird."}, {"role": "assistant", "content": "A wren."}]
ASKED, WREN = CONVERSATION
OTHER = [{"role": "user", "content": "Name a tree."}, {"role": "assistant", "content": "An elm."}]
ODD = json.dumps([{"prompt": 'Say "]}{[".', "completion": 'He said: "}], [{" \\'}])


def read(tmp_path: Path, text: str) -> list[Outcome]:
    path = tmp_path / "rows"
    path.write_text(text, encoding="utf-8")
    return list(DatasetReader(path, sniff(path)))


def answers(outcomes: list[Outcome]) -> list[str]:
    return [o.record.answer for o in outcomes if isinstance(o, Imported) and isinstance(o.record, Demonstration)]


def reasons(outcomes: list[Outcome]) -> list[str]:
    return [o.reason for o in outcomes if isinstance(o, Refused)]


PACKED = {
    "two lists": f"[{B}]\n[{T}]\n",
    "two lists on one line": f"[{B}][{T}]",
    "a list and then lines": f"[\n{B}\n]\n{T}\n",
    "a list of each": f"[[{B}], [{T}]]"[1:-1],
    "lines": f"{B}\n\n{T}",
    "one line, no break": f"{B}{T}",
    "lines with commas": f"{B},\n{T},\n",
    "pretty objects": f"{json.dumps(BIRD, indent=1)}\n{json.dumps(TREE, indent=1)}\n",
    "pretty list": json.dumps([BIRD, TREE], indent=2),
    "meta before": json.dumps({"version": "1.0", "about": "birds", "data": [BIRD, TREE]}),
    "meta before, pretty": json.dumps({"version": "1.0", "about": {"n": [1]}, "data": [BIRD, TREE]}, indent=2),
    "meta after": json.dumps({"examples": [BIRD, TREE], "version": 2, "licence": "[none] {}"}),
    "two lists in an object": json.dumps({"birds": [BIRD], "trees": [TREE]}),
    "two wrapped files": f'{{"rows": [{B}]}}\n{{"rows": [{T}]}}',
    "columns": json.dumps({"prompt": ["Name a bird.", "Name a tree."], "completion": ["A wren.", "An elm."]}),
    "columns, pretty": json.dumps({"completion": ["A wren.", "An elm."], "prompt": ["Name a bird.", "?"]}, indent=2),
    "columns of conversations": json.dumps({"id": [1, 2], "messages": [CONVERSATION, OTHER]}),
    "pandas, columns": json.dumps({key: {"0": BIRD[key], "1": TREE[key]} for key in BIRD}),
    "pandas, named rows": json.dumps({key: {"a7": BIRD[key], "b9": TREE[key]} for key in BIRD}),
    "pandas, index": json.dumps({"0": BIRD, "1": TREE}, indent=1),
    "pandas, split": json.dumps({"columns": [*BIRD], "index": [0, 1], "data": [[*BIRD.values()], [*TREE.values()]]}),
    "pandas, table": json.dumps({"schema": {"fields": [{"name": "prompt"}]}, "data": [BIRD, TREE]}),
    "conversations by name": json.dumps({"first": CONVERSATION, "second": OTHER}),
    "rows by name": json.dumps({"first": {"messages": CONVERSATION}, "second": {"messages": OTHER}}, indent=2),
    "rows as a server wraps them": "\n".join(json.dumps({"row_idx": n, "row": r}) for n, r in enumerate((BIRD, TREE))),
    "a table": "prompt,completion\nName a bird.,A wren.\nName a tree.,An elm.\n",
}


@pytest.mark.parametrize("name", PACKED)
def test_every_row_is_read(name: str, tmp_path: Path) -> None:
    outcomes = read(tmp_path, PACKED[name])
    assert answers(outcomes) == ["A wren.", "An elm."]
    assert not reasons(outcomes)


@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize("name", ["test", "validation", "eval"])
def test_what_is_kept_for_testing_is_not_learned_and_that_is_said(
    name: str, indent: int | None, tmp_path: Path
) -> None:
    for rows in ({"train": [BIRD], name: [TREE]}, {name: [TREE], "train": [BIRD]}):
        outcomes = read(tmp_path, json.dumps(rows, indent=indent))
        assert answers(outcomes) == ["A wren."]
        (reason,) = reasons(outcomes)
        assert repr(name) in reason and "not read" in reason


@pytest.mark.parametrize("indent", [None, 1])
def test_one_conversation_is_one_row(indent: int | None, tmp_path: Path) -> None:
    for value in ({"messages": CONVERSATION}, CONVERSATION, [CONVERSATION], [{"messages": CONVERSATION}]):
        assert answers(read(tmp_path, json.dumps(value, indent=indent))) == ["A wren."]


def test_a_list_of_turns_on_each_line_is_a_conversation_on_each(tmp_path: Path) -> None:
    text = f"{json.dumps(CONVERSATION)}\n{json.dumps(CONVERSATION)}\n"
    assert answers(read(tmp_path, text)) == ["A wren.", "A wren."]


def test_comments_are_told_of_and_hide_no_row(tmp_path: Path) -> None:
    outcomes = read(tmp_path, f"// birds\n# and trees\n{B}\n// more\n{T}\n")
    assert answers(outcomes) == ["A wren.", "An elm."]
    assert all("comment" in reason for reason in reasons(outcomes))
    assert answers(read(tmp_path, f"// birds\n[{B},\n{T}]")) == ["A wren.", "An elm."]
    table = "# birds, and trees\nprompt,completion\nName a bird.,A wren.\nName a tree.,An elm.\n"
    assert answers(read(tmp_path, table)) == ["A wren.", "An elm."]


def test_tables_that_were_joined_keep_no_header_as_a_row(tmp_path: Path) -> None:
    table = "prompt,completion\nName a bird.,A wren.\n"
    outcomes = read(tmp_path, table + table.replace("bird", "tree"))
    assert answers(outcomes) == ["A wren.", "A wren."]
    assert reasons(outcomes) == ["It repeats the names of the columns."]


def test_a_list_among_lines_is_told_of(tmp_path: Path) -> None:
    outcomes = read(tmp_path, f"{B}\n{B}\n[{T}]\n")
    assert len(answers(outcomes)) == 2 and "a list" in reasons(outcomes)[0]


def test_what_stands_behind_a_list_is_told_of(tmp_path: Path) -> None:
    outcomes = read(tmp_path, f"[{B}] and more")
    assert answers(outcomes) == ["A wren."] and "not JSON" in reasons(outcomes)[0]


def test_brackets_inside_of_texts_end_nothing(tmp_path: Path) -> None:
    for text in (ODD + ODD, f'{{"about": "]}}", "data": {ODD}, "also": {ODD}}}'):
        assert answers(read(tmp_path, text)) == ['He said: "}], [{" \\'] * 2


def test_columns_of_different_lengths_are_refused_with_their_lengths(tmp_path: Path) -> None:
    with pytest.raises(FormatRefused, match="'prompt' 2, 'completion' 1"):
        read(tmp_path, json.dumps({"prompt": ["Name a bird.", "Name a tree."], "completion": ["A wren."]}))


def test_a_table_for_testing_beside_one_for_training_is_not_read_and_that_is_said(tmp_path: Path) -> None:
    tables = {name: {key: [row[key]] for key in row} for name, row in (("train", BIRD), ("test", TREE))}
    outcomes = read(tmp_path, json.dumps(tables))
    assert answers(outcomes) == ["A wren."] and "'test'" in reasons(outcomes)[0]


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": ASKED, "completion": WREN},
        {"prompt": [ASKED], "completion": [WREN]},
        {"data": ["Name a bird.", "A wren."]},
        {"dialog": ["Name a bird.", "A wren."], "act": [1, 2]},
        {"messages": CONVERSATION, "tools": [{"name": "look", "description": "looks"}]},
    ],
)
def test_one_row_with_lists_or_objects_in_it_is_no_table(row: dict[str, object], tmp_path: Path) -> None:
    assert answers(read(tmp_path, json.dumps(row))) == ["A wren."]
