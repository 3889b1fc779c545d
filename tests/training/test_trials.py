"""The bench that tries settings trains as the app does, and asks what came of it."""

import json
from pathlib import Path

import pytest

from bench.trials.job import Job
from bench.trials.run import run
from bench.trials.texts import facts, model_ids, pairs
from chatlab.engines.folder import read_adapter
from chatlab.models.base import Base
from chatlab.settings import PACKAGE

EMBEDDED = PACKAGE / "models" / "embedded"
LITTLE = {"rank": 4, "alpha": 8.0, "epochs": 1, "batch_size": 8, "kl_samples": 1, "learning_rate": 5e-3}


def test_a_trial_trains_measures_and_asks_and_is_not_run_twice(tmp_path):
    (tmp_path / "embedded").symlink_to(EMBEDDED)
    model_ids(Base.open(EMBEDDED), ["stage"]).save(tmp_path / "embedded.json")
    trial = Job(model="embedded", pack="stage", settings=LITTLE, asked=2, reply_tokens=8, keep="kept")
    bare = Job(model="embedded", pack="stage", asked=2, reply_tokens=8)
    for _ in range(2):
        run([bare, trial], tmp_path, tmp_path / "trials.jsonl")
    before, after = map(json.loads, (tmp_path / "trials.jsonl").read_text(encoding="utf-8").splitlines())
    assert before["steps"] == 0 and before["forgetting"] == 0 and before["kl"] == pytest.approx(0, abs=1e-6)
    assert after["steps"] == 5 and after["task_loss"] < before["task_loss"] and after["replies"] != before["replies"]
    assert len(after["replies"]) == 2 and len(after["facts"]) == 40
    read_adapter(tmp_path / "adapters" / "kept", None).check_weights()


def test_there_are_forty_questions_and_a_right_answer_to_each_unseen_message():
    assert len(facts()) == 40
    learned, aside, prompts = pairs("triage")
    assert [prompt for prompt, _ in aside] == prompts and len(prompts) == 20
    assert not {prompt for prompt, _ in learned} & set(prompts)


def test_dolly_rows_that_are_measured_are_not_learned():
    if not Path(__file__).resolve().parents[3].joinpath("shared", "data", "chat", "dolly_4300.jsonl").exists():
        pytest.skip("The Dolly rows are not beside the checkout.")
    learned, aside, _ = pairs("dolly")
    assert len(learned) == 200 and len(aside) == 40 and not set(learned) & set(aside)
