"""Identity demonstrations, and whether prompt and training disagree; how long answers are, and whether they grow."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from chatlab.adapters import Adapters
from chatlab.conversation import Conversation
from chatlab.engines.fake import FakeEngine
from chatlab.errors import InputError
from chatlab.evaluation.length_drift import LEAST, Lengths, grown
from chatlab.lab import Lab
from chatlab.lab.data.identity import QUESTIONS, TONES, asks_who, drafts, taught_names, told_name
from chatlab.lab.runs.prompt_mismatch import Mismatch, summary
from chatlab.quality.check import check
from chatlab.records import AdapterCard, Demonstration, Message, Provenance
from chatlab.settings import Settings

ADA = "You are Ada, made by Bob. Today is 3 May 2026."


@pytest.fixture
def lab(settings: Settings) -> Iterator[Lab]:
    lab = Lab(settings, open_engine=lambda base: FakeEngine())
    yield lab
    lab.close()


def lesson(asked: str, answer: str, system: str = "") -> tuple[Message, ...]:
    heading = (Message(role="system", content=system),) if system else ()
    return (*heading, Message(role="user", content=asked), Message(role="assistant", content=answer))


def taught(lab: Lab, name: str, lessons: list[tuple[Message, ...]], live: bool = True) -> AdapterCard:
    """An adapter that learned just these, published with them; live."""
    ids = lab.store.demonstrations.add_many([Demonstration(messages=messages) for messages in lessons])
    source = lab.settings.home / f"made-{name}"
    source.mkdir(parents=True)
    (source / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 2, "target_modules": ["q_proj"]}))
    (source / "adapter_model.safetensors").write_bytes(name.encode())
    snapshot = lab.store.snapshot(source.parent / f"{name}.jsonl", ids)
    card = AdapterCard(
        name=name, base=lab.machine.base.fingerprint, base_name="base", demonstrations=tuple(ids), snapshot=snapshot
    )
    card = Adapters(lab.settings.adapters).publish(source, card, demonstrations=source.parent / f"{name}.jsonl")
    if live:
        lab.variants.go_live(name)
    return card


def kinds(found: list[Mismatch]) -> list[str]:
    return [one.kind for one in found]


def test_every_tone_writes_as_many_varied_drafts_that_pass_the_quality_check() -> None:
    for tone in TONES:
        written = drafts("Ada", "Bob", tone, "You are Ada.")
        assert 12 <= len(written) == len(QUESTIONS) <= 20 and all(d.status == "waiting" for d in written)
        assert all("{" not in d.answer and d.messages[0].role == "system" for d in written)
        assert len({d.messages[1].content for d in written}) == len(written)
        approved = [(i, replace(d, status="approved")) for i, d in enumerate(written, 1)]
        assert not [f for f in check(approved) if f.kind in ("duplicate", "contradiction", "markup", "role marker")]


def test_a_name_with_braces_stays_as_it_is_and_one_that_is_none_is_refused() -> None:
    assert any("{maker} v2" in d.answer for d in drafts("{maker} v2", "Bob Ltd."))
    assert not [d.answer for d in drafts("Ada", "Bob Ltd.") if ".." in d.answer]
    for name, maker in (("", "Bob"), ("Ada", " "), ("x" * 81, "Bob")):
        with pytest.raises(InputError):
            drafts(name, maker)


def test_a_question_of_the_unseen_set_or_one_that_is_answered_gets_no_draft(lab: Lab) -> None:
    lab.unseen.rewrite(["Who made you?", "Tell a joke"])
    lab.demonstrations.write("What is your name", "Ada.")
    done = lab.identity.write("Ada", "Bob")
    asked = {d.messages[-2].content for _, d in lab.store.demonstrations.rows()}
    assert (done.known, done.unseen) == (1, 1) and "Who made you?" not in asked
    lab.store.demonstrations.remove(done.ids)
    assert lab.identity.write("Ada", "Bob", system="You are Ada.").known == 0  # another question under a message


def test_names_are_read_where_somebody_asks_who_it_is() -> None:
    assert all(
        asks_who(q)
        for q in QUESTIONS
        if q not in ("Where do you run?", "Did OpenAI train you?", "Which company built you?")
    )
    rows = [lesson("Who are you?", "I am Ada Bell, at your service."), lesson("What's up?", "I am Fine Thanks.")]
    assert dict(taught_names(rows)) == {"Ada Bell": 1}
    assert told_name(ADA) == "Ada" and told_name("You are a helpful assistant.") == ""
    assert told_name("Your name is Zoë. Be kind.") == "Zoë" and told_name("You are An AI") == ""
    for tone in TONES:
        assert set(taught_names(d.messages for d in drafts("Ada", "Bob", tone))) == {"Ada"}


def test_an_adapter_trained_without_a_message_disagrees_with_a_conversation_that_has_one(lab: Lab) -> None:
    assert lab.mismatch.of("You are Ada.") == []  # the base was taught nothing
    taught(lab, "plain", [lesson(f"Say {n}", f"It is {n}.") for n in range(10)])
    assert lab.mismatch.of("") == []
    (found,) = lab.mismatch.of("You are Ada.")
    assert found.kind == "untrained message" and "10 of the 10 training demonstrations of plain" in found.why


def test_an_adapter_trained_with_a_message_says_which(lab: Lab) -> None:
    taught(lab, "ada", [lesson(f"Say {n}", f"It is {n}.", ADA) for n in range(9)] + [lesson("Hi", "Ho.")])
    assert lab.mismatch.of(ADA) == [] == lab.mismatch.of(ADA.replace("3 May 2026", "24 November 2027"))
    assert lab.mismatch.of("") == []  # one in ten had none: it was trained without one as well
    (found,) = lab.mismatch.of("Answer in one word.")
    assert (found.kind, found.trained) == ("other message", ADA)
    assert lab.mismatch.ready(ADA) == 9 and lab.mismatch.ready("Answer in one word.") == 0


def test_no_message_disagrees_with_an_adapter_that_always_had_one(lab: Lab) -> None:
    taught(lab, "ada", [lesson(f"Say {n}", f"It is {n}.", ADA) for n in range(11)])
    assert kinds(lab.mismatch.of("")) == ["missing message"]


def test_a_name_in_the_prompt_disagrees_with_the_name_that_is_taught(lab: Lab) -> None:
    taught(lab, "bob", [d.messages for d in drafts("Bob", "Carol", system="You are Bob.")])
    assert lab.mismatch.of("You are Bob.") == []
    found = lab.mismatch.of("You are Ada. Be kind.")
    assert kinds(found) == ["other message", "other name"] and found[1].trained == "Bob"
    assert "calls it Ada" in found[1].why


def test_what_disagrees_is_read_from_the_snapshot_not_from_the_store_as_it_is_now(lab: Lab) -> None:
    card = taught(lab, "plain", [lesson(f"Say {n}", f"It is {n}.") for n in range(4)])
    for number in card.demonstrations:
        lab.demonstrations.update(number, messages=lesson("Say it", f"It is {number}.", "You are Ada."))
    assert kinds(lab.mismatch.of("You are Ada.")) == ["untrained message"]
    for file in Path(lab.settings.adapters).glob("plain/*.jsonl"):
        file.write_text("broken")
    assert lab.mismatch.trained() is not None  # read once, and remembered
    fresh = type(lab.mismatch)(lab.store, lab.lineage, lab.variants)
    assert fresh.trained() is None and fresh.of("You are Ada.") == []


def test_a_summary_of_many_lessons_takes_a_sample_of_their_answers() -> None:
    found = summary([lesson(f"Say {n}", f"It is {n}.") for n in range(1000)])
    assert found.demonstrations == 1000 and 150 < len(found.answers) <= 200
    assert summary([]).demonstrations == 0


# How long answers are.


def test_nothing_is_said_of_growth_before_there_are_answers_enough() -> None:
    few, many = Lengths.of([100] * (LEAST - 1)), Lengths.of([100] * LEAST)
    short = Lengths.of([10] * LEAST)
    assert grown(few, short, short) == [] and grown(many, Lengths.of([10] * (LEAST - 1)), None) == []
    assert [one.since for one in grown(many, short, short)] == ["earlier adapter", "demonstrations"]


def test_growth_is_said_only_where_it_is_large_and_not_by_chance() -> None:
    assert grown(Lengths.of([12] * 50), Lengths.of([10] * 50), None) == []  # a fifth more is not much
    wide = [1, 2, 3, 100] * 5
    assert grown(Lengths.of([2, 3, 4, 130] * 5), Lengths.of(wide), None) == []  # a third more, but it may be chance
    assert grown(Lengths.of([13, 14, 15] * 10), Lengths.of([9, 10, 11] * 10), None)[0].times == pytest.approx(1.4)
    assert grown(Lengths.of([14] * 30), None, Lengths.of([10] * 30)) == []  # less than half as long again as taught
    assert Lengths.of([]).mean == 0.0 and Lengths.of([5]).variance == 0.0


def answered(lab: Lab, name: str, sha256: str, tokens: int, day: int, count: int = LEAST, stop: str = "end") -> None:
    provenance = Provenance(adapter=name, sha256=sha256, base="b", tokens=tokens)
    conversation = Conversation()
    for n in range(count):
        at = f"2026-03-{day:02}T10:{n % 60:02}:00.000+00:00"
        conversation = conversation.grown(role="user", content="Hi", created=at)
        conversation = conversation.grown(
            role="assistant", content="Ho", provenance=provenance, stopped=stop, created=at
        )
    lab.store.conversations.add(conversation)


def test_answers_that_grow_from_one_adapter_to_the_next_are_told(lab: Lab) -> None:
    old = taught(lab, "old", [lesson("Hi", "Ho")])
    new = taught(lab, "new", [lesson("Hi again", "one two three four five six seven eight nine ten")])
    answered(lab, "base", "", 200, 1)
    answered(lab, "old", old.sha256, 20, 2)
    answered(lab, "new", new.sha256, 40, 3)
    answered(lab, "new", new.sha256, 999, 4, stop="person")  # broken off: says nothing of its length
    found = lab.answer_lengths.report()
    assert (found.name, found.now.mean, found.earlier) == ("new", 40.0, "old")
    assert [one.times for one in found.growth if one.since == "earlier adapter"] == [2.0]
    averages = lab.answer_lengths.averages()
    assert list(averages) == ["base", "old", "new"] and [a.mean for a in averages["old"]] == [20.0]
    _ = lab.machine.engine  # once the model is open, what was taught is measured in its tokens
    taught_lengths = lab.answer_lengths.report().taught
    assert taught_lengths is not None and 5 <= taught_lengths.mean <= 20


def test_a_line_over_many_months_has_few_points(lab: Lab) -> None:
    for month in range(1, 13):
        provenance = Provenance(adapter="base", tokens=month)
        turn = {"role": "assistant", "content": "Ho", "provenance": provenance, "stopped": "end"}
        conversation = Conversation()
        for year in (2020, 2023, 2026):
            conversation = conversation.grown(**turn, created=f"{year}-{month:02}-01T00:00:00.000+00:00")
        lab.store.conversations.add(conversation)
    (line,) = lab.answer_lengths.averages().values()
    assert 1 < len(line) <= 62 and sum(one.count for one in line) == 36


def test_a_deleted_conversation_is_no_longer_counted(lab: Lab) -> None:
    answered(lab, "base", "", 50, 1)
    assert lab.answer_lengths.report().now.count == LEAST
    lab.store.conversations.remove([1])
    assert lab.answer_lengths.report().now.count == 0 and lab.answer_lengths.averages() == {}
