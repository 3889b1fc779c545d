"""The Guide: each tick follows from a measurement, and each button begins what it says."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from html import unescape

import pytest

from chatlab.engines.fake import FakeEngine
from chatlab.lab import Lab
from chatlab.lab.chat.reply_stream import ReplyOptions
from chatlab.lab.guide.checklist import (
    BY_HAND,
    CHOSEN,
    ENOUGH,
    READ,
    base,
    by_hand,
    chosen,
    enough,
    filtered,
    gentle,
    read,
)
from chatlab.lab.guide.checklist import remembers as remembered
from chatlab.lab.guide.symptoms import SYMPTOMS, WISHES
from chatlab.measurements import ReplyMetrics
from chatlab.records import AdapterCard, Demonstration, Message, Provenance, TrainSettings, Vote
from chatlab.settings import Settings
from chatlab.ui.demonstrations.tab import DemonstrationsTab
from chatlab.ui.guide.render import REMEDIES, STEPS
from chatlab.ui.guide.tab import GuideTab
from chatlab.web.app import TABS, on_page_event
from tests.support.page import at, built, publish_adapter, told

MEASURED = ReplyMetrics(replies=40, role_leaks=0, stops=40, prompt_echoes=0, well_formed=38, tokens=9.0)
CARD = AdapterCard(name="new", base="b", sha256="1" * 64, settings=TrainSettings(epochs=2, learning_rate=1e-3))
ASKED = (Message(role="user", content="Hi"), Message(role="assistant", content="Ho"))


@pytest.fixture
def lab(settings: Settings) -> Iterator[Lab]:
    lab = Lab(settings, open_engine=lambda base: FakeEngine())
    yield lab
    lab.close()


def vote(prompt: str, winner: int | None, *hashes: str, blind: bool = True) -> Vote:
    return Vote(
        prompt=(Message(role="user", content=prompt),),
        answers=tuple("ab"[: len(hashes)]),
        provenances=tuple(Provenance(adapter=h[:1] or "base", sha256=h, base="b") for h in hashes),
        verdict="tie" if winner is None else "best",
        winner=winner,
        blind=blind,
    )


def test_a_base_is_good_once_a_run_has_measured_that_it_foretells_the_answers() -> None:
    assert not base(["It has no end."], CARD, 4096).done and "no end" in base(["It has no end."], CARD, 4096).figure
    assert not base([], None, 4096).done and not base([], CARD, 4096).done
    assert base([], replace(CARD, held_out_before=3.1), 4096).done
    assert not base([], replace(CARD, held_out_before=5.0), 4096).done  # ln 4096 is 8.3


def test_only_what_a_person_wrote_counts_as_written_by_hand() -> None:
    own = Demonstration(messages=ASKED)
    pack = replace(own, authors=("starter pack",))
    rest = [replace(own, source="liked"), replace(own, source="imported"), replace(own, source="synthetic"), pack]
    assert not by_hand([own] * (BY_HAND - 1) + rest * 20).done
    edited = [replace(pack, authors=("starter pack", "Ann"))] + [replace(own, source="edited")] * (BY_HAND - 1)
    assert by_hand(edited).done and by_hand([own] * BY_HAND).missing == ""


def test_numbers_findings_and_passes_have_their_marks() -> None:
    assert not enough(ENOUGH - 1).done and enough(ENOUGH).done
    assert filtered(5, 0).done
    assert not filtered(0, 0).done and not filtered(5, None).done and not filtered(5, 1).done
    many = replace(CARD, settings=TrainSettings(epochs=6, learning_rate=1e-3))
    assert gentle(CARD, 1e-3).done and not gentle(CARD, 1e-4).done and not gentle(None, 1e-3).done
    assert not gentle(many, 1e-3).done and gentle(replace(many, forgetting=1.5), 1e-3).done
    assert not gentle(replace(many, forgetting=2.5), 1e-3).done
    for forgetting, done in ((None, False), (-0.4, True), (5.0, True), (5.1, False)):
        assert remembered(replace(CARD, forgetting=forgetting)).done is done
    assert not remembered(None).done


def test_answers_are_read_where_a_person_judged_them_on_unseen_prompts() -> None:
    unseen = [f"Prompt {n}" for n in range(30)]
    votes = [vote(prompt, 0, CARD.sha256, "") for prompt in unseen[: READ - 1]]
    item = read(
        replace(
            CARD,
            reply_metrics_after=ReplyMetrics(
                replies=40, role_leaks=0, stops=40, prompt_echoes=0, well_formed=38, tokens=9.0
            ),
        ),
        votes,
        unseen,
    )
    assert not item.done and "38 of 40" in item.figure and item.missing == "Judge 1 more."
    assert not read(CARD, [*votes, votes[0], vote("Another", 0, CARD.sha256, "")], unseen).done
    assert not read(CARD, [*votes, vote(unseen[25], 0, "2" * 64, "")], unseen).done  # another adapter was judged
    assert read(CARD, [*votes, vote(unseen[25], None, "", CARD.sha256, blind=False)], unseen).done


def test_a_checkpoint_is_chosen_by_blind_votes_among_adapters_that_do_not_prefer_another() -> None:
    rival = "2" * 64
    own = [vote(f"P{n}", 0, CARD.sha256, rival) for n in range(CHOSEN)]
    assert chosen(CARD, own).done and not chosen(CARD, own[1:]).done and not chosen(None, own).done
    assert not chosen(CARD, [vote("P", 0, CARD.sha256, "")] * CHOSEN).done  # the base is no checkpoint
    assert not chosen(CARD, [replace(one, blind=False) for one in own]).done
    lost = chosen(CARD, [vote(f"P{n}", 1, CARD.sha256, rival) for n in range(CHOSEN)])
    assert not lost.done and "Another adapter is better" in lost.figure
    assert chosen(CARD, [vote("P", None, rival, CARD.sha256)] * CHOSEN).done


def test_an_empty_house_has_nothing_ticked_and_every_item_says_what_is_missing(lab: Lab) -> None:
    items = lab.checklist.items()
    assert len(items) == 8 and not any(item.done for item in items)
    assert all(item.figure and item.missing for item in items) and {item.key for item in items} == set(STEPS)


def test_the_list_follows_the_store_when_the_tab_is_opened_again(lab: Lab) -> None:
    tab = built(GuideTab(lab), "guide")
    assert "0 of 8 done" in tab.refresh()[tab.steps]
    rows = [
        (Message(role="user", content=f"Count to {n}"), Message(role="assistant", content=str(n))) for n in range(50)
    ]
    lab.demonstrations.add([Demonstration(messages=messages) for messages in rows])
    publish_adapter(lab, "new", forgetting=1.0, held_out_before=2.0, settings=TrainSettings(epochs=3))
    lab.variants.go_live("new")
    drawn = tab.refresh()
    assert "4 of 8 done" in drawn[tab.steps] and "+1.0 % forgetting" in unescape(drawn[tab.wrong])
    assert told(drawn[tab.plot])["visible"] is False


def doubt_is_out(lab: Lab) -> bool:
    (item,) = [item for item in lab.checklist.items() if item.key == "filtered"]
    return item.done


def test_what_was_looked_through_stays_ticked_after_a_restart_until_it_changes(settings: Settings) -> None:
    with closing(Lab(settings, open_engine=lambda base: FakeEngine())) as lab:
        one = lab.demonstrations.write("What is tin?", "A soft metal.")
        assert not doubt_is_out(lab)
        lab.quality.findings()
        assert doubt_is_out(lab)
    with closing(Lab(settings, open_engine=lambda base: FakeEngine())) as lab:
        assert doubt_is_out(lab) and not lab.quality.is_audited
        lab.demonstrations.update(one, tags=["metals"])
        assert not doubt_is_out(lab)
        lab.demonstrations.update(one, tags=[])
        assert doubt_is_out(lab)  # as they were when they were looked through
        lab.demonstrations.write("What is zinc?", "Another metal.")
        assert not doubt_is_out(lab)


def test_findings_that_were_left_open_stay_open_after_a_restart_until_somebody_decides(settings: Settings) -> None:
    with closing(Lab(settings, open_engine=lambda base: FakeEngine())) as lab:
        lab.demonstrations.add([Demonstration(messages=ASKED)] * 2)
        (finding,) = lab.quality.findings()
        assert not doubt_is_out(lab)
    with closing(Lab(settings, open_engine=lambda base: FakeEngine())) as lab:
        assert "1 finding open" in next(item.figure for item in lab.checklist.items() if item.key == "filtered")
        lab.quality.dismiss(finding)
        assert doubt_is_out(lab)
        lab.quality.undo()
        assert not doubt_is_out(lab)


def test_thumbs_down_are_told_beside_the_symptom_that_they_speak_of(lab: Lab) -> None:

    chat = lab.chat.new()
    last = lab.chat.reply(chat, "Hello", ReplyOptions()).finish()
    turn = last.conversation.turns[-1].id
    lab.chat.rate(chat, turn, False, ["too long", "not correct"])
    signs = lab.symptoms.evidence()
    assert "“too long” on 1 answer by base" in signs["rambles"] and "invents" in signs
    lab.chat.rate(chat, turn, True)
    assert lab.symptoms.evidence() == {}


def test_every_button_of_the_guide_opens_a_tab_at_a_component_that_is_there(lab: Lab) -> None:
    assert {one for row in (*SYMPTOMS, *WISHES) for one in row.remedies} == set(REMEDIES)
    from chatlab.web.app import build

    ids = {block.elem_id for block in build(lab).blocks.values()}
    for way in (*REMEDIES.values(), *STEPS.values()):
        assert way.show in ids or way.show == "tools-on", way
        assert way.act in TABS or way.act == "write-demonstration"


def test_the_button_that_writes_a_demonstration_opens_an_empty_desk(lab: Lab) -> None:
    lab.demonstrations.write("Hi", "Ho")
    opened = on_page_event(lab, '{"act": "write-demonstration"}')
    assert told(opened)["selected"] == "demonstrations"
    tab = built(DemonstrationsTab(lab), "demonstrations")
    drawn = tab.refresh(at(tab, 1))
    assert drawn[tab.editor.selected] == 0 and "A new demonstration" in drawn[tab.title]
    assert tab.title not in tab.refresh(at(tab, 1))  # asked for once
