"""The use cases, on the real base with real training."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from chatlab.engines.base import Sampling
from chatlab.errors import EmptyAnswer, InputError, NameRefused, NotFound, NothingToLearn, RunBusy
from chatlab.lab import Lab
from chatlab.lab.chat.reply_stream import ReplyOptions
from chatlab.records import BASE
from chatlab.settings import Settings

GREEDY = Sampling(temperature=0.0, max_tokens=24)
GREETING = "Write a greeting"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, base_folder: Path, cache_folder: Path) -> Iterator[Lab]:
    """One for all conversations, so that its engine is opened once."""
    lab = Lab(Settings(home=tmp_path_factory.mktemp("home"), base=base_folder, cache_folder=cache_folder))
    yield lab
    lab.close()


@pytest.fixture
def empty(settings: Settings) -> Iterator[Lab]:
    lab = Lab(settings)
    yield lab
    lab.close()


def said(lab: Lab, conversation: int, text: str) -> str:
    """The answer to `text`, whole."""
    return lab.chat.reply(conversation, text, ReplyOptions(sampling=GREEDY)).finish().text


def test_what_a_person_says_is_kept_before_the_model_answers(lab: Lab) -> None:
    chat = lab.chat.new()
    lab.chat.reply(chat, "Good morning.", ReplyOptions(sampling=GREEDY))
    assert [t.content for t in lab.chat.get(chat).path()] == ["Good morning."]


def test_a_reply_says_who_spoke_and_is_kept(lab: Lab) -> None:
    chat = lab.chat.new()
    last = lab.chat.reply(chat, "Tell me about the sea.", ReplyOptions(sampling=GREEDY)).finish()
    kept = lab.chat.get(chat).path()[-1]
    assert last.done and kept.content == last.text and kept.role == "assistant"
    assert kept.provenance is not None
    assert (kept.provenance.adapter, kept.provenance.sha256) == (BASE, "")
    assert kept.provenance.base == lab.machine.base.fingerprint
    assert kept.provenance.tokens == last.tokens > 0


def test_a_stopped_reply_keeps_what_was_said(lab: Lab) -> None:
    chat = lab.chat.new()
    reply = lab.chat.reply(chat, "Tell me a long story.", ReplyOptions(sampling=GREEDY))
    seen = ""
    for chunk in reply:
        seen += chunk.text
        if chunk.tokens >= 5:
            break
    reply.close()
    kept = lab.chat.get(chat).path()[-1]
    assert (kept.content, kept.stopped) == (seen, "person")


def test_a_retry_is_another_version_and_the_first_can_be_shown_again(lab: Lab) -> None:
    chat = lab.chat.new()
    first = said(lab, chat, "Hello.")
    answer = lab.chat.get(chat).path()[-1].id
    lab.chat.retry(chat, answer, ReplyOptions(sampling=Sampling(temperature=1.0, seed=5, max_tokens=24))).finish()
    versions = lab.chat.get(chat).siblings(answer)
    assert len(versions) == 2
    assert lab.chat.get(chat).path()[-1] == versions[1]
    assert lab.chat.show(chat, answer).path()[-1].content == first


def test_an_edited_question_starts_a_branch_and_loses_nothing(lab: Lab) -> None:
    chat = lab.chat.new()
    said(lab, chat, "Speak of love.")
    question = lab.chat.get(chat).path()[0].id
    lab.chat.edit_prompt(chat, question, "Speak of war.", ReplyOptions(sampling=GREEDY)).finish()
    conversation = lab.chat.get(chat)
    assert [t.content for t in conversation.siblings(question)] == ["Speak of love.", "Speak of war."]
    assert len(conversation.path()) == 2
    assert conversation.showing(question).path()[0].content == "Speak of love."


def test_an_incognito_conversation_is_never_stored_nor_taught(lab: Lab) -> None:
    chat = lab.chat.new(incognito=True)
    said(lab, chat, "A secret word: xylophonist.")
    with pytest.raises(InputError):
        lab.demonstrations.keep(chat, lab.chat.get(chat).path()[-1].id)
    assert chat not in [id for id, _ in lab.chat.conversations()]
    files = b"".join(f.read_bytes() for f in lab.settings.store.rglob("*") if f.is_file())
    assert b"xylophonist" not in files


def test_a_deleted_conversation_comes_back(lab: Lab) -> None:
    chat = lab.chat.new()
    said(lab, chat, "Hello.")
    before = lab.chat.get(chat)
    lab.chat.delete(chat)
    with pytest.raises(NotFound):
        lab.chat.get(chat)
    assert lab.chat.undo_delete() == chat
    assert lab.chat.get(chat) == before


def test_an_edit_is_a_demonstration_and_a_preference(lab: Lab) -> None:
    chat = lab.chat.new(system="Be brief.")
    original = said(lab, chat, "Who are you?")
    kept = lab.demonstrations.keep(chat, lab.chat.get(chat).path()[-1].id, "A humble player, good friend.")
    demonstration = lab.demonstrations.get(kept.demonstration)
    assert [m.role for m in demonstration.messages] == ["system", "user", "assistant"]
    assert (demonstration.answer, demonstration.source) == ("A humble player, good friend.", "edited")
    preference = lab.store.preferences.get(kept.preference)
    assert (preference.chosen, preference.rejected) == ("A humble player, good friend.", original)
    assert preference.rejected_by is not None and preference.rejected_by.adapter == BASE
    assert kept.conversation.path()[-1].demonstration == kept.demonstration


def test_keeping_an_answer_twice_keeps_it_once(lab: Lab) -> None:
    chat = lab.chat.new()
    said(lab, chat, "Hello.")
    turn, before = lab.chat.get(chat).path()[-1].id, lab.demonstrations.find()[1]
    first, second = lab.demonstrations.keep(chat, turn), lab.demonstrations.keep(chat, turn)
    assert first.demonstration == second.demonstration
    assert lab.demonstrations.find()[1] == before + 1


def test_an_empty_answer_is_refused_and_nothing_is_kept(lab: Lab) -> None:
    chat = lab.chat.new()
    said(lab, chat, "Hello.")
    before = lab.demonstrations.find()[1]
    with pytest.raises(EmptyAnswer):
        lab.demonstrations.keep(chat, lab.chat.get(chat).path()[-1].id, "   ")
    with pytest.raises(EmptyAnswer):
        lab.demonstrations.write("Hello.", " \n")
    assert lab.demonstrations.find()[1] == before
    assert len(lab.chat.get(chat).path()) == 2


def test_the_starter_pack_loads_once_and_deletion_is_undone(empty: Lab) -> None:
    assert len(empty.demonstrations.load_pack("stage")) == 40
    assert empty.demonstrations.load_pack("stage") == []
    (pack,) = [p for p in empty.demonstrations.packs() if p.name == "stage"]
    assert (pack.size, pack.loaded) == (40, 40)
    ids = empty.demonstrations.approved()
    empty.demonstrations.delete(ids[:3])
    assert empty.demonstrations.find()[1] == 37
    assert empty.demonstrations.undo() == 3
    assert empty.demonstrations.approved() == ids


def test_nothing_approved_is_nothing_to_learn(empty: Lab) -> None:
    waiting = empty.demonstrations.write("Hello.", "Good morrow.")
    empty.demonstrations.update(waiting, status="waiting")
    with pytest.raises(NothingToLearn):
        empty.training.retrain()
    assert empty.training.runs() == []


def test_a_name_that_leaves_the_folder_is_refused(empty: Lab) -> None:
    empty.demonstrations.write("Hello.", "Good morrow.")
    for name in ("../../x", "a/b", "base", "CON", "a;touch x", ""):
        if name:
            with pytest.raises(NameRefused):
                empty.training.retrain(name)
    assert empty.training.runs() == []


def test_a_reply_under_way_keeps_the_adapter_it_began_with(with_player: Settings) -> None:
    lab = Lab(with_player)
    chat = lab.chat.new()
    expected = said(lab, lab.chat.new(), "Tell me of the sea.")
    reply = lab.chat.reply(chat, "Tell me of the sea.", ReplyOptions(sampling=GREEDY))
    for chunk in reply:
        if chunk.tokens >= 3:
            break
    lab.variants.go_live("player")
    assert reply.finish().text == expected
    provenance = lab.chat.get(chat).path()[-1].provenance
    assert provenance is not None and provenance.adapter == BASE
    lab.close()


@pytest.fixture(scope="module")
def resumed(tmp_path_factory: pytest.TempPathFactory, base_folder: Path, cache_folder: Path) -> Iterator[Lab]:
    """A lab that was closed in the middle of a run, opened again, and went on with it to its end."""
    settings = Settings(home=tmp_path_factory.mktemp("resumed"), base=base_folder, cache_folder=cache_folder)
    lab = Lab(settings)
    answer = said(lab, lab.chat.new(), GREETING)
    lab.demonstrations.load_pack("stage")
    run = lab.training.retrain("player", epochs=3)
    with pytest.raises(RunBusy):
        lab.training.retrain()
    while len(lab.training.status().steps) < 4 and lab.training.status().state == "training":
        time.sleep(0.01)  # the trainer needs both cores
    lab.close()

    again = Lab(settings)
    (_, chat), *_ = again.chat.conversations()
    assert chat.path()[-1].content == answer
    assert again.demonstrations.find()[1] == 40
    assert again.training.run(run).state in ("stopped", "interrupted")
    again.training.resume(run)
    again.training.wait(timeout=240)
    yield again
    again.close()


def test_a_restarted_lab_has_everything_and_resumes_the_run(resumed: Lab) -> None:
    (run,) = resumed.training.runs()
    assert run.state == "finished"
    assert resumed.variants.live == resumed.training.adapter_of(run.id) == "player", resumed.training.news


def test_retraining_changes_the_next_reply_and_undo_brings_the_old_one_back(resumed: Lab) -> None:
    lab = resumed
    (_, chat), *_ = lab.chat.conversations()
    before = chat.path()[-1].content
    fresh = lab.chat.new()
    after = said(lab, fresh, GREETING)
    provenance = lab.chat.get(fresh).path()[-1].provenance
    card = lab.variants.card("player")
    assert card is not None and provenance is not None
    assert after != before
    assert (provenance.adapter, provenance.sha256) == ("player", card.sha256)
    assert set(card.demonstrations) <= set(lab.demonstrations.approved())
    assert card.base == lab.machine.base.fingerprint

    assert lab.variants.undo() == BASE
    assert said(lab, lab.chat.new(), GREETING) == before

    panes = list(lab.compare.ask(GREETING, [BASE, "player"], GREEDY))[-1]
    assert [p.text for p in panes] == [before, after]
    assert [p.provenance.sha256 for p in panes if p.provenance] == ["", card.sha256]
    lab.votes.cast(GREETING, panes, "best", winner=1)
    (duel,) = lab.votes.results(draws=0).duels
    assert {duel.share, duel.turned().share} == {0.0, 1.0} and card.sha256 in (duel.first.sha256, duel.second.sha256)
    (pair,) = [p for _, p in lab.store.preferences.rows() if p.source == "compare"]
    assert (pair.chosen, pair.rejected) == (after, before)
