"""The Demonstrations tab's handlers, called without a server: what a person would see after each event."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from chatlab.engines.fake import FakeEngine
from chatlab.errors import EmptyAnswer, InputError
from chatlab.lab import Lab
from chatlab.records import Demonstration, Message
from chatlab.settings import Settings
from chatlab.template import Span
from chatlab.ui.demonstrations.beside import mask_html
from chatlab.ui.demonstrations.drafts import BOXES, NEW
from chatlab.ui.demonstrations.list import PAGE, readiness
from chatlab.ui.demonstrations.tab import DemonstrationsTab
from chatlab.ui.html import escaped
from tests.support.page import at, built, told

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(1)> *a* `b` [c](javascript:d) $$e$$\n\n# f"


@pytest.fixture
def lab(settings: Settings) -> Iterator[Lab]:
    lab = Lab(settings, open_engine=lambda base: FakeEngine())
    yield lab
    lab.close()


@pytest.fixture
def tab(lab: Lab) -> DemonstrationsTab:
    return built(DemonstrationsTab(lab), "demonstrations")


def ids(tab: DemonstrationsTab, updates: dict[Any, Any]) -> list[int]:
    return [value for _, value in told(updates[tab.list.rows])["choices"]]


def typed(tab: DemonstrationsTab, updates: dict[Any, Any], **changed: str) -> dict[Any, Any]:
    """What the editor's boxes would send, with some of them typed over: system=, tags=, text0=, text1= ..."""
    editor = tab.editor
    shown = {f"text{n}": told(updates[box]).get("value", "") for n, box in enumerate(editor.boxes)}
    shown |= {"system": told(updates[editor.system])["value"], "tags": told(updates[editor.tags])["value"]}
    return at(tab, updates[editor.selected], roles=updates[editor.roles], **(shown | changed))


def test_an_empty_store_says_what_to_do_and_offers_the_packs(tab: DemonstrationsTab) -> None:
    shown = tab.refresh(at(tab))
    assert "Load a starter pack" in told(shown[tab.list.empty])["value"]
    assert told(shown[tab.list.empty])["visible"]
    button = told(shown[tab.packs.buttons["stage"]])
    assert (button["value"], button["variant"]) == ("Load 40 demonstrations", "primary")
    assert told(shown[tab.packs.fold])["open"]


def test_one_click_loads_a_pack_and_the_card_says_so(tab: DemonstrationsTab, lab: Lab) -> None:
    shown = tab.loader("stage")()
    assert lab.demonstrations.counts() == {"approved": 40}
    button = told(shown[tab.packs.buttons["stage"]])
    assert (button["value"], button["interactive"]) == ("Loaded, all 40", False)
    assert shown[tab.editor.selected] == ids(tab, shown)[0]
    assert "40 approved" in shown[tab.list.readiness]


def test_a_pack_that_is_partly_there_offers_the_rest(tab: DemonstrationsTab, lab: Lab) -> None:
    lab.demonstrations.delete(lab.demonstrations.load_pack("stage")[:3])
    shown = tab.refresh(at(tab))
    assert told(shown[tab.packs.buttons["stage"]])["value"] == "Load the missing 3"


def test_opening_one_shows_its_words_beside_its_mask_picture(tab: DemonstrationsTab, lab: Lab) -> None:
    one = lab.demonstrations.write("Who goes there?", "A friend.", system="Be brief.", tags=["night"])
    shown = tab.open(one)
    editor = tab.editor
    assert told(shown[editor.boxes[0]])["value"] == "Who goes there?"
    assert told(shown[editor.boxes[1]])["value"] == "A friend."
    assert told(shown[editor.system])["value"] == "Be brief."
    learned = shown[tab.mask].split('class="mask-learned"')[-1]
    assert "A friend" in learned
    assert "Who goes there" not in learned


def test_saving_keeps_what_was_typed_and_draws_the_picture_again(tab: DemonstrationsTab, lab: Lab) -> None:
    one = lab.demonstrations.write("Who goes there?", "A friend.")
    words = typed(tab, tab.open(one), text1="Nobody at all.", tags="night, watch")
    shown = tab.saved(words)
    kept = lab.demonstrations.get(one)
    assert (kept.answer, kept.tags) == ("Nobody at all.", ("night", "watch"))
    assert "Nobody at all" in shown[tab.mask]


def test_an_answer_that_cannot_be_kept_stays_in_its_box(tab: DemonstrationsTab, lab: Lab) -> None:
    one = lab.demonstrations.write("Who goes there?", "A friend.")
    words = typed(tab, tab.open(one), text0="Halt! Who goes?", text1="  ")
    tab.editor.remember(words)
    with pytest.raises(EmptyAnswer):
        tab.saved(words)
    assert lab.demonstrations.get(one).answer == "A friend."
    assert told(tab.open(one)[tab.editor.boxes[0]])["value"] == "Halt! Who goes?"


def test_words_not_yet_saved_outlive_another_selection_and_a_restart(tab: DemonstrationsTab, lab: Lab) -> None:
    one, two = (lab.demonstrations.write(f"Prompt {n}", f"Answer {n}") for n in (1, 2))
    tab.editor.remember(typed(tab, tab.open(one), text1="Half a thou"))
    tab.open(two)
    tab = built(DemonstrationsTab(lab), "demonstrations")
    again = tab.open(one)
    assert told(again[tab.editor.boxes[1]])["value"] == "Half a thou"
    assert told(again[tab.editor.revert])["visible"]
    assert told(tab.reverted(one)[tab.editor.boxes[1]])["value"] == "Answer 1"


def test_one_can_be_written_from_scratch_with_several_turns(tab: DemonstrationsTab, lab: Lab) -> None:
    shown = tab.start_writing(at(tab))
    assert shown[tab.editor.selected] == NEW
    longer = tab.editor.add_turn(typed(tab, shown, text0="Hail.", text1="Well met."))
    shown |= longer
    words = typed(tab, shown, text0="Hail.", text1="Well met.", text2="How is it?", text3="It is well.", tags="new")
    kept = tab.saved(words)[tab.editor.selected]
    messages = lab.demonstrations.get(kept).messages
    assert [m.role for m in messages] == ["user", "assistant", "user", "assistant"]
    assert messages[-1].content == "It is well."


def test_a_turn_added_and_left_empty_is_not_kept(tab: DemonstrationsTab, lab: Lab) -> None:
    shown = tab.start_writing(at(tab))
    shown |= tab.editor.add_turn(typed(tab, shown, text0="Hail.", text1="Well met."))
    kept = tab.saved(typed(tab, shown, text0="Hail.", text1="Well met."))[tab.editor.selected]
    assert len(lab.demonstrations.get(kept).messages) == 2


def test_a_new_one_half_written_is_there_again_later(tab: DemonstrationsTab, lab: Lab) -> None:
    tab.editor.remember(typed(tab, tab.start_writing(at(tab)), text0="What if"))
    tab.open(lab.demonstrations.write("Another", "One."))
    assert told(tab.start_writing(at(tab))[tab.editor.boxes[0]])["value"] == "What if"


def test_a_conversation_longer_than_the_boxes_keeps_its_beginning(tab: DemonstrationsTab, lab: Lab) -> None:
    said = tuple(Message(role=("user", "assistant")[n % 2], content=f"turn {n}") for n in range(BOXES + 4))
    system = Message(role="system", content="Stay calm.")
    one = lab.demonstrations.add([Demonstration(messages=(system, *said))])[0]
    tab.saved(typed(tab, tab.open(one), **{f"text{BOXES - 1}": "the end"}))
    kept = lab.demonstrations.get(one).messages
    assert [m.content for m in kept] == ["Stay calm.", *(m.content for m in said[:-1]), "the end"]


def test_discarding_goes_on_to_the_next_and_can_be_undone(tab: DemonstrationsTab, lab: Lab) -> None:
    old, new = (lab.demonstrations.write(f"Prompt {n}", f"Answer {n}") for n in (1, 2))
    shown = tab.discarded(at(tab, new))
    assert lab.demonstrations.get(new).status == "discarded"
    assert shown[tab.editor.selected] == old
    assert told(shown[tab.undo])["value"] == f"Undo: discarded {new}  (U)"
    tab.undone(at(tab, undoable=shown[tab.undoable]))
    assert lab.demonstrations.get(new).status == "approved"


def test_the_waiting_queue_empties_as_it_is_decided(tab: DemonstrationsTab, lab: Lab) -> None:
    waiting = [lab.demonstrations.write(f"Prompt {n}", f"Answer {n}") for n in range(3)]
    for one in waiting:
        lab.demonstrations.update(one, status="waiting")
    queue = ("", "", "waiting", 0)
    shown = tab.go_on(at(tab, list=queue))
    decided = []
    while one := shown[tab.editor.selected]:
        decided.append(one)
        shown = tab.approved(at(tab, one, list=queue))
    assert decided == waiting[::-1]
    assert ids(tab, shown) == []
    assert lab.demonstrations.counts() == {"approved": 3}


def test_a_deleted_one_comes_back_with_undo(tab: DemonstrationsTab, lab: Lab) -> None:
    one = lab.demonstrations.write("Prompt", "Answer")
    shown = tab.deleted(at(tab, one))
    assert lab.demonstrations.find()[1] == 0
    shown = tab.undone(at(tab, undoable=shown[tab.undoable]))
    assert lab.demonstrations.get(one).answer == "Answer"
    assert shown[tab.editor.selected] == one


def test_search_tag_and_status_narrow_the_list(tab: DemonstrationsTab, lab: Lab) -> None:
    moon = lab.demonstrations.write("The moon?", "It is bright.", tags=["sky"])
    sun = lab.demonstrations.write("The sun?", "It is hot.", tags=["sky"])
    lab.demonstrations.update(sun, status="discarded")
    assert ids(tab, tab.filter(at(tab, list=("moon", "", "", 0)))) == [moon]
    assert ids(tab, tab.filter(at(tab, list=("", "sky", "", 0)))) == [sun, moon]
    assert ids(tab, tab.filter(at(tab, list=("", "", "discarded", 0)))) == [sun]
    assert "No matches" in told(tab.filter(at(tab, list=("mars", "", "", 0)))[tab.list.empty])["value"]


def test_a_long_list_is_turned_page_by_page(tab: DemonstrationsTab, lab: Lab) -> None:
    lab.demonstrations.load_pack("stage")
    first = tab.filter(at(tab))
    second = tab.turn_on(at(tab))
    assert len(ids(tab, first)) == PAGE
    assert not set(ids(tab, first)) & set(ids(tab, second))
    assert not told(first[tab.list.newer])["interactive"]
    last = ids(tab, first)[-1]
    assert tab.go_on(at(tab, last))[tab.editor.selected] == ids(tab, second)[0]


def test_the_page_stays_within_what_is_left(tab: DemonstrationsTab, lab: Lab) -> None:
    lab.demonstrations.load_pack("stage")
    assert tab.turn_on(at(tab, list=("", "", "", 7)))[tab.list.page] == 1
    assert tab.turn_back(at(tab))[tab.list.page] == 0


def test_one_deleted_elsewhere_leaves_the_desk(tab: DemonstrationsTab, lab: Lab) -> None:
    one = lab.demonstrations.write("Prompt", "Answer")
    lab.demonstrations.delete([one])
    assert tab.refresh(at(tab, one))[tab.editor.selected] is None


def test_a_thought_is_shown_only_where_there_is_one_when_the_base_has_no_place_for_thoughts(
    tab: DemonstrationsTab, lab: Lab
) -> None:
    asked, answer = Message(role="user", content="What is 2 + 2?"), Message(role="assistant", content="4")
    thoughtful = Message(role="assistant", content="4", reasoning="Two and two.")
    one, two = lab.demonstrations.add([Demonstration(messages=(asked, each)) for each in (answer, thoughtful)])
    plain, drawn = ([told(shown[box]) for box in tab.editor.thoughts.boxes] for shown in (tab.open(one), tab.open(two)))
    assert not any(box["visible"] for box in plain)
    assert [box["value"] for box in drawn if box["visible"]] == ["Two and two."]
    assert "has no thinking" in drawn[1]["info"]


def test_saving_with_nothing_open_says_so(tab: DemonstrationsTab) -> None:
    with pytest.raises(InputError):
        tab.saved(at(tab))


def test_a_hostile_demonstration_is_shown_and_does_nothing(tab: DemonstrationsTab, lab: Lab) -> None:
    one = lab.demonstrations.write(HOSTILE, HOSTILE, system=HOSTILE, tags=[HOSTILE])
    shown = tab.open(one)
    for html in (shown[tab.mask], shown[tab.title]):
        assert "<script" not in html and "<img" not in html and "onerror=" not in html
        assert "`" not in html and "$" not in html and "\n" not in html
    assert "&#60;script&#62;" in shown[tab.mask]


@hypothesis_settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.text(st.characters(exclude_categories=())))
def test_escaped_text_holds_nothing_that_markup_could_take_for_its_own(text: str) -> None:
    out = escaped(text)
    assert not set(out) & set("<>\"'`*_[]()$\\\n\r|~!-")
    out.encode()


def test_the_mask_picture_paints_what_would_be_cut_off() -> None:
    spans = [Span("Say it. ", "read"), Span("I will", "learned"), Span(" never end", "cut")]
    html = mask_html(spans)
    assert 'class="mask-cut">' in html
    assert "over the limit" in html


def test_a_picture_without_an_answer_warns() -> None:
    assert "No answer to train on" in mask_html([Span("only read", "read")])


@pytest.mark.parametrize(
    ("approved", "said"),
    [
        (0, "Load a starter pack"),
        (40, "Enough to see a change"),
        (100, "Enough to teach a format"),
        (60_000, "Check quality"),
    ],
)
def test_the_meter_says_what_so_many_are_good_for(approved: int, said: str) -> None:
    assert said in readiness(approved)
