"""Several annotators: names on what is written and approved, opinions, and how far they agree."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import gradio as gr
import pytest

from chatlab.engines.fake import FakeEngine
from chatlab.errors import InputError
from chatlab.lab import Lab
from chatlab.lab.chat.reply_stream import ReplyOptions
from chatlab.quality.agreement import ENOUGH, Agreement, agreement, shared_items
from chatlab.records import Annotation, Demonstration, Message
from chatlab.settings import Settings
from chatlab.store import Store
from chatlab.ui.demonstrations.annotators import DemonstrationAnnotators, verdict
from tests.support.page import told

HOSTILE = "<script>alert(1)</script>"


@pytest.fixture
def lab(settings: Settings) -> Iterator[Lab]:
    lab = Lab(settings, open_engine=lambda base: FakeEngine())
    yield lab
    lab.close()


def judged(lab: Lab, name: str, stars: dict[int, int]) -> None:
    lab.annotators.call(name)
    for one, given in stars.items():
        lab.annotators.judge(one, given)


def test_what_is_written_and_approved_bears_the_name_of_who_is_at_work(lab: Lab) -> None:
    nameless = lab.demonstrations.get(lab.demonstrations.write("Hi", "Good day."))
    assert (nameless.authors, nameless.approved_by) == ((), "")
    lab.annotators.call("  Ann   Lee ")
    one = lab.demonstrations.write("Hi", "Good morrow.")
    assert lab.demonstrations.get(one).authors == ("Ann Lee",)
    assert lab.demonstrations.get(one).approved_by == "Ann Lee"
    lab.annotators.call("Ben")
    lab.demonstrations.update(one, status="waiting")
    assert lab.demonstrations.get(one).approved_by == ""
    lab.demonstrations.update(one, status="approved")
    assert lab.demonstrations.get(one).approved_by == "Ben"
    assert lab.demonstrations.get(one).authors == ("Ann Lee",)
    said = (Message(role="user", content="Hi"), Message(role="assistant", content="Well met."))
    lab.demonstrations.update(one, messages=said)
    assert lab.demonstrations.get(one).authors == ("Ann Lee", "Ben")


def test_a_liked_answer_is_the_models_and_a_rewritten_one_the_persons(lab: Lab) -> None:
    lab.annotators.call("Ann")
    chat = lab.chat.new()
    last = lab.chat.reply(chat, "Who goes there?", ReplyOptions()).finish()
    answer = last.conversation.head
    kept = lab.demonstrations.keep(chat, answer)
    liked = lab.demonstrations.get(kept.demonstration)
    assert (liked.authors, liked.approved_by) == ((), "Ann")
    edited = lab.demonstrations.get(lab.demonstrations.keep(chat, answer, "A friend.").demonstration)
    assert (edited.authors, edited.approved_by) == (("Ann",), "Ann")


def test_what_comes_with_the_app_or_from_a_file_is_not_signed_by_whoever_loads_it(lab: Lab) -> None:
    lab.annotators.call("Ann")
    one = lab.demonstrations.load_pack("stage")[0]
    assert lab.demonstrations.get(one).authors == ("starter pack",)
    assert lab.demonstrations.get(one).approved_by == ""
    said = (Message(role="user", content="Hi"), Message(role="assistant", content="Ay."))
    [other] = lab.demonstrations.add([Demonstration(messages=said, source="imported")])
    assert lab.demonstrations.get(other).authors == ()
    assert lab.annotators.names() == ["Ann"]


def test_a_store_from_before_there_were_annotators_opens(tmp_path: Any) -> None:
    document = {
        "messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ay."}],
        "source": "written",
        "status": "approved",
    }
    with Store.open(tmp_path / "store") as store:
        store.db.table("demonstrations").insert(document)
    with Store.open(tmp_path / "store") as store:
        [(_, old)] = store.demonstrations.rows()
        assert (old.authors, old.approved_by, old.annotations) == ((), "", ())


def test_opinions_are_kept_one_a_person_and_outlive_a_restart(settings: Settings) -> None:
    lab = Lab(settings, open_engine=lambda base: FakeEngine())
    one = lab.demonstrations.write("Hi", "Good day.")
    with pytest.raises(InputError, match="Ratings need a name"):
        lab.annotators.judge(one, 4)
    judged(lab, "Ann", {one: 2})
    lab.annotators.judge(one, 4, " too stiff ")
    judged(lab, "Ben", {one: 5})
    lab.close()
    lab = Lab(settings, open_engine=lambda base: FakeEngine())
    kept = [(o.by, o.stars, o.note) for o in lab.demonstrations.get(one).annotations]
    assert kept == [("Ann", 4, "too stiff"), ("Ben", 5, "")]
    assert lab.annotators.me == "Ben"
    lab.annotators.take_back(one)
    assert [o.by for o in lab.demonstrations.get(one).annotations] == ["Ann"]
    lab.close()


@pytest.mark.parametrize("stars", [0, 6, -1])
def test_stars_go_from_one_to_five(lab: Lab, stars: int) -> None:
    lab.annotators.call("Ann")
    one = lab.demonstrations.write("Hi", "Good day.")
    with pytest.raises(InputError):
        lab.annotators.judge(one, stars)


@pytest.mark.parametrize("name", ["x" * 61, "a\u202eb", "\x07bell"])
def test_what_is_no_name_is_refused(lab: Lab, name: str) -> None:
    with pytest.raises(InputError):
        lab.annotators.call(name)
    assert lab.annotators.me == ""


def test_opinions_of_earlier_words_do_not_count(lab: Lab) -> None:
    one = lab.demonstrations.write("Hi", "Good day.")
    judged(lab, "Ann", {one: 1})
    judged(lab, "Ben", {one: 5})
    assert lab.annotators.agreement().shared == 1
    said = (Message(role="user", content="Hi"), Message(role="assistant", content="Good morrow."))
    lab.demonstrations.update(one, messages=said)
    assert lab.annotators.agreement().shared == 0
    assert lab.annotators.disagreements() == []
    assert len(lab.demonstrations.get(one).annotations) == 2


def test_disagreements_are_listed_the_widest_first(lab: Lab) -> None:
    ids = [lab.demonstrations.write(f"Question {n}", "Ay.") for n in range(4)]
    judged(lab, "Ann", dict(zip(ids, (5, 3, 5, 4), strict=True)))
    judged(lab, "Ben", dict(zip(ids, (4, 5, 1, 4), strict=True)))
    assert [(d.demonstration, d.apart) for d in lab.annotators.disagreements()] == [(ids[2], 4), (ids[1], 2)]


def test_alpha_is_krippendorffs_own_example() -> None:
    """Three coders, fifteen units, values missing; interval metric 0.811, as published."""
    coders = {
        "A": ["*", "*", "*", "*", "*", 3, 4, 1, 2, 1, 1, 3, 3, "*", 3],
        "B": [1, "*", 2, 1, 3, 3, 4, 3, "*", "*", "*", "*", "*", "*", "*"],
        "C": ["*", "*", 2, 1, 3, 4, 4, "*", 2, 1, 1, 3, 3, "*", 4],
    }
    given = [(who, n, value) for who, row in coders.items() for n, value in enumerate(row) if value != "*"]
    found = agreement(given)
    assert found.alpha == pytest.approx(0.811, abs=5e-4)
    assert (found.shared, found.annotators) == (12, ("A", "B", "C"))


def test_perfect_agreement_is_one_and_what_one_alone_judged_is_passed_over() -> None:
    given = [(who, item, item % 5 + 1) for who in ("a", "b") for item in range(12)]
    assert agreement([*given, ("a", 99, 1), ("b", 98, 5)]).alpha == 1
    assert agreement(given).shared == 12


def test_agreement_that_is_not_defined_is_not_made_up() -> None:
    assert agreement([]).alpha is None
    assert agreement([("a", 1, 3)]).alpha is None
    assert agreement([(who, item, 4) for who in "ab" for item in range(20)]).alpha is None


def test_the_last_word_of_an_annotator_counts() -> None:
    assert shared_items([("a", 1, 1), ("b", 1, 5), ("a", 1, 5)]) == {1: {"a": 5, "b": 5}}


@pytest.mark.parametrize(
    ("alpha", "shared", "words"),
    [
        (0.95, ENOUGH, "Good agreement"),
        (0.7, ENOUGH, "Moderate agreement"),
        (0.2, ENOUGH, "Poor agreement"),
        (0.95, ENOUGH - 1, "Not enough ratings"),
        (None, 40, "cannot be measured"),
    ],
)
def test_the_verdict_follows_krippendorffs_marks(alpha: float | None, shared: int, words: str) -> None:
    assert words in verdict(Agreement(alpha=alpha, shared=shared, annotators=("a", "b")))


# The tab's parts.


@pytest.fixture
def people(lab: Lab) -> DemonstrationAnnotators:
    with gr.Blocks():
        made = DemonstrationAnnotators(lab)
        made.build()
        made.build_editing()
    return made


def text(html: str) -> str:
    return str(html).replace("&#58;", ":").replace("&#46;", ".")


def test_others_stars_stay_hidden_until_ones_own_are_given(lab: Lab, people: DemonstrationAnnotators) -> None:
    one = lab.demonstrations.write("Hi", "Good day.")
    judged(lab, "Ann", {one: 2})
    lab.annotators.call("Ben")
    drawn = people.draw(one)
    assert "Rated by 1 other" in drawn[people.others] and "Ann" not in drawn[people.others]
    drawn = people.judged(one, 5, "fine")
    assert "Ann: 2" in text(drawn[people.others])
    assert told(drawn[people.stars])["value"] == 5
    assert people.judged(one, 5, "fine") == {}
    assert people.judged(one, None, "no stars") == {}
    assert told(people.taken_back(one)[people.stars])["value"] is None


def test_the_desk_says_who_wrote_and_who_approved(lab: Lab, people: DemonstrationAnnotators) -> None:
    people.named("Ann", None)
    one = lab.demonstrations.write("Hi", "Good day.")
    people.named("Ben", one)
    lab.demonstrations.update(one, status="waiting")
    lab.demonstrations.update(one, status="approved")
    assert "Written by Ann" in people.draw(one)[people.who] and "approved by Ben" in people.draw(one)[people.who]
    assert not told(people.draw(None)[people.judge])["visible"]


def test_agreement_and_its_disagreements_are_drawn_and_hostile_words_stay_words(
    lab: Lab, people: DemonstrationAnnotators
) -> None:
    ids = [lab.demonstrations.write(f"{HOSTILE} {n}", "Ay.") for n in range(12)]
    assert "has two ratings" in people.draw_people()[people.agreement]
    judged(lab, HOSTILE, {one: n % 5 + 1 for n, one in enumerate(ids)})
    judged(lab, "Ben", {one: (n + 3) % 5 + 1 for n, one in enumerate(ids)})
    drawn = people.draw_people()
    assert "Poor agreement" in drawn[people.agreement]
    assert "<script" not in drawn[people.agreement]
    choices = told(drawn[people.apart])["choices"]
    assert {number for _, number in choices} <= set(ids) and choices
    assert "<script" not in people.draw(ids[0])[people.others]


def test_an_opinion_that_makes_no_sense_cannot_be_kept(lab: Lab) -> None:
    one = lab.demonstrations.write("Hi", "Ay.")
    bad = Annotation(by="Ann", stars="five", content_hash="")  # type: ignore[arg-type]
    with pytest.raises(InputError):
        lab.store.demonstrations.put(one, replace(lab.demonstrations.get(one), annotations=(bad,)))
