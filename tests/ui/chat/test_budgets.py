"""How long an answer may get: each conversation keeps its own, and a new one begins with the last."""

from __future__ import annotations

from chatlab.conversation import Budget
from chatlab.engines.base import Sampling
from chatlab.engines.fake import FakeEngine
from chatlab.lab import Lab
from chatlab.lab.chat.reply_stream import ReplyOptions
from chatlab.settings import Settings
from chatlab.ui.chat.generation_settings import fitting
from chatlab.ui.chat.handlers import ChatHandlers
from chatlab.ui.chat.replies import Replies
from tests.support.chat import FOX, Page


def budgeted(answer: int, thinking: int = 0) -> ReplyOptions:
    """The settings as the page sends them, with these budgets."""
    return ReplyOptions(sampling=Sampling(max_tokens=answer, thinking=thinking))


def test_each_conversation_keeps_its_own_budget_and_a_new_one_begins_with_the_last(page: Page) -> None:
    assert (page.view.budget, page.view.thinking) == (256, 0)
    page.say("A long one", budgeted(512, 96))
    first = page.session.conversation
    page.press("new")
    assert (page.view.budget, page.view.thinking) == (512, 96)
    page.handlers.spend(32, 0, page.session)
    page.press("new")
    assert (page.view.budget, page.view.thinking) == (32, 0)
    page.say("A short one", budgeted(32))
    page.press("open", conversation=first)
    assert (page.view.budget, page.view.thinking) == (512, 96)
    page.handlers.spend(64, 96, page.session)
    again = page.handlers.load(str(first))
    assert (again.budget, again.thinking) == (64, 96)
    assert page.handlers.lab.chat.get(page.session.conversation).budget == Budget(answer=64, thinking=96)


def test_a_budget_outlives_the_app_and_a_conversation_kept_without_one_takes_the_last(settings: Settings) -> None:
    for expected in (256, 48):
        lab = Lab(settings, open_engine=lambda base: FakeEngine(script=lambda *_: FOX))
        handlers = ChatHandlers(lab, Replies())
        old = lab.chat.new()
        assert lab.chat.get(old).budget is None
        assert handlers.load().budget == handlers.load(str(old)).budget == expected
        handlers.spend(48, 0, handlers.load(str(old)).session)
        lab.close()
    lab = Lab(settings)
    assert lab.chat.get(1).budget == Budget(answer=48)
    lab.close()


def test_what_the_page_shows_is_what_an_answer_may_spend_and_is_kept(page: Page) -> None:
    page.say("Hello", budgeted(3))
    assert page.conversation.turns[-1].provenance.tokens == 3 and page.conversation.turns[-1].stopped == "length"
    page.press("retry", budgeted(4), turn=1)
    assert page.conversation.budget == Budget(answer=4) and page.conversation.turns[-1].provenance.tokens == 4
    page.press("ask", budgeted(5), turn=0, text="Hello again")
    assert page.conversation.budget == Budget(answer=5) and page.conversation.turns[-1].provenance.tokens == 5


def test_an_incognito_budget_is_forgotten_with_its_conversation(page: Page) -> None:
    page.press("incognito")
    page.say("A secret", budgeted(17))
    assert page.conversation.budget == Budget(answer=17)
    page.press("new")
    assert page.view.budget == 256


def test_the_last_budget_is_each_persons_own(handlers: ChatHandlers) -> None:
    for person, answer in (("anna", 64), ("bert", 128)):
        handlers.spend(answer, 0, handlers.load(person=person).session)
    assert [handlers.load(person=person).budget for person in ("anna", "bert", "cleo")] == [64, 128, 256]


def test_a_dial_that_was_emptied_sets_no_budget(page: Page) -> None:
    page.handlers.spend(None, 0, page.session)
    assert page.handlers.load().budget == 256


def test_what_a_browser_kept_with_the_budgets_among_it_is_still_good() -> None:
    good = {"strength": 0.5, "temperature": 0.0, "top_p": 0.8, "repetition_penalty": 1.2, "seed": 7, "knowledge": True}
    assert fitting([0.5, 0.0, 0.8, 1.2, 512, 7, 96, True]) == fitting([*good.values()]) == good
    assert fitting([0.5, 9, "x", 1.2, None, 1]) == {"strength": 0.5, "repetition_penalty": 1.2}
    assert fitting(None) == fitting([1.0]) == {}
