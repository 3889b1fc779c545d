"""`chatlab report`: experiments that run, are kept, and are judged by rules; a page that nothing can break."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from chatlab.__main__ import main
from chatlab.errors import InputError, RunBusy
from chatlab.experiments import full_finetune
from chatlab.experiments.claims import (
    claims,
)
from chatlab.experiments.data import datasets
from chatlab.experiments.recipe import DatasetSpec, Questions, Recipe, key
from chatlab.experiments.report import FIGURES, LOCK, PAGE, ReportRequest, report, written
from chatlab.experiments.results import MetricsStore
from chatlab.experiments.runner import Runner, Workspace
from chatlab.experiments.scale import QUICK, Scale
from chatlab.models.base import Base
from chatlab.settings import PACKAGE, Settings
from tests.support.browser import browser
from tests.support.report_figures import made_up, tiny_base

SMALLEST = replace(QUICK, usual=8, sizes=(8, 10), prompts=2, draws=1, facts=1)
ROOT = PACKAGE.parent


@pytest.fixture(scope="module")
def tiny(base_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_base(base_folder, tmp_path_factory.mktemp("tiny") / "base")


@pytest.fixture
def on_tiny(tiny: Path, tmp_path: Path) -> Settings:
    """All share what that base wrote for its KL penalty."""
    return Settings(home=tmp_path / "home", base=tiny, cache_folder=tiny.parent / "cache")


def heard() -> tuple[list[str], Callable[[str], None]]:
    said: list[str] = []
    return said, said.append


# What runs.

BEGIN = """
import sys
from pathlib import Path
from chatlab.experiments.report import ReportRequest, report
from chatlab.settings import Settings
from tests.experiments.test_report import SMALLEST

request = ReportRequest(folder=Path(sys.argv[1]), scale=SMALLEST, only=("masking",), workers=1)
report(request, Settings.from_environment(), lambda line: None)
"""


def test_a_killed_report_goes_on_without_running_finished_parts_again(on_tiny: Settings, tmp_path: Path) -> None:
    folder = tmp_path / "report"
    environment = os.environ | {"CHATLAB_BASE": str(on_tiny.base), "CHATLAB_CACHE": str(on_tiny.cache)}
    process = subprocess.Popen([sys.executable, "-c", BEGIN, str(folder)], cwd=ROOT, env=environment)
    end = time.monotonic() + 240
    while not (kept := sorted((folder / FIGURES).glob("*.json"))) and time.monotonic() < end:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert kept and not (folder / PAGE).exists()
    before = {file: file.stat().st_mtime_ns for file in kept}

    said, say = heard()
    request = ReportRequest(folder=folder, scale=SMALLEST, only=("masking",), workers=1)
    page = report(request, on_tiny, say)
    assert f"{len(before)} known from before" in said[0]
    assert all(file.stat().st_mtime_ns == then for file, then in before.items())
    text = page.read_text(encoding="utf-8")
    assert "Replies that write the user" in text and "<svg" in text
    assert not (folder / ".work").exists()
    said, say = heard()
    report(request, on_tiny, say)
    assert said == ["Nothing left to carry out, 2 known from before."]


def test_every_way_of_training_gives_figures(on_tiny: Settings, tmp_path: Path) -> None:
    """An adapter, the whole base held and rehearsed, a pruned set, refusals: all asked of the real engine."""
    ask = Questions(unseen=1, facts=1)
    recipes = [
        Recipe(questions=Questions(unseen=1, guide=True)),
        Recipe(
            dataset=DatasetSpec(kind="pack", count=8), settings=(("epochs", 1.0), ("kl_samples", 1.0)), questions=ask
        ),
        Recipe(
            dataset=DatasetSpec(kind="pack", count=8), full=True, replay=1, settings=(("epochs", 1.0),), questions=ask
        ),
        Recipe(dataset=DatasetSpec(kind="hardest", count=4, pool=12), settings=(("epochs", 1.0),), questions=ask),
        Recipe(dataset=DatasetSpec(kind="balanced", count=2), settings=(("epochs", 1.0),), questions=ask),
    ]
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    place = Workspace(base=on_tiny.base, cache=on_tiny.cache, metrics=tmp_path / "kept", scratch=scratch, threads=1)
    runner = Runner(place, Base.open(on_tiny.base), lambda line: None)
    found = runner.execute(recipes, workers=1)
    base, adapter, entire, pruned, refusing = (found[recipe] for recipe in recipes)
    assert [reply.prompt for reply in base.of("guide")] == list(datasets.GUIDE)
    assert len({each.held_out_loss for each in found.values()}) == len(recipes), "each was trained otherwise"
    assert [each.steps for each in (adapter, entire, pruned, refusing)] == [2, 2, 1, 10]
    assert (
        entire.forgetting != 0 and entire.forgetting_interval[0] <= entire.forgetting <= entire.forgetting_interval[1]
    )
    assert all(len(each.of("unanswerable")) == 1 for each in (adapter, entire, pruned, refusing))
    assert runner.known(recipes) == found, "what is kept is what was measured"
    assert not list(scratch.iterdir())


@pytest.mark.parametrize(("bf16", "within"), [(False, 1e-4), (True, 1e-2)])
def test_the_whole_base_is_trained_with_the_losses_of_the_app(tiny: Path, bf16: bool, within: float) -> None:
    """In both precisions on every processor; bfloat16 keeps eight bits of each product."""
    from accelerate import Accelerator

    from chatlab.records import TrainSettings
    from chatlab.training.data import Example
    from chatlab.training.kl import KLReference
    from chatlab.training.loss import next_token_loss
    from chatlab.training.model import LoraModel
    from chatlab.training.packing import collate

    model, causal = LoraModel(tiny, TrainSettings(), Accelerator(cpu=True), bf16=bf16), full_finetune.opened(tiny)
    rows = [
        Example(demonstration=n, ids=tuple(range(9, 9 + w)), labels=(-100,) * 4 + tuple(range(13, 9 + w)))
        for n, w in enumerate((12, 7, 9))
    ]
    batch = collate(rows)
    with torch.no_grad(), model.adapter_disabled():
        app = next_token_loss(model.hidden(batch)[batch.label_positions], model.head, batch.labels) / len(batch.labels)
        ids = torch.arange(5, 37).reshape(2, 16)
        probs, top = torch.rand(2, 16, 100).softmax(-1).topk(32)
        kl = KLReference(ids, top, probs)
        held = kl.loss(model.hidden(kl.batch([0, 1])), model.head, [0, 1]) / ids.numel()
    assert full_finetune.answers_loss(causal, rows).item() == pytest.approx(app.item(), abs=within)
    assert full_finetune.held_loss(causal, kl, [0, 1]).item() == pytest.approx(held.item(), abs=within)


def test_figures_are_kept_by_what_decides_them(tmp_path: Path) -> None:
    recipe = Recipe(dataset=DatasetSpec(kind="pack", count=40))
    same = key(recipe, "base", 8_000_000, "data")
    others = [
        key(replace(recipe, seed=1), "base", 8_000_000, "data"),
        key(recipe, "other", 8_000_000, "data"),
        key(recipe, "base", 8_000_000, "other"),
        key(replace(recipe, full=True), "base", 8_000_000, "data"),
        key(replace(recipe, settings=(("kl_weight", 5.0),)), "base", 8_000_000, "data"),
        key(recipe, "base", 200_000_000, "data"),  # other defaults
    ]
    assert same not in others and len(set(others)) == len(others)
    assert datasets.digest(recipe.dataset, 0, recipe.questions) != datasets.digest(
        recipe.dataset, 0, Questions(unseen=3)
    )
    kept = MetricsStore(tmp_path)
    (metrics,) = (f for r, f in made_up(SMALLEST).items() if r.dataset is None)
    kept.write(same, {}, metrics)
    assert kept.read(same) == metrics
    (tmp_path / f"{same}.json").write_text('{"figures": {"replies": [', encoding="utf-8")
    assert kept.read(same) is None, "a damaged file is measured again"


def test_a_report_is_refused_where_it_would_do_harm(on_tiny: Settings, tmp_path: Path, capsys) -> None:
    foreign = tmp_path / "letters"
    foreign.mkdir()
    (foreign / "letter.txt").write_text("Dear Ann", encoding="utf-8")
    with pytest.raises(InputError, match="other things"):
        report(ReportRequest(folder=foreign, scale=QUICK), on_tiny)
    with pytest.raises(InputError, match="cannot be written"):
        report(ReportRequest(folder=foreign / "letter.txt" / "report", scale=QUICK), on_tiny)
    with pytest.raises(InputError, match="no claim 'mask'"):
        report(ReportRequest(folder=tmp_path / "r", scale=QUICK, only=("mask",)), on_tiny)
    from filelock import FileLock

    with FileLock(tmp_path / "r2" / LOCK) if (tmp_path / "r2").mkdir() is None else None:  # type: ignore[union-attr]
        with pytest.raises(RunBusy):
            report(ReportRequest(folder=tmp_path / "r2", scale=QUICK), on_tiny)
    assert main(["report", "--only", "mask", "--out", str(tmp_path / "r")]) == 1
    assert "There are before-after" in capsys.readouterr().err


def test_without_the_plotting_library_it_says_how_to_get_it(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main(["report", "--quick", "--out", str(tmp_path / "r")]) == 1
    assert "pip install 'matplotlib" in capsys.readouterr().err


# The page.

HOSTILE = '<script>alert(1)</script>"><img src=x onerror=alert(2)>\u202e</svg></style>{{ 7 * 7 }}\x00\ud800'


def test_hostile_replies_stay_text(tiny: Path, tmp_path: Path) -> None:
    page = written(tmp_path / PAGE, SMALLEST, made_up(SMALLEST, HOSTILE), Base.open(tiny), "llama.cpp", 1)
    text = page.read_text(encoding="utf-8")
    assert "<script" not in text and "<img" not in text and text.count("</style>") == text.count("<style")
    assert "&lt;script&gt;alert(1)" in text and "{{ 7 * 7 }}" in text
    assert not {"\u202e", "\x00", "\ud800"} & {*text}


def test_the_page_stands_alone_and_names_nothing_of_this_machine(tiny: Path, tmp_path: Path) -> None:
    found = made_up(Scale())
    page = written(tmp_path / PAGE, Scale(), found, Base.open(tiny), "llama.cpp", 2).read_text(encoding="utf-8")
    assert all(claim.title in page for claim in claims())
    assert page.count("<svg") >= 10 and "What did not reproduce" in page
    plain = page.replace("http://www.w3.org/", "")
    assert "http://" not in plain and "https://" not in plain and "url(http" not in plain
    assert str(ROOT) not in page and str(Path.home()) not in page and os.uname().nodename not in page
    few = written(tmp_path / PAGE, QUICK, {}, Base.open(tiny), "llama.cpp", 1).read_text(encoding="utf-8")
    assert "A first look" in few and few.count("Not measured yet") == len(claims())


def test_the_page_fits_a_phone(tiny: Path, tmp_path: Path) -> None:
    page = written(tmp_path / PAGE, SMALLEST, made_up(SMALLEST), Base.open(tiny), "llama.cpp", 1)
    with browser() as chromium:
        tab = chromium.new_page(viewport={"width": 390, "height": 800})  # type: ignore[attr-defined]
        said: list[str] = []
        tab.on("console", lambda message: said.append(message.text))
        tab.goto(page.as_uri())
        assert tab.evaluate("document.documentElement.scrollWidth") <= 390
        assert tab.locator("svg").first.bounding_box()["width"] > 250
        assert said == []


def test_figures_can_be_read_by_anybody(tmp_path: Path) -> None:
    kept = MetricsStore(tmp_path)
    for number, (recipe, metrics) in enumerate(list(made_up(SMALLEST).items())[:3]):
        kept.write(str(number), {"seed": recipe.seed}, metrics)
        assert json.loads((tmp_path / f"{number}.json").read_text(encoding="utf-8"))["figures"]["steps"] == 54
