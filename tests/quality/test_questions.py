"""What is held out repeats nothing that is learned: one question is on one side, however often it is asked."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from chatlab.models.base import Base
from chatlab.quality.questions import like_questions
from chatlab.records import Message, TrainSettings
from chatlab.training.data import held_out_ids, read_examples

SETTINGS = TrainSettings(held_out=0.1)
THINGS = [
    "geese",
    "bells",
    "rivers",
    "lanterns",
    "onions",
    "bridges",
    "candles",
    "mirrors",
    "carpets",
    "violins",
    "teapots",
    "ladders",
    "marbles",
    "harbours",
    "glaciers",
    "magnets",
    "feathers",
    "pigments",
    "saddles",
    "orchards",
    "compasses",
    "turbines",
    "quilts",
    "trumpets",
]


def said(*turns: str) -> list[Message]:
    roles = ("user", "assistant")
    return [Message(role=roles[n % 2], content=text) for n, text in enumerate(turns)]  # type: ignore[arg-type]


def snapshot(folder: Path, rows: list[list[Message]]) -> Path:
    file = folder / "snapshot.jsonl"
    lines = ({"id": n, "messages": [{"role": m.role, "content": m.content} for m in r]} for n, r in enumerate(rows, 1))
    file.write_bytes(b"".join(orjson.dumps(line) + b"\n" for line in lines))
    return file


def test_questions_are_the_same_but_for_punctuation_case_and_small_words() -> None:
    rows = {
        1: said("Which bird sings first?", "The robin."),
        2: said("which bird sings first", "The robin!"),
        3: said("Who mends the gate?", "Whoever broke it."),
        4: said("Hello!", "Good day.", "Which bird sings first?", "The robin."),
        5: said("Which bird sings last?", "The nightingale."),
        6: said("hello", "Good day."),
        7: said("鳥の名前は？", "ミソサザイ。"),
        8: said("鳥の名前は?", "コマドリ。"),
    }
    assert like_questions(rows) == [(1, 2), (3,), (4, 6), (5,), (7, 8)]


def test_a_conversation_that_goes_on_is_with_the_one_that_stops_earlier() -> None:
    rows = {1: said("Name a bird.", "A wren.", "And another?", "An owl."), 2: said("Name a bird.", "A robin.")}
    assert like_questions(rows) == [(1, 2)]
    assert like_questions({3: said("And another?", "An owl."), **rows}) == [(1, 2), (3,)]


@pytest.mark.parametrize("seed", range(4))
def test_no_question_is_on_both_sides(base_folder: Path, tmp_path: Path, seed: int) -> None:
    rows = [said(f"What of the {thing}{end}", f"I like {thing}.") for thing in THINGS for end in ("?", "", " please?")]
    found = read_examples(
        snapshot(tmp_path, rows), Base.open(base_folder).template, TrainSettings(held_out=0.1, seed=seed), 512
    )
    learned, aside = ({(e.demonstration - 1) // 3 for e in part} for part in (found.train, found.held_out))
    assert aside and not learned & aside and len(found.held_out) == 3 * len(aside)
    assert (found.questions, found.held_out_questions) == (len(THINGS), len(aside))


def test_three_questions_are_too_few_to_hold_one_out_however_often_they_are_asked(
    base_folder: Path, tmp_path: Path
) -> None:
    rows = [said(f"What of the {thing}?", f"I like {thing}, {n} times.") for n in range(8) for thing in THINGS[:3]]
    found = read_examples(snapshot(tmp_path, rows), Base.open(base_folder).template, SETTINGS, 512)
    assert not found.held_out and found.questions == 3 and found.held_out_questions == 0


def test_a_question_that_most_rows_ask_is_learned() -> None:
    groups = [tuple(range(100)), *((n,) for n in range(100, 140))]
    for seed in range(20):
        chosen = held_out_ids(groups, TrainSettings(held_out=0.1, seed=seed))
        assert len(chosen) == 4 and min(chosen) >= 100
