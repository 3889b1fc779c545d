"""What a run learns from: which rows, in which order and at which rate, and how long it takes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from chatlab.errors import NothingToLearn
from chatlab.models.base import Base
from chatlab.records import TrainSettings
from chatlab.training.data import IGNORED, Example, read_examples, schedule, split
from chatlab.training.defaults import held_out_count, plan, settings_for
from chatlab.training.loop import learning_rate
from tests.training.test_training import snapshot

SETTINGS = TrainSettings(rank=4, kl_weight=0, epochs=2, held_out=0)


@pytest.fixture(scope="module")
def base(base_folder: Path) -> Base:
    return Base.open(base_folder)


def test_every_pass_reads_every_row_once() -> None:
    steps = schedule(10, replace(SETTINGS, epochs=3, batch_size=4))
    assert len(steps) == 9
    for number in range(3):
        assert sorted(i for step in steps[3 * number : 3 * number + 3] for i in step) == list(range(10))


def test_the_learning_rate_rises_and_falls_to_nearly_nothing() -> None:
    rates = [learning_rate(number, 100, TrainSettings(learning_rate=1.0)) for number in range(100)]
    assert rates[0] < rates[3] < rates[4] == max(rates) == 1.0
    assert rates[-1] < 0.01


def test_few_demonstrations_are_all_learned_and_many_keep_some_aside() -> None:
    assert held_out_count(19, 0.1) == 0
    assert held_out_count(20, 0.1) == held_out_count(40, 0.1) == 4
    assert held_out_count(100, 0.1) == 10
    assert held_out_count(100, 0.0) == 0


def test_what_is_held_out_depends_on_the_seed_alone() -> None:
    rows = [Example(demonstration=n, ids=(1, 2), labels=(IGNORED, 2)) for n in range(40)]
    settings = replace(SETTINGS, held_out=0.1)
    learn, aside = split(rows, settings)
    assert len(aside) == 4 and len(learn) == 36
    assert split(list(reversed(rows)), settings)[1] == list(reversed(aside))
    assert split(rows, replace(settings, seed=5))[1] != aside


def test_rows_that_cannot_be_learned_are_left_out_and_counted(base: Base, tmp_path: Path) -> None:
    file = snapshot(tmp_path, [("Hello", "Good day."), ("Hello", ""), ("Hello", "word " * 600)])
    found = read_examples(file, base.template, SETTINGS, 512)
    assert [row.demonstration for row in found.train] == [1]
    assert [d.id for d in found.dropped] == [2, 3]
    assert "longer than 512 tokens" in found.dropped[1].reason


@pytest.mark.parametrize("demonstrations", [[], [("Hello", "")], [("Hello", "word " * 600)]])
def test_nothing_usable_is_said_and_why(base: Base, tmp_path: Path, demonstrations: list[tuple[str, str]]) -> None:
    with pytest.raises(NothingToLearn) as error:
        read_examples(snapshot(tmp_path, demonstrations), base.template, SETTINGS, 512)
    assert error.value.hint


def test_a_plan_says_how_many_steps_and_how_long() -> None:
    settings = settings_for(40, 10_000_000, epochs=6, batch_size=4)
    found = plan(settings, 40, 10_000_000)
    assert (found.learned, found.held_out, found.steps) == (36, 4, 54)
    assert 0 < found.seconds < 60 and found.memory_mb > 0
    assert plan(settings, 80, 10_000_000).seconds > found.seconds
