"""A conversation that is deleted while its answer is being written."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import pytest

from chatlab.engines.fake import FakeEngine
from chatlab.errors import NotFound
from chatlab.lab import Lab
from chatlab.lab.chat.reply_stream import ReplyOptions, ReplyStream
from chatlab.settings import Settings

WORDS = "one two three four five six"
ASKED = ReplyOptions()


@pytest.fixture
def lab(settings: Settings) -> Iterator[Lab]:
    lab = Lab(settings, open_engine=lambda base: FakeEngine(script=lambda *_: WORDS))
    yield lab
    lab.close()


def begun(lab: Lab, conversation: int) -> ReplyStream:
    """Its third token has come."""
    reply = lab.chat.reply(conversation, "Count.", ASKED)
    assert len(list(islice(reply, 3))) == 3
    return reply


@pytest.mark.parametrize("to_its_end", [True, False], ids=["to its end", "stopped"])
def test_the_answer_is_there_when_the_conversation_comes_back(lab: Lab, to_its_end: bool) -> None:
    conversation = lab.chat.new()
    reply = begun(lab, conversation)
    lab.chat.delete(conversation)
    if to_its_end:
        reply.finish()
    reply.close()
    assert reply.done and lab.chat.conversations() == []
    assert lab.chat.undo_delete() == conversation
    question, answer = lab.chat.get(conversation).path()
    assert question.content == "Count." and answer.content == (WORDS if to_its_end else "one two three")
    assert answer.stopped == ("end" if to_its_end else "person")
    lab.chat.reply(conversation, "And on?", ASKED).finish()
    assert len(lab.chat.get(conversation).path()) == 4


def test_one_that_is_brought_back_before_its_answer_has_ended_gets_it_in_its_place(lab: Lab) -> None:
    conversation = lab.chat.new()
    reply = begun(lab, conversation)
    lab.chat.delete(conversation)
    lab.chat.undo_delete()
    reply.finish()
    assert lab.chat.get(conversation).path()[-1].content == WORDS


def test_of_two_deleted_ones_each_gets_its_own_answer(lab: Lab) -> None:
    ids = [lab.chat.new(), lab.chat.new()]
    replies = [begun(lab, one) for one in ids]
    for one in ids:
        lab.chat.delete(one)
    for reply in replies:
        reply.finish()
    assert [lab.chat.undo_delete(), lab.chat.undo_delete()] == ids[::-1]
    assert [len(lab.chat.get(one).path()) for one in ids] == [2, 2]


def test_an_incognito_one_is_gone_with_its_answer_and_nobody_is_told_of_an_error(lab: Lab) -> None:
    conversation = lab.chat.new(incognito=True)
    reply = begun(lab, conversation)
    lab.chat.delete(conversation)
    reply.finish()
    with pytest.raises(NotFound):
        lab.chat.get(conversation)
