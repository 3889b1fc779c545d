"""From vote to vote through the unseen prompts."""

from __future__ import annotations

import pytest

from chatlab.errors import InputError
from chatlab.lab import Lab
from chatlab.records import BASE
from chatlab.ui.compare.session import next_step, prompts
from chatlab.ui.compare.tab import CompareTab
from tests.support.compare import asked, offered, seen, values, voted, walked
from tests.support.page import publish_adapter


def test_a_vote_leads_to_the_next_unseen_prompt_until_all_are_judged(tab: CompareTab, lab: Lab) -> None:
    publish_adapter(lab, "player")
    unseen = prompts("triage")
    shown = walked(tab, [BASE, "player"])
    for i, prompt in enumerate(unseen):
        assert shown[tab.round].prompt == prompt
        assert f"{i} of {len(unseen)} unseen prompts judged" in shown[tab.panes]
        assert "player" not in shown[tab.panes]
        shown = walked(tab, [BASE, "player"], voted(tab, shown), go="ask_next_after")
        if i + 1 < len(unseen):
            assert "player" in shown[tab.last], "who was who is said while the next is already spoken"
    assert "All unseen prompts are judged" in shown[tab.last] and not shown[tab.session].goes_on
    assert len(lab.store.votes) == len(unseen)
    assert walked(tab, [BASE, "player"], shown)[tab.round].prompt == unseen[0], "N begins another lap"


def test_a_typed_prompt_leads_nowhere_and_is_not_touched_by_the_walk(tab: CompareTab, lab: Lab) -> None:
    publish_adapter(lab, "player")
    shown = voted(tab, asked(tab, [BASE, "player"]))
    assert walked(tab, [BASE, "player"], shown, go="ask_next_after") == shown
    assert tab.asking.prompt not in walked(tab, [BASE, "player"], shown)


def test_a_skipped_prompt_waits_until_the_others_are_done(tab: CompareTab, lab: Lab) -> None:
    publish_adapter(lab, "player")
    unseen = prompts("triage")
    shown = walked(tab, [BASE, "player"])
    shown |= tab.skipped(shown[tab.session], shown[tab.round])
    shown = walked(tab, [BASE, "player"], shown, go="ask_next_after")
    assert shown[tab.round].prompt == unseen[1] and len(lab.store.votes) == 0
    while shown[tab.session].goes_on:
        shown = walked(tab, [BASE, "player"], voted(tab, shown, "tie", None), go="ask_next_after")
    assert "except those you skipped" in shown[tab.last]
    assert walked(tab, [BASE, "player"], shown)[tab.round].prompt == unseen[0]


def test_a_vote_is_taken_back_while_the_next_prompt_is_answered(tab: CompareTab, lab: Lab) -> None:
    publish_adapter(lab, "player")
    shown = voted(tab, walked(tab, [BASE, "player"]))
    next_one = tab.ask_next_after(values(tab, [BASE, "player"], shown))
    shown |= next(next_one)
    shown |= tab.undone(shown[tab.session], shown[tab.round])
    shown = seen(tab, next_one, shown)
    assert len(lab.store.votes) == 0 and shown[tab.session].votes == () and "Vote undone" in shown[tab.last]
    assert shown[tab.round].prompt == prompts("triage")[1] and offered(tab, shown)
    shown = walked(tab, [BASE, "player"], voted(tab, shown), go="ask_next_after")
    assert shown[tab.round].prompt == prompts("triage")[0], "it is asked again"


def test_a_variant_that_always_fails_does_not_keep_the_walk_at_one_prompt(tab: CompareTab, lab: Lab) -> None:
    publish_adapter(lab, "player")
    publish_adapter(lab, "broken")
    trio = [BASE, "player", "broken"]
    shown = walked(tab, trio, voted(tab, walked(tab, trio), "tie", None), go="ask_next_after")
    assert shown[tab.round].prompt == prompts("triage")[1]


def test_one_variant_alone_walks_nowhere(tab: CompareTab) -> None:
    with pytest.raises(InputError):
        walked(tab, [BASE])


def test_the_prompt_that_was_judged_least_is_next() -> None:
    assert next_step(["a", "b", "c"], {}).prompt == "a"  # type: ignore[union-attr]
    step = next_step(["a", "b", "c"], {"a": 2, "b": 1})
    assert step and (step.prompt, step.judged, step.total) == ("c", 2, 3)
    assert next_step(["a", "b"], {"a": 1}, passed=["b"]) is None
    assert next_step([], {}) is None


# Windows
