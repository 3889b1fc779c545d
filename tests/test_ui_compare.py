"""The Compare tab's handlers, without a server: a blind race, a vote, and what it says of the voices."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from chatlab.engines.base import Sampling, Voice
from chatlab.engines.fake import FakeEngine
from chatlab.errors import InputError
from chatlab.lab import Lab
from chatlab.lab.compare import Pane, Tally
from chatlab.records import BASE, Speaker
from chatlab.settings import Settings
from chatlab.ui.compare.panes import Round, panes
from chatlab.ui.compare.tab import CompareTab
from chatlab.ui.compare.win_rates import says, wilson, win_rates
from chatlab.ui.unseen import kind_for, unseen_prompts
from tests.page import built, told, voiced

HOSTILE = "<script>alert(1)</script> ![x](http://evil/?q) [c](javascript:alert(1))"


def says_its_name(prompt: Any, voice: Voice, sampling: Sampling) -> str:
    return f"I am number {sum(voice.name.encode())}"


@pytest.fixture
def lab(settings: Settings) -> Iterator[Lab]:
    lab = Lab(settings, open_engine=lambda base: FakeEngine(says_its_name))
    yield lab
    lab.close()


@pytest.fixture
def tab(lab: Lab) -> CompareTab:
    return built(CompareTab(lab, shuffle=list.reverse), "compare")


def asked(tab: CompareTab, voices: list[str], blind: bool = True, prompt: str = "Who are you?") -> dict[Any, Any]:
    """What stands on the screen when all have spoken."""
    shown: dict[Any, Any] = {}
    for update in tab.answered(prompt, "", voices, blind, 0.0, 32):
        shown |= update
    return shown


def visible(shown: dict[Any, Any], component: Any) -> bool:
    return bool(told(shown[component])["visible"])


def test_a_blind_race_shuffles_the_voices_and_hides_who_they_are(tab: CompareTab, lab: Lab) -> None:
    card = voiced(lab, "player")
    shown = asked(tab, [BASE, "player"])
    assert [pane.voice for pane in shown[tab.round].panes] == ["player", BASE]
    html = shown[tab.panes]
    assert "player" not in html and BASE not in html and card.sha256[:12] not in html and "tokens" not in html
    assert "I am number" in html
    assert visible(shown, tab.two) and not visible(shown, tab.many)


def test_names_hashes_and_times_are_shown_after_the_vote(tab: CompareTab, lab: Lab) -> None:
    card = voiced(lab, "player")
    shown = asked(tab, [BASE, "player"])
    after = tab.vote(shown[tab.round], "best", 0)
    assert f"player sha256 {card.sha256[:12]}" in after[tab.panes]
    assert "base, no adapter" in after[tab.panes]
    assert not visible(after, tab.two)
    assert "not enough votes to tell" in after[tab.rates]


def test_a_vote_becomes_a_preference_of_the_pane_that_was_meant(tab: CompareTab, lab: Lab) -> None:
    voiced(lab, "player")
    shown = asked(tab, [BASE, "player"])
    tab.vote(shown[tab.round], "best", 1)
    (_, kept), *others = lab.store.preferences.rows()
    assert not others
    assert kept.source == "compare" and kept.prompt[-1].content == "Who are you?"
    assert kept.chosen_by is not None and kept.chosen_by.adapter == BASE
    assert kept.rejected_by is not None and kept.rejected_by.adapter == "player" and kept.rejected_by.sha256
    assert (kept.chosen, kept.rejected) == tuple(pane.text for pane in shown[tab.round].panes[::-1])


@pytest.mark.parametrize("verdict", ["tie", "both bad"])
def test_a_tie_is_counted_and_prefers_nobody(tab: CompareTab, lab: Lab, verdict: Any) -> None:
    voiced(lab, "player")
    tab.vote(asked(tab, [BASE, "player"])[tab.round], verdict, None)
    assert len(lab.store.preferences) == 0
    assert lab.compare.tally()["player"] == Tally(ties=1)


def test_one_answer_is_voted_on_once(tab: CompareTab, lab: Lab) -> None:
    voiced(lab, "player")
    after = tab.vote(asked(tab, [BASE, "player"])[tab.round], "best", 0)
    assert tab.vote(after[tab.round], "best", 1) == {}
    assert len(lab.store.votes) == 1


def test_with_open_eyes_names_are_there_from_the_start(tab: CompareTab, lab: Lab) -> None:
    voiced(lab, "player")
    shown = asked(tab, [BASE, "player"], blind=False)
    assert [pane.voice for pane in shown[tab.round].panes] == [BASE, "player"]
    assert "player sha256" in shown[tab.panes]


def test_more_than_two_are_voted_on_by_picking_the_best(tab: CompareTab, lab: Lab) -> None:
    for name in ("one", "two", "three"):
        voiced(lab, name)
    shown = asked(tab, [BASE, "one", "two", "three"])
    assert visible(shown, tab.many) and not visible(shown, tab.two)
    offered = [told(shown[button])["visible"] for button, *_ in tab._many]
    assert offered == [True, True, True, True, False, False, True, True]
    tab.vote(shown[tab.round], "best", 2)
    assert {p.chosen_by.adapter for _, p in lab.store.preferences.rows() if p.chosen_by} == {"one"}
    assert len(lab.store.preferences) == 3


def test_a_voice_that_fails_says_so_in_its_pane_and_nobody_votes(tab: CompareTab, lab: Lab) -> None:
    voiced(lab, "player")
    (lab.settings.adapters / "player" / "adapter_model.safetensors").write_bytes(b"other")
    shown = asked(tab, [BASE, "player"])
    assert "damaged" in shown[tab.panes] and "I am number" in shown[tab.panes]
    assert not visible(shown, tab.two)


def test_what_was_said_before_a_stop_can_be_voted_on(tab: CompareTab, lab: Lab) -> None:
    voiced(lab, "player")
    stream = tab.answered("Who are you?", "", [BASE, "player"], True, 0.0, 32)
    first = next(stream)
    stream.close()
    assert not visible(first, tab.two)
    stopped = tab.stopped(first[tab.round])
    assert visible(stopped, tab.two)
    assert told(stopped[tab.ask])["visible"]


def test_asking_nothing_or_nobody_says_what_to_do(tab: CompareTab) -> None:
    with pytest.raises(InputError):
        asked(tab, [BASE], prompt="  ")
    with pytest.raises(InputError):
        asked(tab, [])


def test_the_base_and_the_live_adapter_are_chosen_at_first(tab: CompareTab, lab: Lab) -> None:
    voiced(lab, "old")
    voiced(lab, "new")
    lab.voices.go_live("old")
    assert told(tab.refresh()[tab.voices])["value"] == [BASE, "old"]
    tab.choose([BASE, "new"])
    assert told(tab.refresh()[tab.voices])["value"] == [BASE, "new"]
    lab.voices.remove("new")
    assert told(tab.refresh()[tab.voices])["value"] == [BASE, "old"]


def test_a_prompt_that_was_typed_is_there_after_a_reload(tab: CompareTab, lab: Lab) -> None:
    tab.remember("Half a quest", "Be brief.")
    again = built(CompareTab(lab), "compare")
    shown = again.refresh("", "")
    assert (shown[again.prompt], shown[again.system]) == ("Half a quest", "Be brief.")
    assert again.refresh("Another", "")[again.prompt] == "Another"


def test_the_unseen_prompts_are_walked_through_and_begin_again(tab: CompareTab) -> None:
    prompts = unseen_prompts("triage")
    first = tab.next_prompt("triage", 0)
    assert (first[tab.prompt], first[tab.place]) == (prompts[0], 1)
    assert tab.next_prompt("triage", len(prompts))[tab.prompt] == prompts[0]


def test_a_hostile_answer_is_shown_and_does_nothing() -> None:
    pane = Pane(voice=HOSTILE, text=HOSTILE, speaker=Speaker(adapter=HOSTILE, sha256=HOSTILE), done=True)
    html = panes(Round(HOSTILE, "", (pane, pane), blind=False))
    assert "<script" not in html and "<img" not in html and "<a " not in html.replace('<a href="http', "")
    assert "javascript:" not in html.split('class="pane-text"')[1].split("</p>")[0] or "href" not in html
    assert "\n" not in html


def test_equal_answers_are_said_to_be_equal() -> None:
    pane = Pane(voice=BASE, text="The same.", done=True)
    assert "the same" in panes(Round("?", "", (pane, pane), blind=True)).split('class="faint"')[-1]


@pytest.mark.parametrize(
    ("wins", "games", "low", "high"),
    [(0, 0, 0.0, 1.0), (1, 1, 0.2065, 1.0), (8, 10, 0.4902, 0.9433), (0, 10, 0.0, 0.2775)],
)
def test_the_wilson_interval_is_the_one_in_the_tables(wins: int, games: int, low: float, high: float) -> None:
    assert wilson(wins, games) == pytest.approx((low, high), abs=2e-4)


def test_a_few_votes_do_not_tell_and_many_do() -> None:
    assert says(Tally(wins=2)) == "not enough votes to tell"
    assert says(Tally(wins=18, losses=2)) == "preferred"
    assert says(Tally(wins=2, losses=18)) == "not preferred"
    assert "No votes yet" in win_rates({})


def test_the_prompts_fit_what_was_taught() -> None:
    assert kind_for(["triage"] * 3 + ["stage"]) == "triage"
    assert kind_for(["stage", "mine"]) == "everyday"
    assert kind_for([]) == "everyday"
    assert unseen_prompts("../../etc/passwd") == unseen_prompts()
