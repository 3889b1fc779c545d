"""The chat tab's handlers, without a server: what a person sees after each press."""

from __future__ import annotations

from dataclasses import replace
from html import unescape
from typing import Any

import pytest

from chatlab.conversation import Conversation
from chatlab.engines.fake import FakeEngine
from chatlab.errors import AdapterMissing, EmptyAnswer, InputError, NotFound
from chatlab.lab import Lab
from chatlab.lab.chat.reply_stream import ReplyOptions
from chatlab.records import AdapterCard, Provenance
from chatlab.settings import Settings
from chatlab.training.process.status import TrainerStatus
from chatlab.ui import notices
from chatlab.ui.chat.handlers import ChatHandlers
from chatlab.ui.chat.replies import Replies
from chatlab.ui.chat.rows import earlier, rows
from chatlab.ui.chat.session import Session
from chatlab.ui.chat.tab import ChatTab
from chatlab.ui.chat.transcript import transcript
from chatlab.ui.header import Header, live_chip
from chatlab.ui.page_event import PageEvent
from tests.support.chat import FOX, Page, slow
from tests.support.page import built


def test_an_empty_page_offers_something_to_say_and_the_next_step(page: Page) -> None:
    assert 'data-act="say"' in page.view.transcript
    assert "Load the starter pack" in page.view.transcript


def test_a_message_is_on_the_page_before_its_answer(handlers: ChatHandlers) -> None:
    view = next(handlers.say("Good morning", Session(), ""))
    assert "Good morning" in view.transcript + view.live and view.session.waiting
    assert view.composer["value"] == ""


def test_the_first_message_of_a_kept_conversation_takes_the_place_of_the_welcome(page: Page) -> None:
    page.press("open", conversation=page.handlers.lab.chat.new())
    assert 'class="welcome"' in page.view.transcript
    first = next(page.handlers.say("Good morning", page.session, ""))
    assert isinstance(first.transcript, str) and "welcome" not in first.transcript


def test_an_answer_stands_with_who_spoke_and_how_fast(page: Page) -> None:
    page.say("Good morning")
    assert FOX in page.view.transcript and page.view.live == ""
    assert '<span class="who" title="Base model' in page.view.transcript
    assert "9 tokens" in page.view.transcript and "tok/s" in unescape(page.view.transcript)


def test_an_adapters_answer_carries_its_name_hash_and_strength() -> None:
    provenance = Provenance(adapter="stage-2", sha256="4f2a91c" + "0" * 57, strength=0.5, tokens=10, seconds=0.5)
    said = Conversation().grown(role="user", content="Hi").grown(role="assistant", content="Ho", provenance=provenance)
    shown = unescape(transcript(said, 30))
    assert "stage-2 × 0.5" in shown and "4f2a91c</code>" in shown and provenance.sha256 in shown and "20 tok/s" in shown


def test_nothing_typed_is_lost_when_it_cannot_be_sent(page: Page) -> None:
    with pytest.raises(InputError):
        page.say("   ")
    with pytest.raises(NotFound):
        next(page.handlers.say("Hello", replace(page.session, conversation=999), ""))


def test_a_second_message_waits_for_the_first_answer(settings: Settings) -> None:
    lab = slow(settings)
    handlers = ChatHandlers(lab, Replies())
    view = next(handlers.say("One", Session(), ""))
    with pytest.raises(InputError, match="still answering"):
        next(handlers.say("Two", view.session, ""))
    handlers.replies.close()
    lab.close()


def test_stop_keeps_what_was_said(settings: Settings) -> None:
    lab = slow(settings)
    handlers = ChatHandlers(lab, Replies())
    page = Page(handlers, next(handlers.say("Tell me a story", Session(), "")))
    for view in handlers.watch(page.session):
        page.view = view if isinstance(view.session, Session) else page.view
        if not isinstance(view.session, Session) and "quick" in view.live:
            handlers.stop(page.session)
    said = page.conversation.path()[-1]
    assert said.stopped == "person" and FOX.startswith(said.content) and 0 < len(said.content) < len(FOX)
    assert "stopped" in page.view.transcript
    lab.close()


def test_a_reply_goes_on_while_no_page_is_open_and_a_reload_finds_it(settings: Settings) -> None:
    lab = slow(settings)
    handlers = ChatHandlers(lab, Replies())
    view = next(handlers.say("Tell me a story", Session(), ""))
    watching = handlers.watch(view.session)
    next(watching)
    watching.close()
    page = Page(handlers, handlers.load(str(view.session.conversation)))
    assert page.session.waiting and "Tell me a story" in page.view.live
    page.finish()
    assert FOX in page.view.transcript and page.conversation.path()[-1].stopped == "end"
    lab.close()


def test_a_reload_finds_its_conversation_and_forgets_one_that_is_gone(page: Page) -> None:
    page.say("Good morning")
    again = page.handlers.load(str(page.session.conversation))
    assert FOX in again.transcript
    for gone in ("77", "-3", "x", "", None):
        assert page.handlers.load(gone).session.conversation is None


def test_a_thumb_is_given_and_taken_back(page: Page) -> None:
    page.say("Good morning")
    answer = page.conversation.path()[-1].id
    page.press("like", turn=answer)
    assert page.conversation.turns[answer].rating.liked is True
    page.press("like", turn=answer)
    assert page.conversation.turns[answer].rating is None


def test_a_thumb_down_asks_what_was_wrong(page: Page) -> None:
    page.say("Good morning")
    answer = page.conversation.path()[-1].id
    page.press("dislike", turn=answer)
    assert "What was wrong?" in unescape(page.view.transcript)
    page.press("reason", turn=answer, reason="wrong voice")
    page.press("reason", turn=answer, reason="too long")
    page.press("reason", turn=answer, reason="wrong voice")
    assert page.conversation.turns[answer].rating.reasons == ("too long",)
    with pytest.raises(InputError):
        page.press("reason", turn=answer, reason="<script>")


def test_another_answer_is_a_version_and_the_arrows_go_between_them(page: Page) -> None:
    page.say("Good morning")
    first = page.conversation.path()[-1].id
    page.press("retry", turn=first)
    assert ">2/2<" in unescape(page.view.transcript)
    page.press("show", turn=first)
    assert ">1/2<" in unescape(page.view.transcript)
    assert page.conversation.path()[-1].id == first


def test_a_question_put_differently_is_answered_anew(page: Page) -> None:
    page.say("Good morning")
    page.press("ask", turn=0, text="Good evening")
    assert [t.content for t in page.conversation.path()] == ["Good evening", FOX]
    page.press("show", turn=0)
    assert [t.content for t in page.conversation.path()] == ["Good morning", FOX]


def test_a_rewritten_answer_is_kept_and_retraining_is_offered(page: Page) -> None:
    page.say("Good morning")
    page.press("rewrite", turn=1, text="Good morrow, friend!")
    lab = page.handlers.lab
    assert lab.demonstrations.get(1).answer == "Good morrow, friend!"
    assert [p.rejected for _, p in lab.store.preferences.rows()] == [FOX]
    assert "Kept as demonstration 1" in page.view.notice
    assert "Learn this now" in page.view.notice and "Retrain on everything" in page.view.notice
    assert "edited by you" in page.view.transcript and ">kept<" in page.view.transcript


def test_an_answer_is_kept_as_it_stands_once(page: Page) -> None:
    page.say("Good morning")
    page.press("keep", turn=1)
    page.press("keep", turn=1)
    assert page.handlers.lab.demonstrations.counts() == {"approved": 1}


def test_an_empty_rewrite_is_refused_and_changes_nothing(page: Page) -> None:
    page.say("Good morning")
    with pytest.raises(EmptyAnswer):
        page.press("rewrite", turn=1, text="  ")
    assert len(page.conversation.turns) == 2


def test_incognito_is_in_no_list_and_offers_no_teaching(page: Page) -> None:
    page.press("incognito")
    page.say("A secret")
    assert page.session.conversation is not None and page.session.conversation < 0
    assert "A secret" not in page.view.listing and 'data-act="keep"' not in page.view.transcript
    assert page.handlers.lab.chat.conversations() == []
    with pytest.raises(InputError):
        page.press("keep", turn=1)


def test_conversations_are_renamed_found_deleted_and_brought_back(page: Page) -> None:
    page.say("Good morning")
    first = page.session.conversation
    page.press("new")
    page.say("Tell me about the sea")
    page.press("rename", conversation=first, text="A <b>greeting</b>")
    assert "&#60;b&#62;greeting" in page.view.listing and "<b>" not in page.view.listing
    _, found = page.handlers.list.search("the sea", page.session)
    assert "sea" in found and "greeting" not in found
    page.press("delete", conversation=first)
    assert "greeting" not in page.view.listing and "Undo" in page.view.notice
    page.press("undo-delete")
    assert page.session.conversation == first and "greeting" in page.view.listing


def test_deleting_a_conversation_ends_the_answer_under_way(settings: Settings) -> None:
    lab = slow(settings)
    handlers = ChatHandlers(lab, Replies())
    page = Page(handlers, next(handlers.say("Tell me a story", Session(), "")))
    page.press("delete", conversation=page.session.conversation)
    assert page.session.conversation is None and handlers.replies.ids() == frozenset()
    lab.close()


def test_only_the_last_turns_are_drawn_until_more_are_asked_for(page: Page) -> None:
    long = Conversation()
    for number in range(50):
        long = long.grown(role="user", content=f"question {number}").grown(role="assistant", content=f"answer {number}")
    chat = page.handlers.lab.chat
    chat_id = chat.new()
    chat.change(chat_id, lambda c: replace(long, title="Long"))
    page.press("open", conversation=chat_id)
    assert page.view.transcript.count('class="turn ') == 30 and "question 30" not in page.view.transcript
    page.press("earlier")
    assert page.view.transcript.count('class="turn ') == 60 and "question 30" in page.view.transcript


def test_a_row_knows_its_turn_whatever_branch_is_shown() -> None:
    talk = Conversation().grown(role="user", content="a").grown(role="assistant", content="b")
    talk = talk.grown(role="assistant", content="c", parent=0).grown(role="user", content="d")
    assert [row.turn.id for row in rows(talk)] == [0, 2, 3]
    assert [(row.version, row.versions) for row in rows(talk)][1] == (2, (1, 2))
    assert rows(talk)[1].previous == 1 and rows(talk)[1].next is None
    assert [row.turn.id for row in rows(talk.showing(1))] == [0, 1]
    assert earlier(talk, 2) == 1


def test_a_prompt_that_is_too_long_says_so_and_keeps_the_question(settings: Settings) -> None:
    lab = Lab(settings, open_engine=lambda base: FakeEngine(context=4))
    handlers = ChatHandlers(lab, Replies())
    page = Page(handlers, handlers.load())
    page.say("A question that does not fit")
    assert "tokens" in page.view.notice and "does not fit" in page.view.transcript
    assert "Regenerate" in page.view.transcript
    lab.close()


def test_a_bug_in_the_engine_is_told_without_its_traceback(settings: Settings) -> None:
    def broken(*_: Any) -> str:
        raise RuntimeError("secret detail")

    lab = Lab(settings, open_engine=lambda base: FakeEngine(script=broken))
    handlers = ChatHandlers(lab, Replies())
    page = Page(handlers, handlers.load())
    page.say("Good morning")
    assert "went wrong" in page.view.notice and "secret detail" not in "".join(map(str, page.view))
    assert "Good morning" in page.view.transcript
    lab.close()


def test_a_variant_that_is_gone_is_told_and_the_question_kept(page: Page) -> None:
    page.say("Good morning", ReplyOptions(variant="vanished"))
    assert "vanished" in page.view.notice and "Good morning" in page.view.transcript
    with pytest.raises(AdapterMissing):
        page.handlers.lab.variants.get("vanished")


def test_a_press_that_no_button_makes_is_refused(page: Page) -> None:
    page.say("Good morning")
    for payload in ("", "[]", "{}", "null", '{"act": "like", "turn": "x"}', '{"act": "eval"}', "{" * 10_000):
        with pytest.raises(InputError):
            page.handlers.act(payload, page.session, "")


def test_a_turn_that_does_not_exist_is_refused(page: Page) -> None:
    page.say("Good morning")
    for act in ("like", "retry", "keep", "show", "ask"):
        for turn in (99, -1):
            with pytest.raises((InputError, NotFound)):
                page.press(act, turn=turn, text="x")


def test_the_starter_pack_loads_once_and_offers_a_run(page: Page) -> None:
    page.press("pack")
    assert "demonstrations added" in page.view.notice and "Retrain now" in page.view.notice
    page.press("pack")
    assert "Nothing new" in page.view.notice


def test_the_panel_says_how_to_sample(page: Page) -> None:
    tab = built(ChatTab(page.handlers.lab, page.handlers.replies), "chat")
    panel = tab.generation
    opened = {panel.knowledge: None, panel.seed: None, panel.tools.box: None}
    opened |= {panel.temperature: 0, panel.top_p: 0.8, panel.repetition_penalty: 1.2, panel.thinking: None}
    asked = panel.read(
        opened | {panel.variant: "stage-2", panel.strength: 0.5, panel.max_tokens: 64.0, panel.seed: 7.0}
    )
    assert (asked.variant, asked.strength, asked.sampling.max_tokens, asked.sampling.seed) == ("stage-2", 0.5, 64, 7)
    plain = panel.read(opened | {panel.variant: "", panel.strength: 1, panel.max_tokens: 64})
    assert plain.variant is None and plain.sampling.seed is None and plain.tools == ()


def test_the_header_shows_who_is_live_and_what_it_forgot(page: Page) -> None:
    card = AdapterCard(name="stage-2", base="b", sha256="4f2a", forgetting=1.2)
    assert "good" in live_chip("stage-2", card) and "forgetting &#43;1&#46;2" in live_chip("stage-2", card)
    assert "doubtful" in live_chip("s", replace(card, forgetting=4.0))
    assert "chip live bad" in live_chip("s", replace(card, forgetting=37.0))
    assert "<b>base</b>" in Header(page.handlers.lab).draw()


def test_a_run_under_way_shows_how_far_it_is() -> None:
    notice = notices.training(TrainerStatus(state="training", eta=7.0))
    assert "7 s left" in notice.text and "keep chatting" in notice.text


def test_act_reads_what_the_script_sends() -> None:
    assert PageEvent.read('{"act": "show", "turn": "3", "at": 1}') == PageEvent(do="show", turn=3)
