"""A conversation that has outgrown the context: nothing is lost, and how to go on is the person's choice."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from chatlab.engines.base import Sampling
from chatlab.engines.fake import FakeEngine
from chatlab.errors import PromptTooLong
from chatlab.lab import Lab
from chatlab.lab.chat.reply_stream import ReplyOptions
from chatlab.records import Message
from chatlab.settings import Settings
from chatlab.ui.chat.handlers import ChatHandlers
from chatlab.ui.chat.replies import Replies
from chatlab.ui.chat.transcript import transcript
from tests.support.chat import Page

CONTEXT = 160
SHORT = Sampling(max_tokens=16, temperature=0.0)
WORDS = "the quick brown fox jumps over the lazy dog again and again"


@pytest.fixture
def asked() -> list[int]:
    """Lengths of the prompts that the engine was given."""
    return []


@pytest.fixture
def lab(settings: Settings, asked: list[int]) -> Iterator[Lab]:
    def script(prompt, variant, sampling) -> str:  # type: ignore[no-untyped-def]
        asked.append(len(prompt))
        return "Yes indeed."

    lab = Lab(settings, open_engine=lambda base: FakeEngine(script, context=CONTEXT))
    yield lab
    lab.close()


def outgrown(lab: Lab) -> int:
    """A conversation whose last question does not fit any more."""
    chat = lab.chat.new(system="Be brief.")
    with pytest.raises(PromptTooLong):
        for number in range(20):
            for _ in lab.chat.reply(chat, f"{number} {WORDS}", ReplyOptions(sampling=SHORT)):
                pass
    return chat


def test_what_does_not_fit_is_refused_and_kept(lab: Lab) -> None:
    conversation = lab.chat.get(outgrown(lab))
    assert conversation.path()[-1].role == "user" and conversation.path()[-1].content.endswith(WORDS)


def test_the_oldest_turns_are_left_out_once_that_was_chosen_and_the_answer_says_so(lab: Lab, asked: list[int]) -> None:
    chat = outgrown(lab)
    before = lab.chat.get(chat)
    lab.chat.shorten(chat)
    for _ in lab.chat.retry(chat, before.path()[-1].id, ReplyOptions(sampling=SHORT)):
        pass
    after = lab.chat.get(chat)
    answer = after.path()[-1]
    assert len(after.path()) == len(before.path()) + 1, "nothing is taken out of the conversation"
    assert answer.context_start is not None and after.turns[answer.context_start].role == "user"
    assert CONTEXT // 2 < asked[-1] <= CONTEXT - SHORT.max_tokens, "as much as fits, with room for an answer"
    assert "asked&#32;without" in transcript(after, 50) or "without the oldest messages" in transcript(after, 50)


def test_what_is_kept_of_such_an_answer_is_what_the_model_was_asked(lab: Lab, asked: list[int]) -> None:
    chat = outgrown(lab)
    lab.chat.shorten(chat)
    question = lab.chat.get(chat).path()[-1].id
    for _ in lab.chat.retry(chat, question, ReplyOptions(sampling=SHORT)):
        pass
    answer = lab.chat.get(chat).path()[-1]
    for text in (None, "No, never."):
        kept = lab.demonstrations.keep(chat, answer.id, text)
        learned = lab.demonstrations.get(kept.demonstration)
        assert learned.messages[0] == Message(role="system", content="Be brief.")
        assert len(lab.machine.base.template.prompt(learned.prompt)) == asked[-1]


def test_a_conversation_with_room_is_asked_whole_even_if_it_may_be_shortened(lab: Lab) -> None:
    chat = lab.chat.new()
    lab.chat.shorten(chat)
    for _ in lab.chat.reply(chat, "Hello.", ReplyOptions(sampling=SHORT)):
        pass
    assert lab.chat.get(chat).path()[-1].context_start is None


def test_the_page_offers_both_ways_and_each_leads_to_an_answer(lab: Lab) -> None:
    handlers = ChatHandlers(lab, Replies())
    page = Page(handlers, handlers.load(str(outgrown(lab))))
    page.press("again")
    assert [act for act, _ in page.session.notice.actions] == ["shorten", "afresh"]  # type: ignore[union-attr]
    old = page.session.conversation
    page.press("afresh")
    assert page.session.conversation != old and page.conversation.system == "Be brief."
    assert [turn.role for turn in page.conversation.path()] == ["user", "assistant"]
    page = Page(handlers, handlers.load(str(old)))
    page.press("shorten")
    assert page.conversation.path()[-1].content == "Yes indeed." and page.session.notice is None


def test_one_message_that_is_too_long_by_itself_is_said_and_stays(lab: Lab) -> None:
    handlers = ChatHandlers(lab, Replies())
    page = Page(handlers, handlers.load())
    page.say(WORDS * 20)
    assert page.session.notice and "the context is" in page.session.notice.text and not page.session.notice.actions
    assert page.conversation.path()[-1].content == WORDS * 20
