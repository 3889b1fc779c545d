"""The bench that tries settings trains as the app does, also with several adapters side by side."""

from pathlib import Path

import pytest
import torch
from accelerate import Accelerator

from bench.trials.job import Job
from bench.trials.sweep import Sweep
from bench.trials.texts import facts, pairs
from chatlab.engines.folder import read_adapter
from chatlab.models.base import Base
from chatlab.records import Message, TrainSettings
from chatlab.settings import PACKAGE
from chatlab.training.data import Example, schedule
from chatlab.training.kl import KLReference
from chatlab.training.loop import learning_rate, train
from chatlab.training.model import LoraModel
from chatlab.training.sft import SFTLoss

EMBEDDED = PACKAGE / "models" / "embedded"
USUAL = {"rank": 4, "alpha": 8.0, "epochs": 1, "batch_size": 3, "kl_samples": 1}


@pytest.fixture(scope="module")
def examples():
    template = Base.open(EMBEDDED).template
    rows = [[Message(role="user", content=q), Message(role="assistant", content=a)] for q, a in pairs("stage")[0][:9]]
    encoded = [template.encode(row)[0] for row in rows]
    return [Example(demonstration=n, ids=tuple(e.ids), labels=tuple(e.labels)) for n, e in enumerate(encoded)]


@pytest.fixture(scope="module")
def reference(examples):
    """Texts with made-up distributions: any will do, so long as both read the same."""
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(10, 2000, (4, 16), generator=generator)
    topk_ids = torch.stack([torch.randperm(2000, generator=generator)[:8] for _ in range(64)]).view(4, 16, 8)
    return KLReference(ids, topk_ids, torch.full((4, 16, 8), 0.1))


def losses_of_the_app(examples, reference, settings):
    model = LoraModel(EMBEDDED, settings, Accelerator(cpu=True), bf16=False, fast=False)
    return [step.loss for step in train(model, examples, settings, SFTLoss(settings, reference), lambda *_: {})]


def losses_side_by_side(sweep, examples, reference, first):
    steps, found = schedule(len(examples), first), []
    for number, chosen in enumerate(steps):
        rates = [learning_rate(number, len(steps), job.train_settings) for job in sweep.jobs]
        drawn = reference.sample(number, first.kl_samples, first.seed)
        found.append(sweep.step([examples[i] for i in chosen], reference, drawn, rates))
    return torch.stack(found).T.tolist()


def test_adapters_side_by_side_learn_as_each_would_in_a_run_of_its_own(examples, reference, tmp_path):
    tried = [{"learning_rate": 1e-2, "kl_weight": 0.0}, {"learning_rate": 3e-3, "kl_weight": 2.0}]
    jobs = [Job(model="embedded", pack="stage", settings=USUAL | one) for one in tried]
    sweep = Sweep(EMBEDDED, jobs, bf16=False)
    own = losses_side_by_side(sweep, examples, reference, jobs[0].train_settings)
    for job, losses in zip(jobs, own, strict=True):
        alone = losses_of_the_app(examples, reference, TrainSettings(**job.settings))
        assert losses == pytest.approx(alone, abs=2e-3)
    assert own[0] != own[1]
    sweep.save(1, tmp_path / "adapter")
    read_adapter(tmp_path / "adapter", None).check_weights()


def test_an_adapter_of_the_upper_layers_leaves_the_lower_ones_out(examples, reference, tmp_path):
    job = Job(model="embedded", pack="stage", settings=USUAL | {"learning_rate": 1e-2}, layers=0.5)
    sweep = Sweep(EMBEDDED, [job], bf16=False)
    losses_side_by_side(sweep, examples[:3], reference, job.train_settings)
    changed = [bool(pair.b.abs().sum() > 0) for pair in sweep.pairs]
    assert changed == [False] * (len(changed) // 2) + [True] * (len(changed) // 2)
    sweep.save(0, tmp_path / "upper")
    files = read_adapter(tmp_path / "upper", None)
    files.check_weights()
    assert b"layers.0." not in files.weights[:100_000]


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
