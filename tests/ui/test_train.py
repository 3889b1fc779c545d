"""The Train tab's handlers, without a server, over real runs of the trainer process."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from html import unescape
from typing import Any

import gradio as gr
import pytest

from chatlab.engines.fake import FakeEngine
from chatlab.errors import InputError, NameRefused, NothingToLearn, RunBusy
from chatlab.lab import Lab
from chatlab.measurements import Step
from chatlab.records import BASE, Demonstration, Message
from chatlab.settings import Settings
from chatlab.ui.compare.tab import CompareTab
from chatlab.ui.shell import Shell, html_block
from chatlab.ui.train import report
from chatlab.ui.train.plots import forgetting_plot, loss_plot, sparkline
from chatlab.ui.train.tab import TrainTab
from chatlab.ui.verdict import verdict
from tests.support.page import built, publish_adapter, readable, told

HOSTILE = "<script>alert(1)</script>`*"
QUICK = {"epochs": 1, "kl_weight": 0.0, "batch_size": 8}
PATIENCE = 180.0
"""Seconds until a run that has not ended fails the test; far more than it needs."""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, base_folder: Any, cache_folder: Any) -> Iterator[Lab]:
    """One home for all tests of this file, so that the trainer process starts once."""
    home = tmp_path_factory.mktemp("train")
    lab = Lab(Settings(home=home, base=base_folder, cache_folder=cache_folder), open_engine=lambda base: FakeEngine())
    yield lab
    lab.close()


@pytest.fixture
def tab(lab: Lab) -> TrainTab:
    return built(TrainTab(lab), "train")


@pytest.fixture
def stage(lab: Lab) -> None:
    """The starter pack, loaded, and no run under way."""
    lab.demonstrations.load_pack("stage")
    ended(lab)


@pytest.fixture
def finished(lab: Lab, tab: TrainTab, stage: None) -> str:
    """A run that ended and became an adapter; its id. Trained once."""
    done = [r.id for r in lab.training.runs() if r.request.name == "player" and lab.training.adapter_of(r.id)]
    return done[0] if done else run_to_end(lab, tab, "player")


def form(
    tab: TrainTab,
    adapter: str = "",
    live: bool = True,
    *,
    shown: str | None = None,
    pulse: Any = None,
    mask: bool = True,
    **chosen: float | str,
) -> dict[Any, Any]:
    """The values of the tab's components: name, go live, the run on show, and the settings."""
    boxes: dict[Any, Any] = {box: str(chosen.get(name, "")) for name, box in tab.plan.form.boxes.items()}
    plan = {tab.plan.name: adapter, tab.plan.live: live, tab.plan.form.mask: mask}
    return boxes | plan | {tab.run.chosen: shown, tab.run.pulse: pulse}


def ended(lab: Lab) -> None:
    deadline = time.monotonic() + PATIENCE
    while lab.training.status().state == "training":
        assert time.monotonic() < deadline, "the run does not end"
        time.sleep(0.05)
    lab.training.wait(PATIENCE)


def run_to_end(lab: Lab, tab: TrainTab, name: str = "", live: bool = True) -> str:
    tab.start(form(tab, name, live, **QUICK))
    ended(lab)
    return lab.training.runs()[0].id


def visible(shown: dict[Any, Any], component: Any) -> bool:
    return bool(told(shown[component])["visible"])


def text(html: str) -> str:
    return (
        str(html)
        .replace("&#32;", " ")
        .replace("&#45;", "-")
        .replace("&#46;", ".")
        .replace("&#37;", "%")
        .replace("&#58;", ":")
    )


def test_with_nothing_to_learn_the_button_is_off_and_says_why(settings: Settings) -> None:
    empty = Lab(settings, open_engine=lambda base: FakeEngine())
    tab = built(TrainTab(empty), "train")
    shown = tab.refresh(form(tab))
    assert not told(shown[tab.plan.button])["interactive"]
    assert "load a starter pack" in shown[tab.plan.ticks]
    assert "No run yet" in shown[tab.run.head]
    with pytest.raises(NothingToLearn):
        tab.start(form(tab, "", True))
    empty.close()


def test_a_missing_base_is_said_and_stops_the_button(settings: Settings, tmp_path: Any) -> None:
    lab = Lab(replace(settings, base=tmp_path / "nowhere"), open_engine=lambda base: FakeEngine())
    tab = built(TrainTab(lab), "train")
    shown = tab.refresh(form(tab))
    assert "no base model" in shown[tab.plan.sentence]
    assert not told(shown[tab.plan.button])["interactive"]
    lab.close()


def test_the_sentence_says_what_a_run_will_do(lab: Lab, tab: TrainTab, stage: None) -> None:
    said = tab.plan.draw(form(tab))[tab.plan.sentence]
    assert "36 demonstrations" in said and "hold out 4" in said and "MB of memory" in said
    assert "2 epochs" in tab.plan.draw(form(tab, epochs=2))[tab.plan.sentence]


def test_an_empty_box_leaves_the_choice_and_shows_it(lab: Lab, tab: TrainTab, stage: None) -> None:
    assert tab.plan.form.overrides(form(tab)) == {}
    assert tab.plan.form.overrides(form(tab, epochs=2, kl_weight=0, mask=False)) == {
        "epochs": 2,
        "kl_weight": 0.0,
        "mask": False,
    }
    chosen = lab.training.plan().settings.epochs
    assert told(tab.plan.draw(form(tab))[tab.plan.form.boxes["epochs"]])["placeholder"] == str(chosen)


@pytest.mark.parametrize(
    ("name", "typed"),
    [("batch_size", "0"), ("epochs", "-1"), ("epochs", "two"), ("learning_rate", "nan"), ("rank", "1e9")],
)
def test_a_setting_that_makes_no_sense_is_said_and_starts_nothing(
    lab: Lab, tab: TrainTab, stage: None, name: str, typed: str
) -> None:
    shown = tab.plan.draw(form(tab, **{name: typed}))
    assert "cannot be" in shown[tab.plan.sentence]
    assert not told(shown[tab.plan.button])["interactive"]
    with pytest.raises(InputError):
        tab.start(form(tab, "", False, **{name: typed}))


def test_preflight_says_what_is_still_waiting(lab: Lab, tab: TrainTab, stage: None) -> None:
    one = lab.demonstrations.write("Prompt", "Answer")
    lab.demonstrations.update(one, status="waiting")
    assert "1 demonstration waiting" in tab.plan.draw(form(tab))[tab.plan.ticks]
    lab.demonstrations.delete([one])


def test_preflight_names_what_would_be_left_out(lab: Lab, tab: TrainTab, stage: None) -> None:
    assert "All fit the context" in tab.plan.draw(form(tab))[tab.plan.ticks]
    one = lab.demonstrations.write("Prompt", "a long answer " * 400)
    assert f"too long or not valid for the chat template&#58; {one}<" in tab.plan.draw(form(tab))[tab.plan.ticks]
    lab.demonstrations.delete([one])


def test_a_name_that_is_no_name_starts_nothing(lab: Lab, tab: TrainTab, stage: None) -> None:
    before = len(lab.training.runs())
    with pytest.raises(NameRefused):
        tab.start(form(tab, "../../x", True))
    assert len(lab.training.runs()) == before


def test_a_run_is_followed_from_its_first_moment_to_its_verdict(lab: Lab, tab: TrainTab, stage: None) -> None:
    first = tab.start(form(tab, "player", True, **QUICK))
    assert visible(first, tab.run.running) and visible(first, tab.run.progress)
    assert not visible(first, tab.run.actions)
    assert told(first[tab.plan.button])["value"] == "A run is in progress"
    with pytest.raises(RunBusy):
        tab.start(form(tab, "", True))
    pulse, seen, fresh = first[tab.run.pulse], [], ""
    while not fresh and len(seen) < PATIENCE / 0.05:
        shown = tab.tick(form(tab, pulse=pulse))
        if isinstance(shown, dict) and tab.run.pulse in shown:
            pulse, fresh = shown[tab.run.pulse], shown.get(tab.run.fresh, "")
            seen.append(shown)
        time.sleep(0.05)
    last = seen[-1]
    name = lab.training.adapter_of(lab.training.runs()[0].id)
    assert fresh == name == lab.variants.live
    assert 'class="verdict' in told(last[tab.run.ended])["value"]
    figure = json.loads(told(last[tab.run.losses])["value"].to_json())
    assert [line["name"].split()[0] for line in figure["data"]] == ["training", "held"]
    assert told(last[tab.plan.button])["value"] == "Retrain"
    assert any("player" in label for label, _ in told(last[tab.history.runs])["choices"])


def test_a_tick_without_news_draws_nothing(lab: Lab, tab: TrainTab, finished: str) -> None:
    pulse = tab.refresh(form(tab))[tab.run.pulse]
    shown = tab.tick(form(tab, pulse=pulse))
    assert not isinstance(shown, dict) or tab.run.head not in shown


def test_a_page_that_is_opened_during_a_run_finds_it(lab: Lab, stage: None) -> None:
    run_id = lab.training.retrain(live=False, **QUICK)
    page = built(TrainTab(lab), "train")
    shown = page.refresh(form(page))
    assert visible(shown, page.run.running)
    labels = {value: label for label, value in told(shown[page.history.runs])["choices"]}
    assert "running" in labels[run_id]
    ended(lab)


def test_stopping_asks_first_and_a_stopped_run_can_be_resumed(lab: Lab, tab: TrainTab, stage: None) -> None:
    tab.start(form(tab, "", False, epochs=40, kl_weight=0, batch=4))
    while len(lab.training.status().steps) < 3:
        time.sleep(0.02)
    asked = tab.run.ask_stop()
    assert visible(asked, tab.run.dialog)
    assert lab.training.status().state == "training"
    assert not visible(tab.run.keep_going(), tab.run.dialog)
    tab.run.stop_for_now()
    ended(lab)
    run_id = lab.training.runs()[0].id
    shown = tab.run.draw(None)
    assert "stopped" in told(shown[tab.run.ended])["value"]
    assert visible(shown, tab.run.resume) and not visible(shown, tab.run.live)
    made = len(lab.training.run(run_id).steps)
    tab.run.resumed(run_id)
    while len(lab.training.status().steps) <= made:
        time.sleep(0.02)
    tab.run.stop_and_keep()
    ended(lab)
    assert lab.training.adapter_of(run_id)
    assert "stopped early" in text(told(tab.run.draw(run_id)[tab.run.ended])["value"])


def test_a_stopped_run_is_thrown_away_only_after_a_second_word(lab: Lab, tab: TrainTab, stage: None) -> None:
    tab.start(form(tab, "", False, epochs=40, kl_weight=0, batch=4))
    while len(lab.training.status().steps) < 2:
        time.sleep(0.02)
    tab.run.stop_for_now()
    ended(lab)
    run_id = lab.training.runs()[0].id
    assert visible(tab.discarded(run_id), tab.run.sure)
    assert not visible(tab.run.kept(), tab.run.sure)
    assert run_id in {run.id for run in lab.training.runs()}
    tab.run.deleted(run_id)
    assert run_id not in {run.id for run in lab.training.runs()}


def test_a_run_whose_trainer_is_killed_says_so_and_can_be_resumed(lab: Lab, tab: TrainTab, stage: None) -> None:
    tab.start(form(tab, "", False, epochs=30, kl_weight=0, batch=4))
    run_id = lab.training.runs()[0].id
    while len(lab.training.status().steps) < 3:
        time.sleep(0.02)
    os.kill(int((lab.training.run(run_id).folder / "worker.pid").read_text()), signal.SIGKILL)
    ended(lab)
    shown = tab.refresh(form(tab))
    assert "nothing is lost" in text(told(shown[tab.run.ended])["value"])
    assert visible(shown, tab.run.resume)
    assert told(shown[tab.plan.button])["interactive"]
    shown = tab.run.resumed(run_id)
    assert visible(shown, tab.run.running)
    tab.run.stop_for_now()
    ended(lab)
    tab.run.deleted(run_id)


def test_going_live_can_be_undone_from_the_run(lab: Lab, tab: TrainTab, finished: str) -> None:
    name = lab.training.adapter_of(finished)
    lab.variants.go_live(BASE)
    shown = tab.run.gone_live(finished)
    assert lab.variants.live == name
    assert told(shown[tab.run.undo])["value"] == "Undo: back to base"
    shown = tab.run.undone_live(finished)
    assert lab.variants.live == BASE
    assert visible(shown, tab.run.live)


def test_a_run_says_how_base_and_adapter_answered_unseen_prompts(lab: Lab, tab: TrainTab, finished: str) -> None:
    lab.unseen_evaluator.wait()
    card = lab.variants.card(lab.training.adapter_of(finished) or "")
    assert card and card.reply_metrics_before and card.reply_metrics_after and card.kl is not None
    assert card.reply_metrics_before.replies == card.reply_metrics_after.replies == 24
    shown = text(told(tab.open(finished)[tab.run.ended])["value"])
    assert f"{card.reply_metrics_after.well_formed} of 24" in shown and f"{card.kl:.2f}" in shown


def test_checkpoints_are_listed_asked_and_put_on_the_shelf(lab: Lab, tab: TrainTab, finished: str) -> None:
    run = lab.training.run(finished)
    shown = tab.open(finished)
    steps = [step for _, step in told(shown[tab.run.checkpoints.step])["choices"]]
    assert steps == list(run.checkpoints) and len(steps) == 2
    assert "Proposed: step" in text(shown[tab.run.checkpoints.table])
    *_, last = tab.run.tried(finished, "Where do you live?")
    html = last[tab.run.checkpoints.answers]
    assert html.count("<tr>") == 4, "the base, two checkpoints and the end"
    names = set(lab.variants.names())
    tab.run.saved_checkpoint(finished, steps[0])
    (name,) = set(lab.variants.names()) - names
    card = lab.variants.card(name)
    assert card and card.steps == steps[0] and card.forgetting is None and card.sha256[:8] in html
    lab.variants.go_live(name)
    assert lab.training.adapter_of(finished) == "player", "the run's own adapter is another"
    lab.variants.go_live(BASE)
    lab.variants.remove(name)
    with pytest.raises(InputError):
        list(tab.run.tried(finished, "  "))


def test_an_adapter_that_forgot_too_much_goes_live_only_when_told_twice(lab: Lab, tab: TrainTab) -> None:
    publish_adapter(lab, "forgetful", forgetting=7.3)
    lab.variants.go_live(BASE)
    with pytest.warns(UserWarning) as warned:
        shown = tab.history.gone_live("forgetful")
    assert "forgetful has 7" in unescape(readable(str(warned[0].message)))
    assert lab.variants.live == BASE
    assert told(shown[tab.history.live])["value"] == "Go live anyway"
    tab.history.gone_live("forgetful", shown[tab.history.warned])
    assert lab.variants.live == "forgetful"
    assert tab.history.picked(BASE)[tab.history.warned] is None
    lab.variants.go_live(BASE)
    lab.variants.remove("forgetful")


def test_a_discarded_adapter_can_be_brought_back(lab: Lab, tab: TrainTab, finished: str) -> None:
    name = lab.training.adapter_of(finished)
    assert name
    shown = tab.history.set_aside(name)
    assert lab.training.adapter_of(finished) is None
    assert told(shown[tab.history.restore])["value"] == f"Restore {name}"
    tab.history.brought_back()
    assert lab.training.adapter_of(finished) == name


def test_an_adapter_discarded_at_its_run_can_be_brought_back_from_the_list(
    lab: Lab, tab: TrainTab, finished: str
) -> None:
    name = lab.training.adapter_of(finished)
    shown = tab.discarded(finished)
    assert told(shown[tab.history.restore])["value"] == f"Restore {name}"
    tab.history.brought_back()
    assert lab.training.adapter_of(finished) == name


def test_before_and_after_are_heard_from_the_base_and_the_adapter_itself(
    lab: Lab, tab: TrainTab, finished: str
) -> None:
    name = lab.training.adapter_of(finished)
    card = lab.variants.card(name or "")
    assert card is not None
    *_, last = tab.run.first_answers(finished)
    html = told(last[tab.run.samples])["value"]
    assert told(last[tab.run.show_answers])["value"] == "Show more"
    assert html.count("<tr>") == 4
    assert card.sha256[:8] in html and name in text(html)
    assert told(tab.run.draw(finished)[tab.run.samples])["value"] == html
    assert list(tab.run.first_answers(finished)) == []
    *_, more = tab.run.more_answers(finished)
    assert told(more[tab.run.samples])["value"].count("<tr>") == 7


def test_a_run_shows_the_exact_demonstrations_it_learned_from(lab: Lab, tab: TrainTab, finished: str) -> None:
    shown = tab.open(finished)
    result = lab.training.run(finished).result
    assert result is not None
    assert shown[tab.run.lineage].count("<tr>") == 40
    assert shown[tab.run.lineage].count("held out") == len(result.held_out) == 4


def test_compare_opens_with_the_base_and_the_runs_adapter(lab: Lab, tab: TrainTab, finished: str) -> None:
    with gr.Blocks() as page:
        model = gr.Textbox(visible="hidden")
        shell = Shell(
            tabs=gr.Tabs(), timer=gr.Timer(), header=html_block(), draw_header=str, load=page.load, model=model
        )
    assert told(tab.comparer(shell)(finished))["selected"] == "compare"
    compare = built(CompareTab(lab), "compare")
    assert told(compare.asking.refresh()[compare.asking.variants])["value"] == [BASE, lab.training.adapter_of(finished)]


def test_the_settings_of_a_run_are_copied_into_the_form(lab: Lab, tab: TrainTab, finished: str) -> None:
    filled = tab.copy(finished)
    boxes = tab.plan.form.boxes
    assert (filled[boxes["epochs"]], filled[boxes["kl_weight"]]) == ("1", "0.0")
    assert lab.training.plan(**tab.plan.form.overrides(filled)).settings == lab.training.run(finished).request.settings


def test_the_list_of_variants_marks_who_is_live(lab: Lab, tab: TrainTab, finished: str) -> None:
    name = lab.training.adapter_of(finished)
    tab.history.gone_live(name)
    labels = {value: label for label, value in told(tab.history.draw()[tab.history.variants])["choices"]}
    assert labels[name].startswith("● ") and not labels[BASE].startswith("● ")
    assert told(tab.history.picked(BASE)[tab.history.remove])["interactive"] is False
    tab.history.taken_back(name)


def test_a_damaged_adapter_never_goes_live_and_is_named(lab: Lab, tab: TrainTab, finished: str) -> None:
    publish_adapter(lab, "broken")
    (lab.settings.adapters / "broken" / "card.json").write_text("{")
    assert "broken" in tab.history.draw()[tab.history.problems]


@pytest.mark.parametrize(
    ("forgetting", "colour"),
    [(-0.3, "good"), (2.0, "good"), (2.1, "doubtful"), (5.0, "doubtful"), (5.1, "bad"), (None, "unknown")],
)
def test_the_verdict_changes_colour_at_two_and_five_per_cent(forgetting: float | None, colour: str) -> None:
    assert verdict(forgetting).colour == colour


def test_the_plots_draw_what_was_measured_and_name_it() -> None:
    steps = [Step(step=0, steps=9, loss=0.0, held_out_loss=4.0, forgetting=0.0)]
    steps += [Step(step=n, steps=9, loss=4.0 - n / 9) for n in range(1, 9)]
    steps += [Step(step=9, steps=9, loss=3.0, held_out_loss=3.1, forgetting=1.2)]
    training, held_out = loss_plot(steps, 9).data
    assert (training.name, held_out.name) == ("training 3.00", "held out 3.10")
    assert list(held_out.x) == [0, 9] and list(held_out.y) == [4.0, 3.1]
    quick, whole = forgetting_plot(steps, 9, 1.5).data
    assert (quick.name, whole.name) == ("quick check 1.20 %", "final 1.50 %")
    assert not loss_plot([], 1).data and not forgetting_plot([], 1, 1.0).data
    gap = loss_plot([Step(step=n, steps=3, loss=float("nan") if n == 2 else 1.0) for n in (1, 2, 3)], 3)
    assert list(gap.data[0].x) == [1, 3]
    assert sparkline([3.0, 2.0, 1.0])[0] == "█" and sparkline([1.0]) == ""


def test_hostile_words_in_a_runs_demonstrations_stay_words(lab: Lab, tab: TrainTab, stage: None) -> None:
    said = (Message(role="user", content=HOSTILE), Message(role="assistant", content=HOSTILE))
    one = lab.demonstrations.add([Demonstration(messages=said)])
    run_id = run_to_end(lab, tab, live=False)
    lab.demonstrations.delete(one)
    shown = tab.open(run_id)
    assert "&#60;script&#62;" in shown[tab.run.lineage]
    drawn = [told(value).get("value") for value in shown.values()]
    assert not any("<script" in str(value) for value in drawn)
    run = lab.training.run(run_id)
    failed = replace(run, state="failed", result=None, error=HOSTILE, hint=HOSTILE)
    assert "<script" not in report.ended(failed, None, HOSTILE) + report.heading(failed, HOSTILE, live=True)
