"""The Train tab's handlers, without a server, over real runs of the trainer process."""

from __future__ import annotations

import json
import os
import signal
import time
from dataclasses import replace
from html import unescape

import gradio as gr
import pytest

from chatlab.errors import InputError, RunBusy
from chatlab.lab import Lab
from chatlab.records import BASE, Demonstration, Message
from chatlab.ui.compare.tab import CompareTab
from chatlab.ui.shell import Shell, html_block
from chatlab.ui.train import report
from chatlab.ui.train.tab import TrainTab
from tests.support.page import built, publish_adapter, readable, told
from tests.support.train import PATIENCE, QUICK, ended, form, run_to_end, text, visible

HOSTILE = "<script>alert(1)</script>`*"


@pytest.fixture
def finished(lab: Lab, tab: TrainTab, stage: None) -> str:
    """A run that ended and became an adapter; its id. Trained once."""
    done = [r.id for r in lab.training.runs() if r.request.name == "player" and lab.training.adapter_of(r.id)]
    return done[0] if done else run_to_end(lab, tab, "player")


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
    asked = card.reply_metrics_after.replies
    assert asked == card.reply_metrics_before.replies > 0
    shown = text(told(tab.open(finished)[tab.run.ended])["value"])
    assert f"{card.reply_metrics_after.well_formed} of {asked}" in shown and f"{card.kl:.2f}" in shown


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


@pytest.mark.parametrize("at_its_run", [False, True])
def test_a_discarded_adapter_can_be_brought_back(lab: Lab, tab: TrainTab, finished: str, at_its_run: bool) -> None:
    name = lab.training.adapter_of(finished)
    assert name
    shown = tab.discarded(finished) if at_its_run else tab.history.set_aside(name)
    assert lab.training.adapter_of(finished) is None
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
    tab.run.deleted(run_id)
