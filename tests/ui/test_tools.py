"""Tools on the page: chosen in the panel, their steps under the answer, calls written and kept in the editor."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator
from html import unescape
from typing import Any

import pytest

from chatlab.adapters import Adapters
from chatlab.conversation import Conversation
from chatlab.engines.base import ReplyChunk, Sampling, Variant
from chatlab.engines.fake import FakeEngine
from chatlab.errors import InputError
from chatlab.lab import Lab
from chatlab.lab.chat.reply_stream import ReplyOptions, ReplyStream
from chatlab.models.base import Base
from chatlab.records import AdapterCard, Demonstration, Message
from chatlab.settings import Settings
from chatlab.template.tools.plain import TELLING
from chatlab.tool_calls import Call, ToolStep
from chatlab.ui.chat.handlers import ChatHandlers
from chatlab.ui.chat.replies import Replies
from chatlab.ui.chat.rows import rows
from chatlab.ui.chat.session import Session
from chatlab.ui.chat.tool_switch import ToolSwitch
from chatlab.ui.chat.transcript import growing, steps, transcript
from chatlab.ui.demonstrations.beside import mask_html
from chatlab.ui.demonstrations.drafts import NEW, Drafts
from chatlab.ui.demonstrations.editor import CALLING, DemonstrationEditor
from tests.support.page import built, told

HOSTILE = '<img src=x onerror="boom()">**bold**\n\n# no [link](javascript:boom())\u202e</div></details>'


@pytest.fixture
def lab(settings: Settings) -> Iterator[Lab]:
    def engine(base: Base) -> FakeEngine:
        def script(prompt, variant, sampling):
            said = base.template.text(prompt)
            return "There are 3." if "Result: 3" in said or "Tools." not in said else "Call: count r | strawberry"

        return FakeEngine(script)

    lab = Lab(settings, open_engine=engine)
    yield lab
    lab.close()


@pytest.fixture
def editor(lab: Lab) -> DemonstrationEditor:
    editor = DemonstrationEditor(lab.demonstrations, Drafts(lab.store), lab.toolbox)
    editor.build()
    return editor


def step(**fields: object) -> ToolStep:
    known: dict[str, object] = {"call": Call(name="count", arguments=(("what", "r"),)), "result": "3"}
    return ToolStep(**(known | fields))  # type: ignore[arg-type]


def test_an_answer_that_delegated_shows_its_steps_folded(lab: Lab) -> None:
    handlers = ChatHandlers(lab, Replies())
    settings = ReplyOptions(sampling=Sampling(temperature=0.0, max_tokens=64), tools=("count",))
    views = list(handlers.say("How many r are in strawberry?", Session(), "", settings))
    shown = unescape(views[-1].transcript)
    assert "<details><summary>1 step with count</summary>" in shown
    assert "strawberry" in shown and "There are 3." in shown and "There are 3." in views[-1].transcript


def test_a_step_shows_its_failure_its_time_and_what_was_said_before_it() -> None:
    shown = unescape(steps([step(failed=True, result="That divides by zero.", text="Let me see.", seconds=0.123)]))
    assert "1 step with count, 1 failed" in shown and "0.12 s" in shown
    assert "Let me see." in shown and "That divides by zero." in shown and "tool-use failed" in shown
    assert steps([]) == ""


def test_nothing_that_a_model_or_a_tool_says_becomes_markup() -> None:
    call = Call(name=HOSTILE, arguments=((HOSTILE, HOSTILE),))
    shown = steps([step(call=call, result=HOSTILE, text=HOSTILE)], running=call)
    assert "<img" not in shown and "\n" not in shown and "**bold" not in shown and "](" not in shown
    assert shown.count("<details>") == shown.count("</details>") == 1


def test_a_tool_at_work_is_shown_while_the_answer_grows() -> None:
    said = Conversation().grown(role="user", content="Hi")

    def generate(reply: ReplyStream) -> Generator[ReplyChunk, None, None]:
        reply.start(Variant(), "")
        reply.add(ReplyChunk(tokens=3, sha256="", step=step()))
        python = Call(name="python", arguments=(("code", "print(1)"),))
        reply.add(ReplyChunk(tokens=3, sha256="", call=python))
        yield from ()

    shown = unescape(growing(rows(said)[-1], ReplyStream(said, generate).finish()))
    assert "python is running: print(1)" in shown and "1 step with count" in shown


def test_steps_of_old_versions_stay_with_them() -> None:
    said = Conversation().grown(role="user", content="Hi").grown(role="assistant", content="Ho", steps=(step(),))
    other = said.grown(role="assistant", content="Hey", parent=0)
    assert "step-name" in transcript(said, 30) and "step-name" not in transcript(other, 30)


def test_the_switch_remembers_tools_and_nothing_else(lab: Lab) -> None:
    switch = ToolSwitch(lab)
    assert switch.remembered(["count", "rm", 3, "calculator"]) == ["calculator", "count"]
    assert not isinstance(switch.remembered("count"), list) and not isinstance(switch.remembered(None), list)


def taught(lab: Lab, *lessons: tuple[Message, ...]) -> None:
    """An adapter that learned just these, live."""
    ids = lab.store.demonstrations.add_many([Demonstration(messages=messages) for messages in lessons])
    snapshot = lab.store.snapshot(lab.settings.home / "lessons.jsonl", ids)
    source = lab.settings.home / "made"
    source.mkdir(parents=True)
    (source / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 2, "target_modules": ["q_proj"]}))
    (source / "adapter_model.safetensors").write_bytes(b"weights")
    card = AdapterCard(name="pupil", base=lab.machine.base.fingerprint, demonstrations=tuple(ids), snapshot=snapshot)
    Adapters(lab.settings.adapters).publish(source, card, demonstrations=lab.settings.home / "lessons.jsonl")
    lab.variants.go_live("pupil")


def lesson(lab: Lab, *tools: str, system: str = "") -> tuple[Message, ...]:
    heading = (Message(role="system", content=system, tools=lab.toolbox.tools(tools)),) if tools or system else ()
    return (*heading, Message(role="user", content="12 by 7?"), Message(role="assistant", content="84"))


def test_an_adapter_that_was_told_of_tools_disagrees_with_a_conversation_without_any(lab: Lab) -> None:
    switch = built(ToolsAlone(lab), "chat").switch
    assert switch.look([]) == ""  # the base was taught nothing
    taught(lab, *[lesson(lab, "calculator", "count")] * 3, lesson(lab))
    shown = unescape(switch.look([]))
    assert "3 of the 4 training demonstrations of pupil have tools" in shown
    assert "Turn on: Calculator, Letter counter</button>" in shown
    assert switch.pressed('{"act": "tools-taught"}', ["clock"]) == ["calculator", "count", "clock"]
    assert switch.look(["calculator"]) == ""


def test_an_adapter_that_never_heard_of_tools_disagrees_with_a_conversation_that_has_some(lab: Lab) -> None:
    switch = built(ToolsAlone(lab), "chat").switch
    taught(lab, *[lesson(lab)] * 4)
    assert switch.look([]) == ""
    shown = unescape(switch.look(["calculator", "count"]))
    assert "None of the 4 training demonstrations of pupil has tools, and 2 are turned on here" in shown
    assert switch.pressed('{"act": "tools-off"}', ["calculator"]) == []
    with pytest.raises(InputError):
        switch.pressed('{"act": "rm"}', [])


def test_tools_that_few_demonstrations_had_are_neither_missed_nor_unheard_of(lab: Lab) -> None:
    switch = built(ToolsAlone(lab), "chat").switch
    taught(lab, lesson(lab, "calculator"), *[lesson(lab)] * 4)
    assert switch.look([]) == "" == switch.look(["count"])


def test_tools_told_in_plain_words_and_tools_that_are_not_here_are_known_too(lab: Lab) -> None:
    switch = built(ToolsAlone(lab), "chat").switch
    foreign = f"Be kind.\n\n{TELLING}\nCall: <b>weather town (Tells the weather)\nCall: weather town"
    taught(lab, *[lesson(lab, system=foreign)] * 2)
    shown = unescape(switch.look([]))
    assert "have tools: weather." in shown and "These tools are not available here" in shown
    assert "<button" not in shown


class ToolsAlone:
    """The switch as a tab of its own."""

    def __init__(self, lab: Lab) -> None:
        self.switch = ToolSwitch(lab)

    def build(self, shell: Any) -> None:
        self.switch.build()
        self.switch.wire(shell)


def typed(
    editor: DemonstrationEditor, selected: int, roles: str, *texts: str, tags: str = "", system: str = ""
) -> dict[Any, Any]:
    values: dict[Any, Any] = dict(zip(editor.boxes, [*texts, *[""] * (12 - len(texts))], strict=True))
    values |= {editor.selected: selected, editor.roles: roles, editor.tags: tags, editor.system: system}
    return values | dict.fromkeys(editor.thoughts.boxes, "")


def test_a_call_is_written_by_hand_and_its_result_worked_out(lab: Lab, editor: DemonstrationEditor) -> None:
    roles = "user assistant tool assistant"
    kept = editor.keep(typed(editor, NEW, roles, "12 by 7?", "Call: calculator 12 * 7", "", "It is 84."))
    messages = lab.demonstrations.get(kept).messages
    assert [m.role for m in messages] == ["system", *roles.split()]
    assert [tool.name for tool in messages[0].tools] == ["calculator"] and messages[0].content == ""
    assert messages[2].calls == (Call(name="calculator", arguments=(("expression", "12 * 7"),)),)
    assert messages[3].content == "84"
    painted = unescape(mask_html(lab.demonstrations.token_spans(messages, 512)))
    learned = [part.split("</span>")[0] for part in painted.split('<span class="mask-learned">')[2:]]
    assert learned == ["Call: calculator 12 * 7<|end|>", "It is 84.<|end|>"]


def test_a_demonstration_that_is_opened_and_saved_is_the_same(lab: Lab, editor: DemonstrationEditor) -> None:
    lab.demonstrations.load_pack("delegation")
    ids = [id for id, _ in lab.demonstrations.find(limit=5)[0]]
    for id in ids:
        before = lab.demonstrations.get(id)
        opened = editor.open(id)
        texts = [told(opened[box])["value"] for box in editor.boxes]
        assert told(opened[editor.boxes[1]])["label"] == CALLING
        editor.keep(typed(editor, id, opened[editor.roles], *texts, tags="delegation"))
        assert lab.demonstrations.get(id).messages == before.messages


def test_an_answer_recorded_from_chat_can_be_edited_without_losing_its_call(
    lab: Lab, editor: DemonstrationEditor
) -> None:

    conversation = lab.chat.new()
    options = ReplyOptions(tools=("count", "python"))
    lab.chat.reply(conversation, "How many r are in strawberry?", options).finish()
    kept = lab.demonstrations.keep(conversation, 1).demonstration
    texts = ["How many r are in strawberry?", "Call: count r | strawberry", "3", "Three of them."]
    editor.keep(typed(editor, kept, "user assistant tool assistant", *texts))
    messages = lab.demonstrations.get(kept).messages
    assert [tool.name for tool in messages[0].tools] == ["count", "python"] and messages[2].calls
    assert messages[-1].content == "Three of them."


def test_a_result_without_a_call_is_refused_and_the_words_stay(lab: Lab, editor: DemonstrationEditor) -> None:
    with pytest.raises(InputError, match="no tool is called"):
        editor.keep(typed(editor, NEW, "user assistant tool assistant", "Hi", "I count.", "", "Three."))
    assert not lab.demonstrations.find()[1]


def test_a_tool_step_gets_its_boxes_before_the_last_answer(editor: DemonstrationEditor) -> None:
    drawn = editor.add_step(typed(editor, NEW, "user assistant", "Hi", "Three."))
    assert drawn[editor.roles] == "user assistant tool assistant"
    labels = [told(drawn[box]) for box in editor.boxes[:4]]
    assert [one["value"] for one in labels] == ["Hi", "", "", "Three."] and labels[1]["label"] == CALLING
    with pytest.raises(InputError):
        editor.add_step(typed(editor, NEW, "user assistant " * 6, "Hi", "Three."))


def test_messages_of_older_demonstrations_with_results_alone_stay_as_they_are(
    lab: Lab, editor: DemonstrationEditor
) -> None:
    from chatlab.records import Demonstration

    said = [
        Message(role="user", content="Two and two?"),
        Message(role="tool", content="four"),
        Message(role="assistant", content="Four."),
    ]
    id = lab.demonstrations.add([Demonstration(messages=tuple(said))])[0]
    editor.keep(typed(editor, id, "user tool assistant", "Two and two?", "four", "Four."))
    assert lab.demonstrations.get(id).messages == tuple(said)
