"""What the Train tab says before a run, and the plots that it draws of one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from chatlab.engines.fake import FakeEngine
from chatlab.errors import InputError, NameRefused, NothingToLearn
from chatlab.lab import Lab
from chatlab.measurements import Step
from chatlab.settings import Settings
from chatlab.ui.train.plots import forgetting_plot, loss_plot, sparkline
from chatlab.ui.train.tab import TrainTab
from chatlab.ui.verdict import verdict
from tests.support.page import built, told
from tests.support.train import form


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


def test_preflight_says_that_thoughts_have_no_place(lab: Lab, tab: TrainTab, stage: None) -> None:
    assert "not learned" not in tab.plan.draw(form(tab))[tab.plan.ticks]
    one = lab.demonstrations.write("Prompt", "Answer")
    asked, answer = lab.demonstrations.get(one).messages
    lab.demonstrations.update(one, messages=[asked, replace(answer, reasoning="Let me see.")])
    assert "1 thought not learned" in tab.plan.draw(form(tab))[tab.plan.ticks]
    lab.demonstrations.delete([one])


def test_a_name_that_is_no_name_starts_nothing(lab: Lab, tab: TrainTab, stage: None) -> None:
    before = len(lab.training.runs())
    with pytest.raises(NameRefused):
        tab.start(form(tab, "../../x", True))
    assert len(lab.training.runs()) == before


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
