"""With and without the loss mask: what the trial trains, asks, keeps, and survives. Real runs of the trainer."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from chatlab.engines.fake import FakeEngine, babble
from chatlab.errors import NothingToLearn, RunBusy, TrainingError
from chatlab.evaluation.replies import form
from chatlab.evaluation.reply_metrics import reply_metrics
from chatlab.evaluation.statistics import fisher_exact
from chatlab.evaluation.unseen import FIRST, Reply, role_markers
from chatlab.lab import Lab
from chatlab.lab.runs.mask_ablation import FILE, Ablation, MaskAblation
from chatlab.records import BASE
from chatlab.settings import Settings
from chatlab.template import IGNORED
from chatlab.training.data import read_examples
from chatlab.ui.html import escaped
from chatlab.ui.train.mask_ablation import MaskTrialPanel
from tests.support.page import told

PATIENCE = 180.0
QUICK: dict[str, Any] = {"epochs": 4, "kl_weight": 0.0, "batch_size": 4}


def script(prompt: Any, variant: Any, sampling: Any) -> str:
    """The adapter without the mask speaks for the person, as real ones do."""
    said = babble(prompt, variant, sampling)
    return f"{said} <|user|> And what then?" if variant.name.startswith("without") else said


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, base_folder: Path, cache_folder: Path) -> Iterator[Lab]:
    home = tmp_path_factory.mktemp("mask")
    settings = Settings(home=home, base=base_folder, cache_folder=cache_folder)
    lab = Lab(settings, open_engine=lambda base: FakeEngine(script))
    yield lab
    lab.close()


@pytest.fixture
def few(lab: Lab) -> None:
    """Enough to keep some aside, few enough to be quick."""
    if not lab.demonstrations.approved():
        for one in lab.demonstrations.load_pack("stage")[24:]:
            lab.demonstrations.update(one, status="waiting")


@pytest.fixture
def done(lab: Lab, few: None) -> Ablation:
    """A trial that was stopped in its first run and gone on with to its end; trained once."""
    ablation = lab.mask_ablation.latest()
    if ablation is None or ablation.state != "finished":
        stop_and_go_on(lab)
    finished = lab.mask_ablation.latest()
    assert finished is not None
    return finished


def stop_and_go_on(lab: Lab) -> None:
    started = lab.mask_ablation.start(**QUICK)
    with pytest.raises(RunBusy):
        lab.mask_ablation.start()
    first, second = (side.run for side in started.sides)
    while (run := lab.training.status().run) is None or run.name != first or len(lab.training.status().steps) < 2:
        time.sleep(0.02)
    lab.mask_ablation.stop()
    ended(lab)
    paused = lab.mask_ablation.latest()
    assert paused is not None and (paused.state, paused.problem) == ("paused", "")
    assert (lab.training.run(first).state, lab.training.run(second).state) == ("stopped", "waiting")
    lab.mask_ablation.go_on()
    ended(lab)


def ended(lab: Lab) -> None:
    lab.mask_ablation.wait(PATIENCE)
    assert (ablation := lab.mask_ablation.latest()) is None or ablation.state != "running"


def test_nothing_to_learn_starts_nothing(settings: Settings) -> None:
    empty = Lab(settings, open_engine=lambda base: FakeEngine())
    with pytest.raises(NothingToLearn):
        empty.mask_ablation.start()
    with pytest.raises(TrainingError):
        empty.mask_ablation.go_on()
    assert empty.mask_ablation.latest() is None
    empty.close()


def test_both_runs_learn_the_same_and_differ_in_the_mask_alone(lab: Lab, done: Ablation) -> None:
    masked, bare = (lab.mask_ablation.run(side) for side in done.sides)
    assert masked.request.snapshot == bare.request.snapshot
    assert masked.request.settings == replace(bare.request.settings, mask=True)
    assert not bare.request.settings.mask
    assert masked.result.held_out == bare.result.held_out != ()
    assert lab.variants.live == BASE


def test_what_is_kept_aside_is_measured_on_its_answers_either_way(lab: Lab, done: Ablation) -> None:
    masked, bare = (lab.mask_ablation.run(side) for side in done.sides)
    assert masked.steps[0].held_out_loss == pytest.approx(bare.steps[0].held_out_loss, abs=1e-4)
    template, context = lab.machine.base.template, lab.machine.base.context
    rows = read_examples(bare.folder / "snapshot.jsonl", template, bare.request.settings, context)
    assert all(row.labels == row.ids for row in rows.train)
    assert all(IGNORED in row.labels for row in rows.held_out)


def test_both_answer_the_same_unseen_prompts_and_it_is_counted_who_strays(lab: Lab, done: Ablation) -> None:
    masked, bare = done.sides
    assert [r.prompt for r in masked.replies] == [r.prompt for r in bare.replies] == list(done.prompts)
    assert len(done.prompts) == FIRST
    assert (masked.reply_metrics.role_leaks, bare.reply_metrics.role_leaks) == (0, FIRST)
    assert masked.replies[0].sha256 == lab.variants.card(masked.adapter).sha256 != bare.replies[0].sha256


def test_a_finished_trial_is_there_after_a_restart(lab: Lab, done: Ablation) -> None:
    again = MaskAblation(lab.settings.runs, lab.training, lab.variants, lab.machine)
    assert again.latest() == done


def test_a_trial_that_was_stopped_goes_on_to_its_end(lab: Lab, done: Ablation) -> None:
    assert (done.state, done.problem) == ("finished", "")
    assert all(lab.training.run(side.run).state == "finished" and side.adapter for side in done.sides)


def test_a_run_thrown_away_meanwhile_is_said(lab: Lab, done: Ablation) -> None:
    file = lab.settings.runs / FILE
    kept = file.read_bytes()
    ablation = lab.mask_ablation.start(**QUICK)
    lab.mask_ablation.stop()
    ended(lab)
    lab.training.discard(ablation.sides[0].run)
    lab.mask_ablation.go_on()
    ended(lab)
    paused = lab.mask_ablation.latest()
    assert paused is not None and "There is no run" in paused.problem
    lab.mask_ablation.discard()
    assert lab.mask_ablation.latest() is None
    assert ablation.sides[1].run not in {run.id for run in lab.training.runs()}
    file.write_bytes(kept)


def test_a_file_that_cannot_be_read_is_no_trial(lab: Lab, few: None) -> None:
    file = lab.settings.runs / FILE
    kept = file.read_bytes() if file.exists() else None
    file.write_text('{"sides": []')
    assert lab.mask_ablation.latest() is None
    file.write_bytes(kept) if kept else file.unlink()


def test_manner_counts_what_is_wrong_with_replies() -> None:
    said = (
        ("Who are you?", "A player, good sir.", "end"),
        ("Who are you?", "A player.\nUser: And who else?", "length"),
        ("Who are you?", "Who are you? A player", "end"),
        ("Who are you?", "A player<|user|>", "end"),
    )
    replies = [
        Reply(prompt=p, text=t, sha256="", tokens=4 * n, form=form(p, t, stop, ["<|user|>"]))  # type: ignore[arg-type]
        for n, (p, t, stop) in enumerate(said)
    ]
    found = reply_metrics(replies)
    assert (found.role_leaks, found.stops, found.prompt_echoes, found.well_formed, found.tokens) == (2, 3, 1, 1, 6.0)
    assert reply_metrics([]).replies == 0


def test_only_tokens_that_open_or_close_a_turn_are_role_markers(lab: Lab) -> None:
    assert set(role_markers(lab.machine.base.template)) == {"<|system|>", "<|user|>", "<|assistant|>", "<|end|>"}


@pytest.mark.parametrize(("fewer", "more", "p_value"), [(0, 0, 1.0), (0, 1, 0.5), (0, 5, 0.025), (0, 24, 0.0)])
def test_how_likely_a_difference_is_by_chance(fewer: int, more: int, p_value: float) -> None:
    assert fisher_exact(fewer, more, 24) == pytest.approx(p_value, abs=0.003)


def test_the_panel_shows_both_beside_each_other_and_marks_what_strays(lab: Lab, done: Ablation) -> None:
    panel = MaskTrialPanel(lab)
    panel.build()
    drawn = panel.draw()
    html = told(drawn[panel.result])["value"]
    assert html.count("<tr>") == FIRST + 1
    assert f'<mark class="stray">{escaped("<|user|>")}</mark>' in html
    assert f"all {FIRST}" in html or f"{FIRST} of {FIRST}" in html
    assert told(drawn[panel.start])["value"] == "Run again"
    assert not told(drawn[panel.go_on])["visible"]


def test_the_panel_is_drawn_again_only_when_something_has_changed(lab: Lab, done: Ablation) -> None:
    panel = MaskTrialPanel(lab)
    panel.build()
    pulse = panel.draw()[panel.pulse]
    assert panel.result not in panel.tick(pulse)
    assert panel.result in panel.tick("something else")
    assert panel.result not in panel.tick(None)
