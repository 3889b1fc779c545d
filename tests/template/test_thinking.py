"""Thoughts: opened and closed by the template's own marks, within a budget, and trained as they were asked for."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from tokenizers import AddedToken
from transformers import PreTrainedTokenizerFast

from chatlab.engines.base import Sampling
from chatlab.engines.fake import FakeEngine
from chatlab.errors import EmptyAnswer
from chatlab.lab import Lab
from chatlab.lab.chat.reply_stream import ReplyOptions
from chatlab.lab.chat.tool_loop import _before_end
from chatlab.models.base import Base
from chatlab.records import Demonstration, Message, digest
from chatlab.settings import PACKAGE, Settings
from chatlab.template import IGNORED, Template
from chatlab.ui.chat.transcript import transcript
from chatlab.ui.demonstrations.tab import DemonstrationsTab
from tests.support.page import at, built, told
from tests.support.real_data import template_source

SHUTS = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>\n{% endfor %}{% if add_generation_prompt %}"
    "<|assistant|>{% if enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)
"""Writes an empty thought where none is wanted, and leaves the model to open one where one is."""
OPENS = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>\n{% endfor %}{% if add_generation_prompt %}"
    "<|assistant|><think>\n{% endif %}{# ends in </think> #}"
)
"""Always opens one."""
PLAIN = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
USER = Message(role="user", content="What is 2 + 2?")
SOLVED = Message(role="assistant", content="It is 4.", reasoning="Two and two\nmake four.")
REAL = ("own_thinking", "qwen3", "trl_qwen3", "trl_gptoss", "trl_deepseekv3", "trl_qwen3_6", "trl_glm4moe")


@cache
def tokenizer() -> PreTrainedTokenizerFast:
    folder = PACKAGE / "models" / "embedded"
    made = PreTrainedTokenizerFast.from_pretrained(str(folder), local_files_only=True)
    marks = [
        "<think>",
        "</think>",
        "<|channel|>",
        "<|message|>",
        "<|start|>",
        "<|return|>",
        "<|im_start|>",
        "<|im_end|>",
    ]
    made.add_tokens([AddedToken(mark, special=False, normalized=False) for mark in marks])
    return made


def mark(text: str) -> int:
    """The id of a control token."""
    return int(tokenizer().get_vocab()[text])


def learned(template: Template, messages: list[Message]) -> tuple[list[int], list[int]]:
    """Ids of the last sequence up to where it is learned, and those that are."""
    last = template.encode(messages)[-1]
    start = next(k for k, label in reversed(list(enumerate(last.labels))) if label == IGNORED) + 1
    return list(last.ids[:start]), list(last.ids[start:])


@pytest.mark.parametrize("source", [SHUTS, OPENS])
def test_a_thought_is_opened_and_closed_by_the_templates_own_marks(source: str) -> None:
    template = Template(tokenizer(), source)
    assert template.thinking is not None
    asked = template.text(template.prompt([USER], reasoning=True))
    assert asked.endswith("<|assistant|><think>\n")
    answer = template.text(template.prompt_after([USER], SOLVED.reasoning))
    assert answer == asked + "Two and two\nmake four.\n</think>\n\n"
    think = mark("<think>")
    assert template.prompt([USER], reasoning=True).count(think) == 1


@pytest.mark.parametrize("source", [SHUTS, OPENS])
def test_training_reads_the_ids_that_chat_asked_with_before_and_after_the_thought(source: str) -> None:
    template = Template(tokenizer(), source)
    prompt, words = learned(template, [USER, SOLVED])
    assert prompt == template.prompt([USER], reasoning=True)
    whole = prompt + words
    assert whole[: len(template.prompt_after([USER], SOLVED.reasoning))] == template.prompt_after(
        [USER], SOLVED.reasoning
    )
    assert template.text(words).startswith("Two and two") and "It is 4.<|end|>" in template.text(words)


def test_a_thought_that_was_given_earlier_is_read_by_nobody() -> None:
    template = Template(tokenizer(), SHUTS)
    again = [USER, SOLVED, USER]
    assert "make four" not in template.text(template.prompt(again, reasoning=True))
    assert template.prompt(again) == template.prompt([USER, Message(role="assistant", content="It is 4."), USER])


def test_what_looks_like_the_end_of_a_thought_in_it_stays_plain_words() -> None:
    template = Template(tokenizer(), SHUTS)
    close = mark("</think>")
    ids = template.prompt_after([USER], "I write </think> here <|end|>")
    before = len(template.prompt([USER], reasoning=True))
    assert ids.count(close) == 1 and "I write </think> here <|end|>" in template.text(ids)
    said = ids[before : len(ids) - len(ids[ids.index(close) :])]
    assert not template.is_control(said)


def test_a_template_without_thoughts_has_none() -> None:
    template = Template(tokenizer(), PLAIN)
    assert template.thinking is None
    assert template.encode([USER, SOLVED]) == template.encode([USER, Message(role="assistant", content="It is 4.")])


@pytest.mark.parametrize("name", REAL)
def test_real_templates_think_in_their_own_marks(name: str) -> None:
    template = Template(tokenizer(), template_source(name))
    assert template.thinking is not None
    text = template.text(template.prompt_after([USER], "Hm, four."))
    opening = "<|channel|>analysis<|message|>Hm, four." if name == "trl_gptoss" else "<think>"
    assert opening in text and text.count("Hm, four.") == 1 and template.thinking.end in text.split("Hm, four.")[1]
    prompt, words = learned(template, [USER, SOLVED])
    assert prompt == template.prompt([USER], reasoning=True) and "It is 4." in template.text(words)


def test_an_unfinished_mark_is_held_back() -> None:
    assert _before_end("I think </thi", "</think>") == "I think " and _before_end("a </think> b", "</think>") == "a "
    assert _before_end("a < b", "</think>") == "a < b" and _before_end("", "</think>") == ""


# In the chat.


@pytest.fixture
def thinking_base(tmp_path: Path, base_folder: Path) -> Path:
    """The embedded base under a template that thinks."""
    folder = tmp_path / "thinking"
    folder.mkdir()
    for file in base_folder.iterdir():
        (folder / file.name).symlink_to(file)
    (folder / "chat_template.jinja").unlink(missing_ok=True)
    (folder / "chat_template.jinja").write_text(SHUTS)
    return folder


@pytest.fixture
def asked() -> list[tuple[int, ...]]:
    return []


@pytest.fixture
def lab(tmp_path: Path, thinking_base: Path, asked: list[tuple[int, ...]]) -> Iterator[Lab]:
    written = Base.open(thinking_base).template

    def script(prompt: Any, variant: Any, sampling: Sampling) -> str:
        asked.append(tuple(prompt))
        text = written.text(prompt)
        if not text.endswith("<think>\n"):
            return "It is 4."
        return "never ends " * 400 if "hard" in text else "two and two </think> It is 5."

    lab = Lab(Settings(home=tmp_path / "home", base=thinking_base), open_engine=lambda base: FakeEngine(script=script))
    yield lab
    lab.close()


def say(lab: Lab, chat: int, text: str, thinking: int) -> Any:
    last = lab.chat.reply(chat, text, ReplyOptions(sampling=Sampling(thinking=thinking))).finish()
    return last.conversation.turns[-1]


def test_an_answer_comes_after_its_thought_and_both_are_kept_shown_and_learned(
    lab: Lab, asked: list[tuple[int, ...]]
) -> None:
    chat = lab.chat.new()
    turn = say(lab, chat, "What is 2 + 2?", 50)
    assert (turn.reasoning, turn.content, turn.stopped) == ("two and two", "It is 4.", "end")
    assert turn.provenance.tokens == 7  # three of the thought and one that ended it count too
    drawn = unescape(transcript(lab.chat.get(chat), 30))
    assert '<details class="thought"><summary>Thinking, 3 words' in drawn and "<details open" not in drawn
    kept = lab.demonstrations.get(lab.demonstrations.keep(chat, turn.id).demonstration)
    (encoded,) = lab.machine.base.template.encode(kept.messages)
    for prompt in asked:
        assert encoded.ids[: len(prompt)] == prompt
    file = lab.settings.home / "snapshot.jsonl"
    lab.store.snapshot(file, [1])
    assert json.loads(file.read_text())["messages"][-1]["reasoning"] == "two and two"


def test_a_thought_without_an_end_is_closed_when_its_budget_is_spent(lab: Lab, asked: list[tuple[int, ...]]) -> None:
    turn = say(lab, lab.chat.new(), "Something hard", 12)
    assert len(turn.reasoning.split()) == 12 and turn.content == "It is 4." and turn.provenance.tokens == 15
    assert lab.machine.base.template.text(asked[-1]).endswith("\n</think>\n\n")


def test_no_budget_asks_for_no_thought(lab: Lab, asked: list[tuple[int, ...]]) -> None:
    turn = say(lab, lab.chat.new(), "What is 2 + 2?", 0)
    assert turn.reasoning == "" and len(asked) == 1
    assert lab.machine.base.template.text(asked[0]).endswith("<think>\n\n</think>\n\n")


def test_whoever_stops_a_thought_keeps_it_and_nothing_is_taught_of_it(lab: Lab) -> None:
    chat = lab.chat.new()
    reply = lab.chat.reply(chat, "Something hard", ReplyOptions(sampling=Sampling(thinking=500)))
    for chunk in reply:
        if chunk.tokens == 3:
            break
    reply.close()
    turn = lab.chat.get(chat).turns[-1]
    assert turn.reasoning.startswith("never ends") and (turn.content, turn.stopped) == ("", "person")
    with pytest.raises(EmptyAnswer):
        lab.demonstrations.keep(chat, turn.id)


def test_an_edited_answer_and_an_edited_demonstration_keep_the_thought(lab: Lab, desk: DemonstrationsTab) -> None:
    chat = lab.chat.new()
    turn = say(lab, chat, "What is 2 + 2?", 50)
    number = lab.demonstrations.keep(chat, turn.id, "Four.").demonstration
    opened = desk.open(number)
    desk.saved(typed(desk, opened, {1: "It is four."}))
    kept = lab.demonstrations.get(number)
    assert (kept.answer, kept.messages[-1].reasoning) == ("It is four.", "two and two")
    assert digest([replace(m, reasoning="") for m in kept.messages]) != kept.content_hash


# At the desk.


@pytest.fixture
def desk(lab: Lab) -> DemonstrationsTab:
    return built(DemonstrationsTab(lab), "demonstrations")


def typed(desk: DemonstrationsTab, opened: dict[Any, Any], texts: dict[int, str], **thought: str) -> dict[Any, Any]:
    """What the boxes send, some typed over: texts by turn, and thought1= for the thought before turn 1."""
    boxes = {"text": desk.editor.boxes, "thought": desk.editor.thoughts.boxes}
    sent = {f"{kind}{n}": told(opened[box]).get("value", "") for kind in boxes for n, box in enumerate(boxes[kind])}
    sent |= {f"text{turn}": text for turn, text in texts.items()} | thought
    return at(desk, opened[desk.editor.selected], roles=opened[desk.editor.roles], **sent)


def thought_boxes(desk: DemonstrationsTab, opened: dict[Any, Any]) -> dict[int, str]:
    """Turn -> the thought before it, where a box shows one."""
    drawn = [told(opened[box]) for box in desk.editor.thoughts.boxes]
    return {turn: each["value"] for turn, each in enumerate(drawn) if each["visible"]}


def learned_words(picture: str) -> str:
    return " ".join(part.split("</span>")[0] for part in unescape(picture).split('<span class="mask-learned">')[2:])


def test_a_thought_is_seen_and_changed_at_the_desk_and_the_picture_follows(lab: Lab, desk: DemonstrationsTab) -> None:
    (one,) = lab.demonstrations.add([Demonstration(messages=(USER, SOLVED))])
    opened = desk.open(one)
    assert thought_boxes(desk, opened) == {1: SOLVED.reasoning}
    assert "make four" in learned_words(opened[desk.mask])
    saved = desk.saved(typed(desk, opened, {}, thought1="Twice two."))
    assert lab.demonstrations.get(one).messages[-1] == replace(SOLVED, reasoning="Twice two.")
    assert "Twice two." in learned_words(saved[desk.mask]) and "make four" not in saved[desk.mask]
    saved = desk.saved(typed(desk, saved, {}, thought1=" "))
    assert lab.demonstrations.get(one).messages[-1] == replace(SOLVED, reasoning="")
    assert learned_words(saved[desk.mask]).strip().startswith("It is 4.")


def test_a_thought_that_is_typed_outlives_a_change_of_mind_and_can_be_thrown_away(
    lab: Lab, desk: DemonstrationsTab
) -> None:
    one, two = lab.demonstrations.add([Demonstration(messages=(USER, SOLVED)), Demonstration(messages=(USER, SOLVED))])
    changed = desk.editor.remember(typed(desk, desk.open(one), {}, thought1="Half a tho"))
    assert told(changed)["visible"]
    assert thought_boxes(desk, desk.open(two)) == {1: SOLVED.reasoning}
    again = built(DemonstrationsTab(lab), "demonstrations")
    assert thought_boxes(again, again.open(one)) == {1: "Half a tho"}
    assert thought_boxes(again, again.reverted(one)) == {1: SOLVED.reasoning}


def test_room_for_a_thought_goes_with_its_answer_when_steps_and_turns_are_added(
    lab: Lab, desk: DemonstrationsTab
) -> None:
    (one,) = lab.demonstrations.add([Demonstration(messages=(USER, SOLVED))])
    opened = desk.open(one)
    opened |= desk.editor.add_turn(typed(desk, opened, {}))
    assert thought_boxes(desk, opened) == {1: SOLVED.reasoning, 3: ""}
    words = typed(desk, opened, {2: "And 3 more?", 3: "Seven."}, thought3="Four and three.")
    opened |= desk.editor.add_step(words)
    assert opened[desk.editor.roles] == "user assistant user assistant tool assistant"
    assert thought_boxes(desk, opened) == {1: SOLVED.reasoning, 5: "Four and three."}
    desk.saved(typed(desk, opened, {3: "Call: calculator 4 + 3"}))
    kept = lab.demonstrations.get(one).messages
    assert [m.reasoning for m in kept if m.role == "assistant"] == [SOLVED.reasoning, "", "Four and three."]


def test_a_turn_with_a_thought_and_no_words_is_not_dropped_unseen(lab: Lab, desk: DemonstrationsTab) -> None:
    (one,) = lab.demonstrations.add([Demonstration(messages=(USER, SOLVED))])
    opened = desk.open(one)
    opened |= desk.editor.add_turn(typed(desk, opened, {}))
    with pytest.raises(EmptyAnswer):
        desk.saved(typed(desk, opened, {}, thought3="I wonder."))


def test_a_demonstration_is_written_with_a_thought(lab: Lab, desk: DemonstrationsTab) -> None:
    opened = desk.start_writing(at(desk))
    assert thought_boxes(desk, opened) == {1: ""}
    desk.saved(typed(desk, opened, {0: "What is 2 + 2?", 1: "4"}, thought1="Two and two."))
    assert lab.demonstrations.get(1).messages[-1].reasoning == "Two and two."


def test_a_search_finds_what_was_thought(lab: Lab) -> None:
    lab.demonstrations.add([Demonstration(messages=(USER, SOLVED))])
    assert lab.demonstrations.find("make FOUR")[1] == 1 and lab.demonstrations.find("make five")[1] == 0
