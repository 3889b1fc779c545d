"""A run whose numbers go out of bounds stops there, names the setting, and publishes nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from chatlab.errors import InputError, TrainingError
from chatlab.evaluation.checkpoint_selection import CheckpointMetrics, choose
from chatlab.lab.guide.checklist import remembers
from chatlab.lab.runs.requests import check_settings
from chatlab.measurements import Step
from chatlab.models.base import Base
from chatlab.records import AdapterCard, TrainSettings
from chatlab.settings import PACKAGE
from chatlab.training.loop import check_finite
from chatlab.training.metrics import NLL, forgetting, interval
from chatlab.training.process.client import TrainerClient
from chatlab.ui.verdict import verdict
from tests.training.test_process import finish, run_on

NAN = float("nan")
PLAIN: dict[str, Any] = {"rank": 4, "alpha": 8.0, "epochs": 3, "batch_size": 4, "kl_weight": 0.0, "held_out": 0.0}


@pytest.fixture(scope="module")
def base(base_folder: Path) -> Base:
    return Base.open(base_folder)


@pytest.fixture(scope="module")
def trainer(base: Base, cache_folder: Path) -> Iterator[TrainerClient]:
    own = TrainerClient(base.folder, cache_folder)
    yield own
    own.close()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"learning_rate": 1e30}, "The learning rate of 1e+30 is too high"),
        ({"learning_rate": 1e30, "epochs": 1, "batch_size": 8}, "learning rate"),  # a single step
        ({"adam_epsilon": 0.0}, "Adam's epsilon of 0 is too low"),
    ],
)
def test_a_run_stops_at_the_first_number_that_is_none(
    base: Base, trainer: TrainerClient, tmp_path: Path, settings: dict[str, Any], said: str
) -> None:
    lines = (PACKAGE / "data" / "packs" / "stage.jsonl").read_text(encoding="utf-8").split("\n")[:8]
    rows = [json.loads(line)["messages"] for line in lines]
    run = finish(trainer, run_on(tmp_path / "run", base, rows, TrainSettings(**PLAIN | settings)))
    assert run.state == "failed" and said in run.error and "Nothing was published" in run.hint
    assert len(run.steps) < 7 and not run.adapter.exists() and run.result is None
    assert all(np.isfinite(step.loss) for step in run.steps)


def test_a_base_that_computes_nothing_is_told_from_a_rate_that_is_too_high() -> None:
    with pytest.raises(TrainingError, match="of the base itself"):
        check_finite(Step(step=0, steps=3, loss=NAN), TrainSettings())
    with pytest.raises(TrainingError, match=r"at step 2 its forgetting was inf\. A KL weight of 1e\+09"):
        check_finite(Step(step=2, steps=3, loss=1.0, forgetting=float("inf")), TrainSettings(kl_weight=1e9))
    with pytest.raises(TrainingError, match=r"An alpha of 1e\+20 is too high for a rank of 16"):
        check_finite(Step(step=1, steps=3, loss=NAN), TrainSettings(alpha=1e20))


def test_what_is_no_number_is_within_no_bound() -> None:
    card = AdapterCard(name="a", base="b", forgetting=NAN)
    assert verdict(NAN).colour == "bad" and not remembers(card).done
    points = [
        CheckpointMetrics(step=1, held_out_loss=2.0, forgetting=1.0),
        CheckpointMetrics(step=2, held_out_loss=1.0, forgetting=NAN),
        CheckpointMetrics(step=3, held_out_loss=NAN, forgetting=0.0),
    ]
    chosen = choose(points)
    assert chosen is not None and chosen.step == 1
    before, after = (NLL(np.array([x]), np.array([1.0])) for x in (1.0, 5000.0))
    assert forgetting(before, after) == interval(before, after)[1] == float("inf")


@pytest.mark.parametrize(
    "settings",
    [{"learning_rate": NAN}, {"learning_rate": float("inf")}, {"kl_weight": NAN}, {"held_out": NAN}, {"alpha": NAN}],
)
def test_settings_that_are_no_numbers_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(InputError):
        check_settings(TrainSettings(**settings))
