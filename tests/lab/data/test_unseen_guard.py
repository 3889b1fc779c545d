"""Nothing that is learned repeats an unseen prompt, whichever way it comes; and no refusal loses a word."""

from __future__ import annotations

import errno
import html
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from chatlab.engines.base import Sampling
from chatlab.engines.fake import FakeEngine
from chatlab.errors import DiskFull, UnseenRepeated
from chatlab.evaluation.unseen import FIRST
from chatlab.lab import Lab
from chatlab.lab.chat.reply_stream import ReplyOptions
from chatlab.lab.data.packs import Packs
from chatlab.lab.data.unseen import Unseen
from chatlab.records import Demonstration, Message, Status
from chatlab.settings import Settings
from chatlab.store import Store
from chatlab.store.disk import Disk
from chatlab.training.process.runs import Result
from chatlab.ui.train import report

JOKE = "Tell a joke"


@pytest.fixture
def lab(settings: Settings) -> Iterator[Lab]:
    lab = Lab(settings, open_engine=lambda base: FakeEngine())
    lab.unseen.rewrite([JOKE, "Describe the moon"])
    yield lab
    lab.close()


def talk(*said: str) -> tuple[Message, ...]:
    """User and assistant in turn."""
    return tuple(Message(role="assistant" if n % 2 else "user", content=text) for n, text in enumerate(said))


def chatted(lab: Lab, text: str) -> tuple[int, int]:
    """A conversation in which that was asked, and the answer's turn."""
    chat = lab.chat.new()
    lab.chat.reply(chat, text, ReplyOptions(sampling=Sampling(max_tokens=8))).finish()
    return chat, lab.chat.get(chat).path()[-1].id


def test_what_is_written_is_refused_in_words_that_say_what_can_be_done(lab: Lab) -> None:
    with pytest.raises(UnseenRepeated, match="“Tell a joke” is one of your unseen prompts") as refused:
        lab.demonstrations.write("tell me a JOKE!", "Knock, knock.")
    assert refused.value.prompts == (JOKE,) and "Drop it from the unseen prompts" in refused.value.hint
    assert lab.demonstrations.find()[1] == 0


def test_or_kept_and_the_prompt_is_unseen_no_more(lab: Lab) -> None:
    one = lab.demonstrations.write("tell me a JOKE!", "Knock, knock.", release=True)
    assert lab.demonstrations.approved() == [one]
    assert lab.unseen.prompts() == ["Describe the moon"]


def test_every_question_that_is_answered_counts_and_not_only_the_last(lab: Lab) -> None:
    with pytest.raises(UnseenRepeated):
        lab.demonstrations.add([Demonstration(messages=talk(JOKE, "No.", "Why not?", "I am sad."))])
    with pytest.raises(UnseenRepeated):
        lab.demonstrations.add([Demonstration(messages=talk("Hi", "Ay.", JOKE, "No."))])
    lab.demonstrations.add([Demonstration(messages=talk("Hi", JOKE))])


def test_of_many_all_or_none_are_kept(lab: Lab) -> None:
    with pytest.raises(UnseenRepeated):
        lab.demonstrations.add([Demonstration(messages=talk("Hi", "Ay.")), Demonstration(messages=talk(JOKE, "No."))])
    assert lab.demonstrations.find()[1] == 0


def test_a_liked_answer_is_asked_about_and_kept_when_told(lab: Lab) -> None:
    chat, turn = chatted(lab, JOKE)
    with pytest.raises(UnseenRepeated):
        lab.demonstrations.keep(chat, turn)
    assert lab.chat.get(chat).turns[turn].demonstration is None
    kept = lab.demonstrations.keep(chat, turn, release=True)
    assert lab.demonstrations.get(kept.demonstration).source == "liked"
    assert JOKE not in lab.unseen.prompts()


def test_an_edit_that_is_refused_stands_in_the_conversation_and_can_be_kept_later(lab: Lab) -> None:
    chat, turn = chatted(lab, JOKE)
    with pytest.raises(UnseenRepeated):
        lab.demonstrations.keep(chat, turn, "A horse walks into a bar.")
    edited = lab.chat.get(chat).path()[-1]
    assert edited.content == "A horse walks into a bar." and edited.edited_from == turn
    assert len(lab.store.preferences) == 0
    kept = lab.demonstrations.keep(chat, edited.id, release=True)
    assert lab.demonstrations.get(kept.demonstration).source == "edited" and kept.preference is not None
    assert lab.store.preferences.get(kept.preference).chosen == "A horse walks into a bar."
    assert lab.demonstrations.keep(chat, edited.id).preference is None


def test_what_waits_may_repeat_and_approving_it_asks(lab: Lab) -> None:
    [one] = lab.demonstrations.add([Demonstration(messages=talk(JOKE, "No."), status="waiting")])
    with pytest.raises(UnseenRepeated):
        lab.demonstrations.update(one, status="approved")
    assert lab.demonstrations.get(one).status == "waiting"
    lab.demonstrations.update(one, status="approved", release=True)
    assert lab.demonstrations.approved() == [one] and JOKE not in lab.unseen.prompts()


def test_a_change_of_words_is_looked_at_and_a_change_of_tags_is_not(lab: Lab) -> None:
    one = lab.demonstrations.write("Hi", "Ay.")
    with pytest.raises(UnseenRepeated):
        lab.demonstrations.update(one, messages=talk(JOKE, "No."))
    assert lab.demonstrations.get(one).messages == talk("Hi", "Ay.")
    old = lab.store.demonstrations.add(Demonstration(messages=talk(JOKE, "No.")))
    assert lab.demonstrations.update(old, tags=["old"]).tags == ("old",)


def test_a_pack_is_loaded_but_what_repeats_waits(lab: Lab) -> None:
    asked = next(m.content for d in Packs().read("stage") for m in d.messages if m.role == "user")
    lab.unseen.add([asked])
    ids = lab.demonstrations.load_pack("stage")
    assert len(ids) == 40 and len(lab.demonstrations.approved()) == 39
    assert [
        lab.demonstrations.get(i).messages[0].content for i in ids if lab.demonstrations.get(i).status == "waiting"
    ] == [asked]


def imported(lab: Lab, folder: Path, status: Status | None = "approved") -> None:
    """Three rows, of which two repeat."""
    path = folder / "rows.jsonl"
    rows = [("Hi", "Ay."), ("tell a joke", "No."), ("Please describe the moon.", "Round.")]
    path.write_text("\n".join(json.dumps({"prompt": p, "completion": c}) for p, c in rows))
    lab.datasets.start(path, lab.datasets.sniff(path), status=status)
    assert lab.datasets._thread is not None
    lab.datasets._thread.join()


def test_an_import_sets_aside_what_repeats_and_counts_it(lab: Lab, tmp_path: Path) -> None:
    imported(lab, tmp_path)
    progress = lab.datasets.progress
    assert progress is not None and (progress.kept, len(progress.aside)) == (3, 2)
    assert len(lab.demonstrations.approved()) == 1
    assert {lab.demonstrations.get(i).status for i in progress.aside} == {"waiting"}


@pytest.mark.parametrize("keep, approved, prompts", [(True, 3, 0), (False, 1, 2)])
def test_one_word_decides_on_all_that_was_set_aside(
    lab: Lab, tmp_path: Path, keep: bool, approved: int, prompts: int
) -> None:
    imported(lab, tmp_path)
    assert lab.datasets.resolve(keep) == 2
    assert (len(lab.demonstrations.approved()), len(lab.unseen.prompts())) == (approved, prompts)
    assert lab.datasets.progress is not None and lab.datasets.progress.aside == ()
    assert lab.demonstrations.find()[1] == 3, "nothing is thrown away"
    assert lab.datasets.resolve(True) == 0


def test_what_somebody_decided_on_alone_is_left_as_it_is(lab: Lab, tmp_path: Path) -> None:
    imported(lab, tmp_path)
    assert lab.datasets.progress is not None
    first, second = lab.datasets.progress.aside
    lab.demonstrations.update(first, status="discarded")
    lab.demonstrations.delete([second])
    assert lab.datasets.resolve(True) == 0
    assert lab.demonstrations.get(first).status == "discarded" and len(lab.unseen.prompts()) == 2


def test_an_import_that_waits_anyway_asks_nothing(lab: Lab, tmp_path: Path) -> None:
    imported(lab, tmp_path, "waiting")
    assert lab.datasets.progress is not None and lab.datasets.progress.aside == ()


def test_undoing_an_import_takes_out_what_was_set_aside_too(lab: Lab, tmp_path: Path) -> None:
    imported(lab, tmp_path)
    assert lab.datasets.undo() == 3 and lab.demonstrations.find()[1] == 0


def test_a_prompt_is_not_brought_back_over_what_was_taught_since(lab: Lab) -> None:
    lab.unseen.take_out([JOKE])
    one = lab.demonstrations.write(JOKE, "No.")
    with pytest.raises(UnseenRepeated, match=f"demonstration {one} contains it"):
        lab.unseen.undo()
    lab.demonstrations.delete([one])
    assert lab.unseen.undo() == 2


def test_what_came_in_by_another_door_is_held_back_from_runs(lab: Lab) -> None:
    odd = lab.store.demonstrations.add(Demonstration(messages=talk(JOKE, "No.")))
    fine = lab.demonstrations.write("Hi", "Ay.")
    assert lab.demonstrations.approved() == [fine] and lab.demonstrations.held_back() == [odd]
    lab.unseen.take_out([JOKE])
    assert lab.demonstrations.approved() == [odd, fine] and lab.demonstrations.held_back() == []


def test_a_run_says_whom_it_left_out_and_why(lab: Lab) -> None:
    odd = lab.store.demonstrations.add(Demonstration(messages=talk(JOKE, "No.")))
    fine = lab.demonstrations.write("Hi", "Ay.")
    run = lab.training.run(lab.training.prepare())
    assert (run.request.demonstrations, run.request.held_back) == ((fine,), (odd,))
    assert JOKE not in (run.folder / "snapshot.jsonl").read_text()
    done = replace(run, state="finished", result=Result(adapter="", template="", steps=1, demonstrations=(fine,)))
    assert "1 demonstration left out for repeating unseen prompts" in html.unescape(report.ended(done, None))


class Full(Disk):
    """A disk on which there is no room once it is full."""

    full = False

    def write(self, handle: int, data: bytes) -> None:
        if self.full:
            raise OSError(errno.ENOSPC, "No space left on device")
        super().write(handle, data)


def test_on_a_full_disk_the_set_stays_as_it_was(tmp_path: Path) -> None:
    disk = Full()
    with Store.open(tmp_path / "store", disk=disk) as store:
        unseen = Unseen(store)
        before = unseen.prompts()
        disk.full = True
        with pytest.raises(DiskFull):
            unseen.add(["Why?"])
        assert unseen.prompts() == before and not unseen.undoable
        disk.full = False


def test_a_set_that_cannot_even_begin_on_a_full_disk_is_the_one_that_comes_with_the_app(tmp_path: Path) -> None:
    disk = Full()
    with Store.open(tmp_path / "store", disk=disk) as store:
        disk.full = True
        assert len(Unseen(store).prompts()) == FIRST
        disk.full = False
