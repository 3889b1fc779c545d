"""*Learn from preferences* on the Train tab: what it says before, the press, and what the run's report says after."""

from __future__ import annotations

import html
from typing import Any

from chatlab.lab import Lab
from chatlab.records import Message, Preference
from chatlab.ui.train.preference_report import preferred
from chatlab.ui.train.tab import TrainTab
from tests.support.page import told
from tests.support.train import ended, form, text


def vote(lab: Lab, prompt: str, chosen: str, rejected: str, source: Any = "compare") -> None:
    asked = (Message(role="user", content=prompt),)
    lab.store.preferences.add(Preference(prompt=asked, chosen=chosen, rejected=rejected, source=source))


def test_it_says_what_it_would_learn_from_and_what_is_missing(lab: Lab, tab: TrainTab, stage: None) -> None:
    panel = tab.preferences
    shown = panel.draw("pairs", "")
    assert "Too few to learn from" in text(shown[panel.about])
    assert not told(shown[panel.button])["interactive"]
    for number in range(60):
        vote(lab, f"Name bird {number} of the wood", f"A wren, the small one, number {number}.", "No.")
    vote(lab, "Name bird 0 of the wood", "A wren, the small one, number 0.", "No.")
    shown = panel.draw("pairs", "")
    said = text(shown[panel.about])
    assert "60 pairs on 60 prompts: 60 Compare votes" in said and "1 left out: the same pair again" in said
    assert "hold out 12" in said and "Goes on from" in said
    assert "The longer answer was chosen in 60 of 60" in said
    assert told(shown[panel.button])["interactive"]


def test_thumbs_and_free_pairs_say_their_own(lab: Lab, tab: TrainTab, stage: None) -> None:
    panel = tab.preferences
    assert "0 liked, 0 disliked" in text(panel.draw("thumbs", "")[panel.about])
    free = panel.draw("free", "")
    assert "after sampling" in text(free[panel.about]) and told(free[panel.button])["interactive"]
    assert not told(panel.draw("thumbs", "")[panel.loss])["visible"]


def test_a_page_that_goes_away_while_answers_are_sampled_begins_no_run(lab: Lab, tab: TrainTab, stage: None) -> None:
    before = len(lab.training.runs())
    press = tab.preferences.started("free", "", True)
    assert "Sampling answers" in text(next(press)[tab.preferences.progress])
    press.close()
    assert len(lab.training.runs()) == before


def test_a_press_learns_and_the_report_says_what_came_of_it(lab: Lab, tab: TrainTab, stage: None) -> None:
    panel = tab.preferences
    if len(lab.preferences.usable().pairs) < 60:
        test_it_says_what_it_would_learn_from_and_what_is_missing(lab, tab, None)
    assert list(panel.started("pairs", "dpo", False))[-1] == {panel.progress: ""}
    busy = panel.draw("pairs", "")
    assert told(busy[panel.button])["value"] == "A run is in progress" or lab.training.runs()[0].state == "finished"
    ended(lab)
    run = lab.training.runs()[0]
    assert run.state == "finished" and run.request.settings.loss == "dpo", run.error
    said = text(preferred(run))
    assert "held-out pairs" in said and "the longer one wins" in said and "12 of 12" in said
    assert run.result is not None and run.result.preferences is not None
    drawn, best = html.unescape(str(preferred(run))), run.result.preferences.examples[0]
    assert best.prompt in drawn and "the largest gain" in drawn and "Rejected -" in drawn
    assert 'class="down' in drawn and f"{best.rejected.before[0]:.2f} → {best.rejected.after[0]:.2f} nats" in drawn
    shown = tab.refresh(form(tab, shown=run.id))
    assert "held-out pairs" in text(told(shown[tab.run.ended])["value"])
    assert told(shown[tab.history.runs])["choices"][0][0].count("60 preferences") == 1
