"""Conversations that take several rows, and rows with several answers: put together, or left out with the reason."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from chatlab.formats import DatasetReader, Imported, Outcome, Refused, preview, sniff
from chatlab.formats.conversations import turn_rows
from chatlab.records import Demonstration, Preference

FOUR = [("user", "Name a bird."), ("assistant", "A wren."), ("user", "Another?"), ("assistant", "A tit.")]
TWO = [("user", "Name a tree."), ("assistant", "An elm.")]
Rows = list[dict[str, Any]]


def read(tmp_path: Path, rows: Rows, packed: str = "lines") -> list[Outcome]:
    path = tmp_path / "rows"
    names = list(dict.fromkeys(name for row in rows for name in row))
    if packed == "csv":
        with path.open("w", encoding="utf-8", newline="") as file:
            table = csv.DictWriter(file, names)
            table.writeheader()
            table.writerows(rows)
    else:
        path.write_text(json.dumps(rows) if packed == "list" else "\n".join(map(json.dumps, rows)), encoding="utf-8")
    proposal = sniff(path)
    assert proposal.sure
    return list(DatasetReader(path, proposal))


def said(outcomes: list[Outcome]) -> list[list[tuple[str, str]]]:
    records = [one.record for one in outcomes if isinstance(one, Imported)]
    return [[(m.role, m.content) for m in one.messages] for one in records if isinstance(one, Demonstration)]


def reasons(outcomes: list[Outcome]) -> dict[int, str]:
    return {one.line: one.reason for one in outcomes if isinstance(one, Refused)}


def flat(key: str, number: str, who: str, text: str) -> Rows:
    names = {"user": "human", "assistant": "gpt"} if who == "from" else {}
    told = [("x", FOUR), ("y", TWO)]
    return [
        {key: id, number: n, who: names.get(role, role), text: words}
        for id, turns in told
        for n, (role, words) in enumerate(turns, 1)
    ]


FLAT = {
    "lmsys": flat("conversation_id", "turn", "role", "content"),
    "ShareGPT": flat("conv_id", "turn_number", "from", "value"),
    "threads": flat("thread_id", "message_index", "speaker", "text"),
    "sessions": flat("session_id", "step", "sender", "message"),
}


@pytest.mark.parametrize("packed", ["lines", "list", "csv"])
@pytest.mark.parametrize("name", FLAT)
def test_rows_of_one_conversation_become_one_demonstration(name: str, packed: str, tmp_path: Path) -> None:
    assert said(read(tmp_path, FLAT[name], packed)) == [FOUR, TWO]


def test_rows_may_stand_in_any_order_where_turns_are_numbered(tmp_path: Path) -> None:
    rows = FLAT["lmsys"]
    assert said(read(tmp_path, [rows[n] for n in (3, 5, 0, 2, 4, 1)], "csv")) == [FOUR, TWO]


def test_a_number_for_both_sides_of_an_exchange_orders_them_too(tmp_path: Path) -> None:
    rows = [row | {"turn": (row["turn"] - 1) // 2} for row in FLAT["lmsys"]]
    assert said(read(tmp_path, rows[::-1])) == [TWO, FOUR]


def test_without_numbers_the_order_of_the_file_counts(tmp_path: Path) -> None:
    rows = [{name: value for name, value in row.items() if name != "turn"} for row in FLAT["lmsys"]]
    assert said(read(tmp_path, rows)) == [FOUR, TWO]


def test_a_conversation_that_lacks_a_turn_is_left_out_and_one_without_a_name_too(tmp_path: Path) -> None:
    rows = (
        FLAT["lmsys"][:1] + FLAT["lmsys"][2:] + [{"conversation_id": None, "turn": 1, "role": "user", "content": "?"}]
    )
    outcomes = read(tmp_path, rows)
    assert said(outcomes) == [TWO]
    assert "turn 2 is missing" in reasons(outcomes)[1] and "which conversation" in reasons(outcomes)[6]


def test_an_answer_of_weight_nought_or_disliked_is_read_and_not_learned(tmp_path: Path) -> None:
    for field in ({"weight": "0"}, {"rating": "thumbs down"}):
        rows = [row | (dict.fromkeys(field, "") if n != 1 else field) for n, row in enumerate(FLAT["lmsys"])]
        first, _ = read(tmp_path, rows, "csv")
        assert isinstance(first, Imported) and isinstance(first.record, Demonstration)
        assert [message.masked for message in first.record.messages] == [False, True, False, False]


def test_more_than_is_held_at_once_is_put_together_where_rows_stand_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turn_rows, "HELD", 2000)
    rows = [row | {"conversation_id": f"{n}{row['conversation_id']}"} for n in range(5) for row in FLAT["lmsys"]]
    assert said(read(tmp_path, rows)) == [FOUR, TWO] * 5
    outcomes = read(tmp_path, rows + rows[:1])
    assert said(outcomes) == [FOUR, TWO] * 5 and "Sort the rows" in reasons(outcomes)[31]


def test_turns_that_no_column_puts_together_are_asked_about(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("role,content\nuser,Name a bird.\nassistant,A wren.\nuser,Name a tree.\nassistant,An elm.\n")
    proposal = sniff(path)
    assert not proposal.sure and "Conversation" in proposal.columns.missing()[0]


def test_exchanges_of_one_conversation_become_one_demonstration(tmp_path: Path) -> None:
    rows = [
        {"dialogue_id": 1, "turn_id": 0, "user": "Name a bird.", "assistant": "A wren."},
        {"dialogue_id": 1, "turn_id": 1, "user": "Another?", "assistant": "A tit."},
        {"dialogue_id": 2, "turn_id": 0, "user": "Name a tree.", "assistant": "An elm."},
    ]
    for packed in ("lines", "csv"):
        assert said(read(tmp_path, rows, packed)) == [FOUR, TWO]
        assert sorted(said(read(tmp_path, rows[::-1], packed))) == [FOUR, TWO]


def node(id: str, parent: str | None, role: str, text: str, **more: Any) -> dict[str, Any]:
    return {"message_id": id, "parent_id": parent, "role": role, "text": text, "rank": None, "deleted": False, **more}


TREES = [
    node("a", None, "prompter", "Name a bird."),
    node("b", "a", "assistant", "A dog.", rank=1),
    node("c", "a", "assistant", "A wren.", rank=0),
    node("d", "a", "assistant", "Buy now!", rank=-1, deleted=True),
    node("e", "c", "prompter", "Another?"),
    node("f", "e", "assistant", "A tit."),
    node("g", None, "prompter", "Name a tree."),
    node("h", "g", "assistant", "An elm.", rank=0),
    node("i", "nowhere", "assistant", "Lost."),
]


@pytest.mark.parametrize("packed", ["lines", "list", "csv"])
@pytest.mark.parametrize("grouped", [True, False])
def test_messages_that_answer_each_other_are_read_as_trees(grouped: bool, packed: str, tmp_path: Path) -> None:
    of = dict(zip("abcdefghi", "aaaaaagga", strict=True))
    rows = [row | ({"message_tree_id": of[row["message_id"]]} if grouped else {}) for row in TREES]
    outcomes = read(tmp_path, rows, packed)
    assert said(outcomes) == [FOUR, TWO]
    first = 2 if packed == "csv" else 1
    why = reasons(outcomes)
    assert "another path" in why[first + 1] and "deleted" in why[first + 3] and "'nowhere'" in why[first + 8]
    assert len(why) == 3
    assert sorted(said(read(tmp_path, rows[::-1], packed))) == [FOUR, TWO]


def pair(outcome: Outcome) -> tuple[str, str]:
    assert isinstance(outcome, Imported), outcome
    assert isinstance(outcome.record, Preference)
    assert [m.content for m in outcome.record.prompt] == ["Name a bird."]
    return outcome.record.chosen, outcome.record.rejected


def ratings(of: str) -> dict[str, Any]:
    return {"helpfulness": {"Rating": of, "Rationale": "..."}, "honesty": {"Rating": "N/A"}}


RANKED: dict[str, dict[str, Any]] = {
    "UltraFeedback": {
        "instruction": "Name a bird.",
        "completions": [
            {"response": "A dog.", "overall_score": 2.0, "fine-grained_score": 1.5, "annotations": ratings("1")},
            {"response": "A wren.", "overall_score": 9.0, "fine-grained_score": 4.5, "annotations": ratings("5")},
            {"response": "A fowl.", "overall_score": 6.0, "fine-grained_score": 3.5, "annotations": ratings("3")},
        ],
    },
    "ratings alone": {
        "instruction": "Name a bird.",
        "completions": [
            {"response": "A dog.", "annotations": ratings("2")},
            {"response": "A wren.", "annotations": ratings("4")},
        ],
    },
    "Nectar": {
        "prompt": "\n\nHuman: Name a bird.\n\nAssistant: ",
        "answers": [{"answer": "A wren.", "rank": 1.0}, {"answer": "A dog.", "rank": 7.0}],
        "turns": 1,
    },
    "Stack Exchange": {
        "question": "Name a bird.",
        "answers": [
            {"answer_id": 1, "author": "x", "pm_score": 0, "selected": True, "text": "A dog."},
            {"answer_id": 2, "author": "y", "pm_score": 5, "selected": False, "text": "A wren."},
        ],
    },
    "scores apart": {"prompt": "Name a bird.", "responses": ["A dog.", "A wren."], "scores": ["0.1", 0.9]},
    "ranks apart": {"prompt": "Name a bird.", "generations": ["A dog.", "A wren."], "ranks": [2, 1]},
}


@pytest.mark.parametrize("name", RANKED)
def test_of_answers_with_marks_the_best_is_chosen_against_the_worst(name: str, tmp_path: Path) -> None:
    first, second = read(tmp_path, [RANKED[name], RANKED[name]])
    assert pair(first) == pair(second) == ("A wren.", "A dog.")


def test_where_marks_say_nothing_or_contradict_each_other_nothing_is_learned(tmp_path: Path) -> None:
    answers = [{"response": "A dog.", "overall_score": 5}, {"response": "A wren.", "overall_score": 5}]
    finer = [one | {"overall_score": n, "fine-grained_score": 5 - n} for n, one in enumerate(answers)]
    rows = [{"instruction": "Name a bird.", "completions": some} for some in (answers, answers[:1], finer)]
    outcomes = read(tmp_path, rows)
    assert not [one for one in outcomes if isinstance(one, Imported)]
    same, one, contradiction = reasons(outcomes).values()
    assert "the same mark" in same and "no two answers" in one and "contradict" in contradiction


def test_answers_that_nobody_marked_are_not_passed_over_for_their_prompt(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"prompt": "Name a bird.", "responses": ["A dog.", "A wren."]}))
    assert not sniff(path).sure


@pytest.mark.parametrize("low, high", [(1, 5), ("1/5", "5/5"), ("★☆☆☆☆", "★★★★★"), ("20 %", "90%"), (3, 9)])
def test_a_scale_is_known_even_where_the_first_rows_have_only_low_marks(low: Any, high: Any, tmp_path: Path) -> None:
    rows = [{"prompt": f"Name bird {n}.", "response": f"Dog {n}.", "rating": low} for n in range(60)]
    outcomes = read(tmp_path, [*rows, {"prompt": "Name a tree.", "response": "An elm.", "rating": high}])
    assert said(outcomes) == [TWO] and len(reasons(outcomes)) == 60
    shown = preview(tmp_path / "rows", sniff(tmp_path / "rows"))
    assert len(shown) == 5


def test_a_pair_whose_marks_say_the_opposite_is_left_out(tmp_path: Path) -> None:
    row = {"prompt": "Name a bird.", "chosen": "A wren.", "rejected": "A dog."}
    right, wrong = row | {"chosen_score": 8, "rejected_score": 3}, row | {"chosen_score": "2", "rejected_score": "7"}
    first, second = read(tmp_path, [right, wrong])
    assert pair(first) == ("A wren.", "A dog.")
    assert isinstance(second, Refused) and "the lower mark: 2, and 7" in second.reason


def test_a_neutral_label_is_neither_liked_nor_an_answer(tmp_path: Path) -> None:
    labels = ("positive", "negative", "neutral", "positive")
    rows = [{"prompt": f"{n}?", "completion": f"Answer {n}.", "label": one} for n, one in enumerate(labels)]
    outcomes = read(tmp_path, rows)
    assert [one[-1][1] for one in said(outcomes)] == ["Answer 0.", "Answer 3."]
    assert "'neutral' does not say" in reasons(outcomes)[3]


def test_turns_are_read_where_each_field_has_its_list_and_where_json_is_written_twice(tmp_path: Path) -> None:
    turns = [{"role": role, "content": text} for role, text in TWO]
    lists = {name: [turn[name] for turn in turns] for name in turns[0]}
    assert said(read(tmp_path, [{"messages": lists}, {"messages": lists}])) == [TWO, TWO]
    assert said(read(tmp_path, [{"id": 1, "messages": json.dumps(json.dumps(turns))}] * 2, "csv")) == [TWO, TWO]


def test_files_with_byte_order_marks_that_were_joined_are_read_whole(tmp_path: Path) -> None:
    line = json.dumps({"prompt": "Name a tree.", "completion": "An elm."})
    path = tmp_path / "rows.jsonl"
    path.write_text(f"\ufeff{line}\n\ufeff{line}\n", encoding="utf-8")
    assert said(list(DatasetReader(path, sniff(path)))) == [TWO, TWO]
    path.write_text(json.dumps({"prompt": ["Name a tree."] * 2, "completion": ["An elm."] * 2}), encoding="utf-16")
    assert said(list(DatasetReader(path, sniff(path)))) == [TWO, TWO]
