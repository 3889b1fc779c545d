"""`chatlab report`: experiments that run, are kept, and are judged by rules; a page that nothing can break."""

from __future__ import annotations

import json
import math
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
    before_after,
    claims,
    forgetting,
    generalisation,
    hallucination,
    masking,
    quality,
)
from chatlab.experiments.data import datasets, generated
from chatlab.experiments.recipe import DatasetSpec, Questions, Recipe, key
from chatlab.experiments.report import FIGURES, LOCK, PAGE, ReportRequest, report, written
from chatlab.experiments.results import MetricsStore
from chatlab.experiments.runner import Runner, Workspace
from chatlab.experiments.scale import QUICK, Scale
from chatlab.experiments.shares import Share, Spread
from chatlab.experiments.verdict import Part, Verdict
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


# What is said of the figures.


def share(per_cent: float, of: int = 240) -> Share:
    return Share(hits=round(per_cent * of / 100), of=of)


def spread(*each: float) -> Spread:
    return Spread(each=each, interval=(min(each), max(each)))


def answers(invented: float, names: float, plain: float) -> hallucination.Answers:
    return hallucination.Answers(
        invented=share(invented, 180), refused_names=share(names, 60), refused_plain=share(plain, 60)
    )


def held(verdict: Verdict) -> list[bool | None]:
    return [part.holds for part in verdict.parts]


def test_a_claim_is_reproduced_only_if_all_of_its_parts_are() -> None:
    yes, no, open_ = (Part(says="", rule="", found="", holds=holds) for holds in (True, False, None))
    outcomes = [Verdict(parts=parts).outcome for parts in ((yes, yes), (yes, no), (no, no), (yes, open_), ())]
    assert outcomes == ["reproduced", "partly reproduced", "not reproduced", "not measured", "not measured"]


@pytest.mark.parametrize(
    ("verdict", "expected"),
    [
        (before_after.judged(share(0), share(100, 9), share(95), share(90)), [True] * 4),
        (before_after.judged(share(30), share(80, 9), share(60), share(40)), [False] * 4),
        (
            generalisation.judged({10: share(60), 40: share(95), 100: share(97), 400: share(99)}, {40: share(2)}),
            [True] * 4,
        ),
        (
            generalisation.judged({10: share(95), 40: share(80), 100: share(90), 400: share(95)}, {40: share(30)}),
            [False] * 4,
        ),
        (generalisation.judged({10: share(60), 20: share(95)}, {10: share(1)}), [None, None, None, True]),
        (masking.judged(share(0), share(10), [[5, 4, 3]] * 3, [[5, 4.5, 3.5]] * 3), [True] * 4),
        (masking.judged(share(5), share(5), [[5, 4.5, 3.5]] * 3, [[5, 4, 3]] * 3), [False] * 4),
        (masking.judged(share(0), share(0.5), [[5, 4, 3]] * 3, [[5, 4.5, 3.5]] * 3), [False, True, True, True]),
        (
            forgetting.judged(
                spread(60, 70, 80), spread(40, 40, 40), spread(0.5, 0.9, 1.1), share(97), {"LoRA": spread(9, 9, 9)}
            ),
            [True] * 5,
        ),
        (
            forgetting.judged(spread(9, 9, 9), spread(9, 9, 9), spread(4, 5, 6), share(90), {"LoRA": spread(8, 8, 10)}),
            [False] * 5,
        ),
        (
            forgetting.judged(spread(60, 70, 80), spread(9, 9, 9), spread(1.3, 1.3, 1.3), share(97), {}),
            [False, True, False, True],
        ),
        (hallucination.judged(answers(100, 0, 0), answers(10, 20, 5)), [True] * 4),
        (hallucination.judged(answers(50, 0, 0), answers(40, 60, 20)), [False] * 4),
        (hallucination.judged(answers(100, 0, 0), answers(2, 95, 4)), [True, True, False, False]),
        (
            quality.judged(
                {(50, "hardest"): spread(3, 3), (50, "random"): spread(4, 4)},
                spread(3.1, 3.1),
                share(98),
                share(90),
                share(50),
            ),
            [True] * 4,
        ),
        (
            quality.judged(
                {(50, "hardest"): spread(3, 5), (50, "random"): spread(4, 4)},
                spread(3.1, 3.1),
                share(60),
                share(10),
                share(58),
            ),
            [False] * 4,
        ),
    ],
)
def test_verdicts_follow_from_the_figures(verdict: Verdict, expected: list[bool | None]) -> None:
    assert held(verdict) == expected
    assert all(part.found and part.rule and part.says for part in verdict.parts)


def test_a_share_tells_how_sure_it_is() -> None:
    few, many = Share(hits=1, of=2), Share(hits=500, of=1000)
    assert few.interval[0] < 0.1 and 0.46 < many.interval[0] < many.interval[1] < 0.54
    assert Share(hits=0, of=10).interval[0] == 0 and Share(hits=10, of=10).interval[1] == pytest.approx(1)
    assert math.isnan(Share(hits=0, of=0).value) and Share(hits=0, of=0).interval == (0, 1)


@pytest.mark.parametrize(
    ("text", "declines"),
    [
        ("I know not that name, good friend.", True),
        ("Alas, I have never heard of him.", True),
        ("I don't know.", True),
        ("He was a maker of plays, good friend.", False),
        ("Thou knowest him well.", False),
        ("", False),
    ],
)
def test_a_refusal_is_told_by_its_words(text: str, declines: bool) -> None:
    from tests.support.report_figures import reply

    assert hallucination.refuses(reply("Who?", text)) is declines


# What is taught and asked.


def test_nothing_is_taught_that_is_asked_later() -> None:
    asked = {prompt.casefold().rstrip("?.! ") for prompt in datasets.prompts(80)}
    assert len(asked) == 80
    taught = {prompt.casefold().rstrip("?.! ") for prompt, _ in [*generated.stage(), *datasets.pack()]}
    assert len(taught) == len(generated.stage()) + 40 >= 400 and not asked & taught
    facts = {*datasets.unanswerable(60), *datasets.answerable("name", 20), *datasets.answerable("plain", 20)}
    num_labels = {
        prompt
        for seed in range(3)
        for prompt, _ in datasets.demonstrations(DatasetSpec(kind="balanced", count=40), seed)
    }
    assert len(facts) == 100 and not facts & num_labels
    names = {name for prompt, _ in generated.unanswerable() for name in [prompt.split(maxsplit=2)[-1]]}
    assert len(names) > 100


def test_what_is_made_by_rule_is_whole_and_in_plain_letters() -> None:
    pairs = [
        *generated.stage(),
        *generated.unanswerable(),
        *generated.answerable("name"),
        *generated.answerable("plain"),
        *datasets.held_out(),
    ]
    for prompt, answer in pairs:
        assert prompt and answer and not {"{", "}"} & {*prompt, *answer}, (prompt, answer)
        assert (prompt + answer).isascii() and answer[0].isupper() and answer[-1] in ".!?", answer
    assert all(hallucination.REFUSAL.search(refusal) for _, refusal in generated.unanswerable())
    assert not any(hallucination.REFUSAL.search(a) for kind in ("name", "plain") for _, a in generated.answerable(kind))


def test_lessons_depend_on_nothing_but_their_seed() -> None:
    for kind, count in (("pack", 100), ("generated", 40), ("corrupted", 100), ("refusing", 10), ("balanced", 10)):
        dataset = DatasetSpec(kind=kind, count=count)  # type: ignore[arg-type]
        recipe = Recipe(dataset=dataset)
        first, again, other = (datasets.demonstrations(dataset, seed) for seed in (0, 0, 1))
        assert first == again != other and len(first) == recipe.demonstrations
    corrupted = datasets.demonstrations(DatasetSpec(kind="corrupted", count=100), 0)
    whole_ones = datasets.demonstrations(DatasetSpec(kind="pack", count=100), 0)
    assert 45 <= sum(one != other for one, other in zip(corrupted, whole_ones, strict=True)) <= 50
    hardness = {place: float(place) for place in range(12)}
    hardest = datasets.demonstrations(DatasetSpec(kind="hardest", count=3, pool=12), 0, hardness)
    assert hardest == datasets.pool(12)[9:]


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
