"""The Compare tab's handlers, without a server: a blind race, a vote, and what it says of the variants."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from chatlab.engines.fake import FakeEngine
from chatlab.errors import InputError
from chatlab.lab import Lab
from chatlab.lab.compare.compare import Pane
from chatlab.records import BASE, Provenance
from chatlab.settings import Settings
from chatlab.ui.compare.panes import last_vote, panes
from chatlab.ui.compare.session import CompareSession, Round, SessionStore, Step
from chatlab.ui.compare.tab import CompareTab
from chatlab.ui.unseen import kind_for, unseen_prompts
from tests.support.compare import HOSTILE, asked, offered, says_its_name, seen, values, visible, voted
from tests.support.page import built, publish_adapter, told

# Blind


def test_a_blind_race_shuffles_the_variants_and_hides_who_they_are(tab: CompareTab, lab: Lab) -> None:
    card = publish_adapter(lab, "player")
    shown = asked(tab, [BASE, "player"])
    assert [pane.variant for pane in shown[tab.round].panes] == ["player", BASE]
    html = shown[tab.panes]
    assert "player" not in html and BASE not in html and card.sha256[:12] not in html and "token" not in html
    assert "I am number" in html


def test_nothing_that_is_shown_before_the_vote_depends_on_who_spoke(tab: CompareTab, lab: Lab) -> None:
    """The same page, to the letter, whichever variant gave these answers."""
    pages = []
    for name in ("player", "somebody-else"):
        pane = Pane(
            variant=name, text="Aye.", provenance=Provenance(adapter=name, sha256=name * 3, tokens=len(name)), done=True
        )
        other = Pane(variant=BASE, text="Nay.", provenance=Provenance(seconds=len(name)), done=True)
        broken = Pane(variant=name, error=f"{name} is damaged.", done=True)
        pages.append(panes(Round(prompt="?", panes=(pane, other, broken))))
    assert pages[0] == pages[1]


def test_names_hashes_and_times_are_shown_after_the_vote(tab: CompareTab, lab: Lab) -> None:
    card = publish_adapter(lab, "player")
    after = voted(tab, asked(tab, [BASE, "player"]))
    assert f"player sha256 {card.sha256[:12]}" in after[tab.panes]
    assert "base, no adapter" in after[tab.panes]
    assert offered(tab, after) == []
    assert "not enough votes to tell" in tab.votes.draw()[tab.votes.results]


def test_a_single_variant_has_nothing_to_hide(tab: CompareTab, lab: Lab) -> None:
    shown = asked(tab, [BASE])
    assert "base, no adapter" in shown[tab.panes] and offered(tab, shown) == []


# Votes


def test_a_vote_becomes_a_preference_of_the_pane_that_was_meant(tab: CompareTab, lab: Lab) -> None:
    publish_adapter(lab, "player")
    shown = asked(tab, [BASE, "player"])
    voted(tab, shown, "best", 1)
    (_, kept), *others = lab.store.preferences.rows()
    assert not others
    assert kept.source == "compare" and kept.prompt[-1].content == "Who are you?"
    assert kept.chosen_by is not None and kept.chosen_by.adapter == BASE
    assert kept.rejected_by is not None and kept.rejected_by.adapter == "player" and kept.rejected_by.sha256
    assert (kept.chosen, kept.rejected) == tuple(pane.text for pane in shown[tab.round].panes[::-1])


@pytest.mark.parametrize("verdict", ["tie", "both bad"])
def test_a_tie_is_counted_and_prefers_nobody(tab: CompareTab, lab: Lab, verdict: Any) -> None:
    publish_adapter(lab, "player")
    voted(tab, asked(tab, [BASE, "player"]), verdict, None)
    assert len(lab.store.preferences) == 0
    (duel,) = lab.votes.results(draws=0).duels
    assert (duel.wins, duel.losses, duel.ties) == (0, 0, 1)


def test_one_answer_is_voted_on_once(tab: CompareTab, lab: Lab) -> None:
    publish_adapter(lab, "player")
    after = voted(tab, asked(tab, [BASE, "player"]))
    assert tab.vote(after[tab.session], after[tab.round], "best", 1) == {}
    assert len(lab.store.votes) == 1


def test_two_panes_have_the_keys_one_to_four(tab: CompareTab, lab: Lab) -> None:
    publish_adapter(lab, "player")
    assert offered(tab, asked(tab, [BASE, "player"])) == [
        ("A is better  (1)", ["key-1"]),
        ("B is better  (2)", ["key-2"]),
        ("Tie  (3 or T)", ["key-3", "key-t"]),
        ("Both bad  (4 or B)", ["key-4", "key-b"]),
    ]


def test_more_panes_push_tie_and_bad_along_and_leave_t_and_b(tab: CompareTab, lab: Lab) -> None:
    names = ["one", "two", "three", "four", "five"]
    for name in names:
        publish_adapter(lab, name)
    shown = asked(tab, [BASE, *names])
    keys = offered(tab, shown)
    assert keys[0] == ("A is best  (1)", ["key-1"]) and keys[5] == ("F is best  (6)", ["key-6"])
    assert keys[6:] == [
        ("No difference  (7 or T)", ["key-7", "key-t"]),
        ("All bad  (8 or B)", ["key-8", "key-b"]),
    ]
    voted(tab, shown, "best", 2)
    assert {p.chosen_by.adapter for _, p in lab.store.preferences.rows() if p.chosen_by} == {"three"}
    assert len(lab.store.preferences) == 5


def test_a_vote_is_taken_back_with_what_it_preferred_and_its_answers_are_spent(tab: CompareTab, lab: Lab) -> None:
    publish_adapter(lab, "player")
    first = voted(tab, asked(tab, [BASE, "player"]))
    assert visible(first, tab.undo)
    again = first | tab.undone(first[tab.session], first[tab.round])
    assert len(lab.store.votes) == len(lab.store.preferences) == 0
    assert "Vote undone" in again[tab.panes] and offered(tab, again) == [] and not visible(again, tab.undo)
    assert tab.vote(again[tab.session], again[tab.round], "best", 1) == {}, "its names were seen"
    assert tab.undone(again[tab.session], again[tab.round]) == {}


def test_a_vote_that_somebody_else_took_back_is_no_trouble(tab: CompareTab, lab: Lab) -> None:
    publish_adapter(lab, "player")
    shown = voted(tab, asked(tab, [BASE, "player"]))
    lab.votes.take_back(shown[tab.session].votes[-1])
    assert not visible(tab.undone(shown[tab.session], shown[tab.round]), tab.undo)


def test_with_open_eyes_names_are_there_from_the_start_and_the_vote_is_not_counted(tab: CompareTab, lab: Lab) -> None:
    publish_adapter(lab, "player")
    shown = asked(tab, [BASE, "player"], blind=False)
    assert [pane.variant for pane in shown[tab.round].panes] == [BASE, "player"]
    assert "player sha256" in shown[tab.panes]
    voted(tab, shown)
    assert "1 vote with names shown" in tab.votes.draw()[tab.votes.results]
    assert len(lab.store.preferences) == 1


# What goes wrong


def test_a_variant_that_fails_does_not_spoil_the_others_nor_say_its_name(tab: CompareTab, lab: Lab) -> None:
    publish_adapter(lab, "player")
    publish_adapter(lab, "broken")
    shown = asked(tab, [BASE, "player", "broken"])
    assert "The reason shows after the vote" in shown[tab.panes] and "I am number" in shown[tab.panes]
    assert "broken" not in shown[tab.panes]
    assert [label for label, _ in offered(tab, shown)] == [
        "B is better  (2)",
        "C is better  (3)",
        "Tie  (4 or T)",
        "Both bad  (5 or B)",
    ]
    after = voted(tab, shown, "best", 2)
    assert "broken" in after[tab.panes]
    assert [s.adapter for _, vote in lab.store.votes.rows() for s in vote.provenances] == ["player", BASE]


def test_where_only_one_variant_spoke_the_reason_is_told_and_nobody_votes(tab: CompareTab, lab: Lab) -> None:
    publish_adapter(lab, "player")
    (lab.settings.adapters / "player" / "adapter_model.safetensors").write_bytes(b"other")
    shown = asked(tab, [BASE, "player"])
    assert "damaged" in shown[tab.panes] and "I am number" in shown[tab.panes]
    assert offered(tab, shown) == []


def test_what_was_said_before_a_stop_can_be_voted_on(settings: Settings) -> None:
    lab = Lab(settings, open_engine=lambda base: FakeEngine(says_its_name, pause=0.08))
    tab = built(CompareTab(lab), "compare")
    publish_adapter(lab, "player")
    stream = tab.answered(values(tab, [BASE, "player"]))
    first = next(stream)
    while not first[tab.round].spoke:
        first |= next(stream)
    stream.close()
    assert offered(tab, first) == []
    stopped = first | tab.stopped(first[tab.session], first[tab.round])
    assert offered(tab, stopped)
    assert visible(stopped, tab.asking.ask)
    lab.close()


def test_asking_nothing_or_nobody_says_what_to_do(tab: CompareTab) -> None:
    with pytest.raises(InputError):
        asked(tab, [BASE], prompt="  ")
    with pytest.raises(InputError):
        asked(tab, [])


def test_the_base_and_the_live_adapter_are_chosen_at_first(tab: CompareTab, lab: Lab) -> None:
    publish_adapter(lab, "old")
    publish_adapter(lab, "new")
    lab.variants.go_live("old")
    assert told(tab.asking.refresh()[tab.asking.variants])["value"] == [BASE, "old"]
    tab.asking.choose([BASE, "new"])
    assert told(tab.asking.refresh()[tab.asking.variants])["value"] == [BASE, "new"]
    lab.variants.remove("new")
    assert told(tab.asking.refresh()[tab.asking.variants])["value"] == [BASE, "old"]


def test_a_prompt_that_was_typed_is_there_after_a_reload(tab: CompareTab, lab: Lab) -> None:
    tab.asking.remember("Half a quest", "Be brief.")
    again = built(CompareTab(lab), "compare")
    shown = again.asking.restore("")
    assert (shown[again.asking.prompt], shown[again.asking.system]) == ("Half a quest", "Be brief.")


def test_a_reloaded_window_goes_on_where_it_was_and_two_windows_do_not_mix() -> None:
    store = SessionStore()
    mine, _ = store.enter("first", "", CompareSession(), None)
    other, round_ = store.enter("second", "", CompareSession(), None)
    assert round_ is None
    at = Round(prompt="Half read", panes=(Pane(variant=BASE, text="So"), Pane(variant="x", text="So")))
    store.keep(replace(mine, goes_on=True, votes=(4,)), at)
    assert store.enter("third", "", CompareSession(), None)[1] is None, "a window that is open is nobody else's"
    store.leave("first")
    assert store.enter("second", "", other, None)[1] is None, "a window that has something keeps to it"
    assert store.enter("another", "Bea", CompareSession(), None)[1] is None, "it is not this person's"
    again, round_ = store.enter("fourth", "", CompareSession(), None)
    assert round_ and round_.prompt == "Half read" and round_.done
    assert (again.votes, again.goes_on, again.window) == ((4,), True, "fourth")
    assert store.enter("fifth", "", CompareSession(), None)[1] is None


def test_what_one_person_types_is_not_shown_to_another(tab: CompareTab, lab: Lab) -> None:
    tab.asking.remember("A secret", "")
    assert tab.asking.restore("")[tab.asking.prompt] == "A secret"
    assert tab.asking.restore("Bea")[tab.asking.prompt] == ""
    assert tab.asking.restore(None)[tab.asking.prompt] == ""


def test_opening_the_tab_writes_into_no_box_and_leaves_a_choice_that_stands(tab: CompareTab, lab: Lab) -> None:
    publish_adapter(lab, "player")
    first = tab.asking.refresh([BASE])
    assert told(first[tab.asking.variants])["value"] == [BASE, "player"]
    assert tab.asking.prompt not in first and tab.asking.system not in first
    assert "value" not in told(tab.asking.refresh([BASE, "player"])[tab.asking.variants])


# What is drawn


def test_a_hostile_answer_is_shown_and_does_nothing() -> None:
    pane = Pane(variant=HOSTILE, text=HOSTILE, provenance=Provenance(adapter=HOSTILE, sha256=HOSTILE), done=True)
    html = panes(Round(prompt=HOSTILE, panes=(pane, pane), blind=False, step=Step(prompt=HOSTILE, judged=0, total=3)))
    last = Round(prompt=HOSTILE, panes=(pane, pane), verdict="best", winner=0)
    html += last_vote(CompareSession(last=last), None) + panes(replace(last, panes=(replace(pane, error=HOSTILE),) * 2))
    assert "<script" not in html and "<img" not in html and "<a " not in str(html).replace('<a href="http', "")
    assert "javascript:" not in html.split('class="pane-text"')[1].split("</p>")[0] or "href" not in html
    assert "\n" not in html


def test_equal_answers_are_said_to_be_equal() -> None:
    pane = Pane(variant=BASE, text="The same.", provenance=Provenance(), done=True)
    assert "identical" in panes(Round(prompt="?", panes=(pane, pane)))


def test_the_prompts_fit_what_was_taught() -> None:
    assert kind_for(["triage"] * 3 + ["stage"]) == "triage"
    assert kind_for(["stage", "mine"]) == "everyday"
    assert kind_for([]) == "everyday"
    assert unseen_prompts("../../etc/passwd") == unseen_prompts()


def test_variants_are_asked_under_the_system_message_that_chat_would_have_told(tab: CompareTab, lab: Lab) -> None:
    lab.system_messages.set_values("Ada", "the harbour")
    shown = seen(
        tab,
        tab.answered(values(tab, [BASE], blind=False, system="You are {name} of {maker}, {else}.")),
    )
    assert shown[tab.round].system == "You are Ada of the harbour, {else}."
