"""The system message's panel: presets, variables, what the model really reads, and whether it was trained with it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date
from html import unescape
from typing import Any

import gradio as gr
import pytest

from chatlab.engines.fake import FakeEngine
from chatlab.errors import InputError, NotFound
from chatlab.lab import Lab
from chatlab.lab.chat.reply_stream import ReplyOptions
from chatlab.lab.chat.system_messages import day
from chatlab.settings import Settings
from chatlab.ui.chat.handlers import ChatHandlers
from chatlab.ui.chat.replies import Replies
from chatlab.ui.chat.session import Session
from chatlab.ui.chat.systems import SystemPanel
from chatlab.ui.shell import Shell, html_block
from tests.support.page import told


@pytest.fixture
def asked() -> list[list[int]]:
    """Every prompt that the engine was given."""
    return []


@pytest.fixture
def lab(settings: Settings, asked: list[list[int]]) -> Iterator[Lab]:
    def script(prompt: Any, variant: Any, sampling: Any) -> str:
        asked.append(list(prompt))
        return "Good morrow to thee"

    lab = Lab(settings, open_engine=lambda base: FakeEngine(script=script))
    yield lab
    lab.close()


@pytest.fixture
def panel(lab: Lab) -> SystemPanel:
    panel = SystemPanel(lab)
    with gr.Blocks() as page:
        header, timer, model = html_block(), gr.Timer(1, active=False), gr.Textbox(visible="hidden")
        with gr.Tabs() as tabs:
            shell = Shell(tabs=tabs, timer=timer, header=header, draw_header=str, load=page.load, model=model)
            shell.items["chat"] = gr.Tab("chat", id="chat")
        with shell.items["chat"]:
            panel.build()
            panel.wire(shell, gr.State(Session()))
    return panel


def say(lab: Lab, conversation: int, text: str) -> int:
    """The turn of the answer."""
    return lab.chat.reply(conversation, text, ReplyOptions()).finish().conversation.turns[-1].id


def seen(panel: SystemPanel, updates: dict[Any, Any]) -> str:
    return unescape(updates[panel.drawn])


def test_a_preset_of_ones_own_is_kept_renamed_deleted_and_brought_back(panel: SystemPanel, lab: Lab) -> None:
    assert "Pirate" in told(panel.saved("Pirate", "You are {name}, a pirate.")[panel.presets])["choices"]
    assert panel.begin("Pirate")[panel.system] == "You are {name}, a pirate."
    panel.saved("pirate", "Arr.")
    assert [one.text for one in lab.system_messages.own()] == ["Arr."]
    panel.renamed("pirate", "Captain")
    assert "Captain" not in told(panel.deleted("Captain")[panel.presets])["choices"]
    assert told(panel.brought_back()[panel.presets])["value"] == "Captain"


def test_what_comes_with_the_app_is_neither_overwritten_nor_deleted(panel: SystemPanel) -> None:
    for press in (
        lambda: panel.saved("plain ASSISTANT", "x"),
        lambda: panel.saved("", "x"),
        lambda: panel.saved("Empty", "  "),
        lambda: panel.saved("x" * 61, "x"),
        lambda: panel.deleted("Plain assistant"),
        lambda: panel.renamed(None, "New"),
    ):
        with pytest.raises((InputError, NotFound)):
            press()


def test_presets_and_variables_outlive_the_app(settings: Settings, panel: SystemPanel, lab: Lab) -> None:
    panel.saved("Pirate", "You are {name} of {port}.")
    panel.set_values("Ada", "Ada's owner", "port: Tortuga", "", Session())
    lab.close()
    again = Lab(settings, open_engine=lambda base: FakeEngine())
    assert again.system_messages.filled(again.system_messages.get("Pirate").text) == "You are Ada of Tortuga."
    again.close()


def test_a_variables_value_is_not_filled_in_again_and_other_braces_stay(lab: Lab) -> None:
    lab.system_messages.set_values("{maker}", "Bob", {"x": "1"})
    assert lab.system_messages.filled('{name} {X} {"a": {b}} {missing}') == '{maker} 1 {"a": {b}} {missing}'
    assert lab.system_messages.unset("{name} {maker} {date} {missing} {Missing}") == ("missing",)
    for bad in ({"date": "x"}, {"Not a name": "x"}, {"x": "y" * 3000}):
        with pytest.raises(InputError):
            lab.system_messages.set_values("A", "B", bad)


def test_the_preview_is_what_the_model_reads(panel: SystemPanel, lab: Lab, asked: list[list[int]]) -> None:
    panel.set_values("Ada", "Bob", "", "", Session())
    assert f"You are Ada by Bob. {day(date.today())}" in seen(
        panel, panel.set("You are {name} by {maker}. {date}", Session())
    )
    handlers = ChatHandlers(lab, Replies())
    *_, view = handlers.say("Hello", Session(), "You are {name} by {maker}. {date}")
    conversation = lab.chat.get(view.session.conversation or 0)
    assert conversation.system == f"You are Ada by Bob. {day(date.today())}" and view.system.endswith("{date}")
    assert conversation.system in lab.machine.base.template.text(asked[-1])
    assert lab.machine.base.template.text(asked[-1]).split("Hello")[0] in unescape(view.about)
    assert "{colour} has no value" in seen(panel, panel.set("I like {colour}", Session()))


def test_training_reads_id_for_id_what_chat_asked(panel: SystemPanel, lab: Lab, asked: list[list[int]]) -> None:
    chat = lab.chat.new(lab.system_messages.filled("You are {name}. {date}"), wording="You are {name}. {date}")
    turn = say(lab, chat, "Hello")
    kept = lab.demonstrations.get(lab.demonstrations.keep(chat, turn).demonstration)
    (encoded,) = lab.machine.base.template.encode(kept.messages)
    assert list(encoded.ids[: len(asked[-1])]) == asked[-1]
    assert kept.messages[0].content == f"You are Chatlab. {day(date.today())}"


def test_an_answer_is_kept_under_the_message_it_was_asked_under(
    panel: SystemPanel, lab: Lab, asked: list[list[int]]
) -> None:
    chat = lab.chat.new("Be brief.")
    first = say(lab, chat, "Hello")
    under_brief = asked[-1]
    shown = seen(panel, panel.set("Be kind.", Session(conversation=chat)))
    assert "1 answer above used another system message" in shown
    say(lab, chat, "And again")
    kept = lab.demonstrations.get(lab.demonstrations.keep(chat, first, "Good day").demonstration)
    assert kept.messages[0].content == "Be brief." and lab.chat.get(chat).system == "Be kind."
    (encoded,) = lab.machine.base.template.encode(kept.messages)
    assert list(encoded.ids[: len(under_brief)]) == under_brief
    (preference,) = [one for _, one in lab.store.preferences.rows()]
    assert preference.prompt[0].content == "Be brief."
    panel.set("Be brief.", Session(conversation=chat))
    assert lab.chat.get(chat).turns[first].original_system == ()


def test_an_answer_that_had_no_message_stays_without_one(panel: SystemPanel, lab: Lab) -> None:
    chat = lab.chat.new()
    first = say(lab, chat, "Hello")
    panel.set("Be kind.", Session(conversation=chat))
    assert [m.role for m in lab.chat.get(chat).messages(first)] == ["user", "assistant"]
    lab.store.compact()
    assert lab.store.conversations.get(chat).turns[first].original_system == ("",)


def test_a_message_changed_while_an_answer_is_written_is_not_the_answers(lab: Lab) -> None:
    chat = lab.chat.new("Be brief.")
    reply = lab.chat.reply(chat, "Hello", ReplyOptions())
    next(reply)
    lab.chat.set_system(chat, "Be kind.")
    assert reply.finish().conversation.turns[-1].original_system == ("Be brief.",)


def test_a_message_filled_in_yesterday_can_be_filled_in_again(panel: SystemPanel, lab: Lab) -> None:
    chat = lab.chat.new("Today is 1 May 2024.", wording="Today is {date}.")
    session = Session(conversation=chat)
    assert "Update" in seen(panel, panel.look("Today is {date}.", session))
    panel.set("Today is {date}.", session)
    assert lab.chat.get(chat).system == "Today is 1 May 2024."  # leaving the box changes nothing
    updates = panel.pressed(json.dumps({"act": "system-again"}), "plain", True, "Today is {date}.", session)
    assert lab.chat.get(chat).system == f"Today is {day(date.today())}."
    assert "Update" not in seen(panel, updates)


def test_identity_drafts_wait_in_the_queue_and_open_it(panel: SystemPanel, lab: Lab) -> None:
    with pytest.raises(InputError, match="maker"):
        panel.written("plain", True, "Be brief.", Session())
    panel.set_values("Ada", "Bob & sons", "", "", Session())
    updates = panel.written("warm", True, "You are {name}.", Session())
    rows = list(lab.store.demonstrations.rows())
    assert 12 <= len(rows) <= 20 and {d.status for _, d in rows} == {"waiting"} and not lab.demonstrations.approved()
    assert {d.messages[0].content for _, d in rows} == {"You are Ada."}
    assert told(updates[panel._tabs])["selected"] == "demonstrations"
    assert panel._tabs not in panel.written("plain", True, "You are {name}.", Session())
    assert len(lab.store.demonstrations) == len(rows)


def test_hostile_words_show_as_they_are(panel: SystemPanel) -> None:
    panel.set_values("<img src=x onerror=alert(1)>", "B", "", "", Session())
    drawn = panel.set("<b>{name}</b> `*", Session())[panel.drawn]
    assert "<img" not in drawn and "<b><" not in drawn
