"""Quality as the Lab offers it: findings, what is done about them, undo, difficulty, pruning, what a run could use."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from chatlab.engines.fake import FakeEngine
from chatlab.errors import InputError
from chatlab.lab import Lab
from chatlab.quality import Finding
from chatlab.records import Demonstration, Message
from chatlab.settings import Settings
from tests.support.difficulties import measured


@pytest.fixture
def lab(settings: Settings) -> Iterator[Lab]:
    lab = Lab(settings, open_engine=lambda base: FakeEngine())
    yield lab
    lab.close()


def only(lab: Lab, kind: str) -> Finding:
    [one] = [each for each in lab.quality.findings() if each.kind == kind]
    return one


def twice(lab: Lab) -> tuple[int, int]:
    first = lab.demonstrations.write("What is tin?", "A soft metal.")
    return first, lab.demonstrations.write("what is TIN", "a soft metal")


def test_a_duplicate_is_found_and_one_of_the_two_set_aside(lab: Lab) -> None:
    first, second = twice(lab)
    finding = only(lab, "duplicate")
    assert lab.quality.act(finding, finding.actions[0]) == 1
    assert lab.demonstrations.get(second).status == "discarded"
    assert lab.demonstrations.get(first).status == "approved"
    assert lab.quality.known() == lab.quality.findings() == []
    assert lab.quality.undo() == 1
    assert lab.demonstrations.get(second).status == "approved"
    assert only(lab, "duplicate").demonstrations == (first, second)


def test_what_is_fine_as_it_is_stays_away_after_a_restart_until_it_is_edited(lab: Lab, settings: Settings) -> None:
    _, second = twice(lab)
    finding = only(lab, "duplicate")
    lab.quality.act(finding, finding.actions[-1])
    assert lab.quality.findings() == []
    lab.close()
    again = Lab(settings, open_engine=lambda base: FakeEngine())
    assert again.quality.findings() == []
    again.demonstrations.update(second, messages=_said("What is tin?", "A soft metal!"))
    assert len(again.quality.findings()) == 1
    again.close()


def test_a_dismissal_can_be_undone(lab: Lab) -> None:
    twice(lab)
    lab.quality.dismiss(only(lab, "duplicate"))
    lab.quality.undo()
    assert only(lab, "duplicate")


def test_masking_takes_personal_data_out_and_undo_puts_it_back(lab: Lab) -> None:
    one = lab.demonstrations.write("How do I reach you?", "Write to jane@acme.org.")
    finding = only(lab, "personal data")
    lab.quality.act(finding, next(a for a in finding.actions if a.deed == "mask"))
    assert lab.demonstrations.get(one).answer == "Write to [e-mail address]."
    assert lab.quality.findings() == []
    lab.quality.undo()
    assert lab.demonstrations.get(one).answer == "Write to jane@acme.org."


def test_an_undo_leaves_alone_what_was_changed_again_meanwhile(lab: Lab) -> None:
    _, second = twice(lab)
    lab.quality.discard([second])
    lab.demonstrations.update(second, status="waiting")
    assert lab.quality.undo() == 0
    assert lab.demonstrations.get(second).status == "waiting"


def test_an_edit_is_left_to_a_person(lab: Lab) -> None:
    lab.demonstrations.write("How?", "Take a saw, a plane,")
    finding = only(lab, "truncated")
    with pytest.raises(InputError):
        lab.quality.act(finding, next(a for a in finding.actions if a.deed == "edit"))


def test_the_templates_own_tokens_in_an_answer_are_found(lab: Lab) -> None:
    token = lab.machine.base.template.control_tokens[0]
    lab.demonstrations.write("What is tin?", f"A metal.{token}")
    assert only(lab, "role marker")


def test_a_look_in_the_background_ends_and_is_known(lab: Lab) -> None:
    twice(lab)
    assert not lab.quality.is_audited and lab.quality.known() == []
    lab.quality.audit()
    while lab.quality.audit_progress is not None:
        time.sleep(0.01)
    assert lab.quality.is_audited and len(lab.quality.known()) == 1


def test_difficulty_is_measured_once_and_again_only_after_an_edit(lab: Lab) -> None:
    ids = lab.demonstrations.load_pack("stage")[:4]
    lab.demonstrations.delete([i for i, _ in lab.demonstrations.find(limit=99)[0] if i not in ids])
    difficulties = lab.quality.difficulties
    assert difficulties.measure() == 4
    assert difficulties.wait(600).message == ""
    known = difficulties.known()
    assert set(known) == set(ids)
    assert all(each.loss > 0 and each.without > 0 and each.tokens > 1 for each in known.values())
    assert difficulties.measure() == difficulties.missing() == 0
    lab.demonstrations.update(ids[0], messages=_said("Another?", "Quite another."))
    assert difficulties.missing() == 1


def test_a_measurement_can_be_cancelled_and_keeps_what_it_has(lab: Lab) -> None:
    lab.demonstrations.load_pack("triage")
    difficulties = lab.quality.difficulties
    total = difficulties.missing()
    difficulties.measure()
    difficulties.cancel()
    assert not difficulties.progress().running
    assert difficulties.missing() <= total
    assert difficulties.measure() == difficulties.missing()
    difficulties.cancel()


def test_pruning_shows_what_goes_then_does_just_that_and_undoes_it_in_one(lab: Lab) -> None:
    ids = [lab.demonstrations.write(f"What is number {n}?", "It is " + "very " * n + "fine.") for n in range(1, 7)]
    twin = lab.demonstrations.add([Demonstration(messages=lab.demonstrations.get(ids[0]).messages)])[0]
    measured(lab, {one: loss for loss, one in enumerate(ids)})
    before = lab.demonstrations.counts()
    plan = lab.quality.prune_preview(0.5)
    assert lab.demonstrations.counts() == before
    assert plan.duplicates == (twin,) and len(plan.kept) == 4 and not plan.unmeasured
    hardness = lab.quality.difficulties.known()
    assert max(hardness[i].loss for i in plan.easy) <= min(hardness[i].loss for i in plan.kept)
    assert lab.quality.prune(0.5) == 3
    assert set(lab.demonstrations.approved()) == set(plan.kept)
    assert lab.quality.undo() == 3
    assert lab.demonstrations.counts() == before


def test_nothing_is_pruned_that_was_not_measured(lab: Lab) -> None:
    lab.demonstrations.write("What is tin?", "A metal that melts easily in a small fire.")
    assert lab.quality.prune_preview(0.01).gone == ()
    with pytest.raises(InputError):
        lab.quality.prune_preview(0)


def test_what_cannot_be_used_is_not_counted_and_said_why(lab: Lab) -> None:
    twice(lab)
    lab.demonstrations.write("Tell me all.", "word " * 900)
    waiting = lab.demonstrations.write("And now?", "Nothing yet.")
    lab.demonstrations.update(waiting, status="waiting")
    usable = lab.quality.usable()
    assert usable.count == 1
    assert usable.not_usable == {"duplicate": 1, "over 512 tokens": 1}
    assert lab.quality.usable(max_tokens=4).count == 0


def test_the_most_similar_come_first(lab: Lab) -> None:
    tin = lab.demonstrations.write("What is tin?", "Tin is a soft metal that melts easily.")
    lead = lab.demonstrations.write("What is lead?", "Lead is a soft metal that melts easily too.")
    lab.demonstrations.write("Who sings?", "The choir of the village.")
    [(nearest, share)] = lab.quality.similar(tin)
    assert nearest == lead and 0.5 < share < 1


def _said(prompt: str, answer: str) -> tuple[Message, ...]:
    return Message(role="user", content=prompt), Message(role="assistant", content=answer)
