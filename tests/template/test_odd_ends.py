"""Templates whose own words hide the end of a turn, open a thought, or tell the mode at the start."""

from __future__ import annotations

from pathlib import Path

import pytest
from tokenizers import AddedToken
from transformers import PreTrainedTokenizerFast

from chatlab.errors import TemplateRefused
from chatlab.records import Message
from chatlab.template import IGNORED, Template

MARKS = ("<|im_start|>", "<|im_end|>", "<|turn|>", "<|over|>", "<think>", "</think>", "<|user|>", "<|bot|>")
USER, ANSWER = Message(role="user", content="Bird?"), Message(role="assistant", content="Wren.")
SOLVED = Message(role="assistant", content="Wren.", reasoning="Small and loud.")

OPEN_END = (
    "{{%- if messages[0].role != 'system' %}}{{{{ '{default}' }}}}{{% endif -%}}"
    "{{%- for m in messages %}}{{{{ '<|im_start|>' + m.role + '\n' + m.content }}}}"
    "{{% if add_generation_prompt or not loop.last %}}{{{{ '<|im_end|>\n' }}}}{{% endif %}}{{% endfor -%}}"
    "{{%- if add_generation_prompt %}}{{{{ '<|im_start|>assistant\n' }}}}{{% endif -%}}"
)
"""Leaves the last answer open, as Qwen 1.5 does."""
IN_THOUGHT = (
    "{%- set ns = namespace(last='') -%}"
    "{%- if messages[-1].role == 'assistant' %}{% set ns.last = messages[-1].content %}"
    "{% set messages = messages[:-1] %}{% endif -%}"
    "{%- for m in messages %}{{ '<|turn|>' + m.role + '\n' + m.content + '\n<|over|>\n' }}{% endfor -%}"
    "{%- if add_generation_prompt or ns.last %}{{ '<|turn|>assistant\n<think>\n' + ns.last }}"
    "{% if ns.last %}{{ '\n<|over|>\n' }}{% endif %}{% endif -%}"
)
MODE_FIRST = (
    "{{- '<|im_start|>system\nMode: ' + ('/think' if enable_thinking else '/no_think') + '<|im_end|>\n' -}}"
    "{%- for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor -%}"
    "{%- if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}"
    "{% if not enable_thinking %}{{ '<think>\n\n</think>\n' }}{% endif %}{% endif -%}"
)
MODE_LAST = (
    "{%- for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content }}"
    "{% if m.role == 'user' and not enable_thinking %}{{ ' /no_think' }}{% endif %}{{ '<|im_end|>\n' }}{% endfor -%}"
    "{%- if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}"
    "{% if not enable_thinking %}{{ '<think>\n\n</think>\n' }}{% endif %}{% endif -%}"
)
"""After every question, not only the last."""


def tokenizer(base_folder: Path) -> PreTrainedTokenizerFast:
    made = PreTrainedTokenizerFast.from_pretrained(str(base_folder))
    made.add_tokens([AddedToken(text, special=True, normalized=False) for text in MARKS])
    return made


def learned(template: Template, *messages: Message) -> str:
    one = template.encode(messages)[-1]
    return template.text([id for id, label in zip(one.ids, one.labels, strict=True) if label != IGNORED])


@pytest.mark.parametrize(
    "default", ["", "<|im_start|>system\\nBe kind.<|im_end|>\\n", "<|im_start|>system\\nA: b.\\n<|im_end|>\\n"]
)
def test_an_answer_ends_as_it_does_when_the_conversation_goes_on(base_folder: Path, default: str) -> None:
    made = tokenizer(base_folder)
    template = Template(made, OPEN_END.format(default=default))
    assert template.check() == []
    assert learned(template, USER, ANSWER) == "Wren.<|im_end|>"
    assert made.convert_tokens_to_ids("<|im_end|>") in template.stop_ids


@pytest.mark.parametrize("begin", ["", "<|endoftext|>", "Be kind.\\n"])
def test_the_opening_of_the_next_question_is_no_end(base_folder: Path, begin: str) -> None:
    made = tokenizer(base_folder)
    made.bos_token = "<|endoftext|>"
    template = Template(
        made,
        f"{{{{ '{begin}' }}}}{{% for m in messages %}}{{{{ ('<|bot|>' if m.role == 'assistant' else '<|user|>')"
        " + m.content }}{% endfor %}{% if add_generation_prompt %}<|bot|>{% endif %}",
    )
    assert learned(template, USER, ANSWER) == f"Wren.{made.eos_token}"


def test_an_answer_inside_a_thought_that_is_never_closed_is_refused(base_folder: Path) -> None:
    with pytest.raises(TemplateRefused, match="inside a thought that it does not close"):
        Template(tokenizer(base_folder), IN_THOUGHT)


def test_one_that_closes_the_thought_is_taken(base_folder: Path) -> None:
    template = Template(tokenizer(base_folder), IN_THOUGHT.replace("<think>\n' +", "<think>\n\n</think>\n' +"))
    assert template.check() == [] and learned(template, USER, ANSWER) == "Wren.\n<|over|>"


def test_the_mode_is_told_where_the_template_tells_it(base_folder: Path) -> None:
    template = Template(tokenizer(base_folder), MODE_FIRST)
    assert template.text(template.prompt([USER])).startswith("<|im_start|>system\nMode: /no_think<|im_end|>")
    asked = template.prompt([USER], reasoning=True)
    assert template.text(asked) == (
        "<|im_start|>system\nMode: /think<|im_end|>\n"
        "<|im_start|>user\nBird?<|im_end|>\n<|im_start|>assistant\n<think>\n"
    )
    one = template.encode([USER, SOLVED])[0]
    assert list(one.ids[: len(asked)]) == asked and one.labels[len(asked)] != IGNORED
    answered = template.prompt_after([USER], SOLVED.reasoning)
    assert list(one.ids[: len(answered)]) == answered


def test_the_mode_after_every_question_goes_with_the_thought(base_folder: Path) -> None:
    template = Template(tokenizer(base_folder), MODE_LAST)
    said = template.text(template.prompt([USER, ANSWER, USER], reasoning=True))
    assert "/no_think" not in said and said.endswith("<|im_start|>assistant\n<think>\n")
    assert template.text(template.prompt([USER, ANSWER, USER])).count("/no_think") == 2


@pytest.mark.parametrize("source", ["\ufeff", "\ufeff{# mark #}"])
def test_a_byte_order_mark_is_no_part_of_a_template(base_folder: Path, source: str) -> None:
    plain = "{% for m in messages %}{{ '<|im_start|>' + m.role + m.content + '<|im_end|>' }}{% endfor %}<|im_start|>"
    made = tokenizer(base_folder)
    made.chat_template = source + plain
    for template in (Template(made), Template(made, source + plain)):
        assert "\ufeff" not in template.text(template.prompt([USER])) and template.check() == []
    assert Template(made, "\ufeff" + plain).sha256 == Template(made, plain).sha256


@pytest.mark.parametrize("looped", ["tools", "documents"])
def test_a_template_that_loops_over_tools_that_are_not_there_is_read(base_folder: Path, looped: str) -> None:
    plain = "{% for m in messages %}{{ '<|im_start|>' + m.role + m.content + '<|im_end|>' }}{% endfor %}<|im_start|>"
    made = tokenizer(base_folder)
    template = Template(made, f"{{% for one in {looped} %}}{{{{ one }}}}{{% endfor %}}" + plain)
    assert template.check() == [] and template.prompt([USER]) == Template(made, plain).prompt([USER])


def test_several_templates_without_a_default_are_named_and_a_single_one_is_taken(base_folder: Path) -> None:
    plain = "{% for m in messages %}{{ '<|im_start|>' + m.role + m.content + '<|im_end|>' }}{% endfor %}<|im_start|>"
    made = tokenizer(base_folder)
    made.chat_template = {"rag": plain, "tool_use": plain}
    with pytest.raises(TemplateRefused, match=r"2 chat templates .* rag, tool_use"):
        Template(made)
    made.chat_template = {"chat": plain}
    assert Template(made).source == plain


SEED = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}"
    "{% if m.reasoning_content %}{{ '<seed:think>' + m.reasoning_content + '</seed:think>' }}{% endif %}"
    "{{ m.content + '<|im_end|>' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
COMMAND = (
    "{% for m in messages %}{{ '<|turn|>' + m.role }}{% if m.thinking %}"
    "{{ '<|START_THINKING|>' + m.thinking + '<|END_THINKING|>' }}{% endif %}{{ m.content + '<|over|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|turn|>assistant' }}{% if not thinking %}"
    "{{ '<|START_THINKING|><|END_THINKING|>' }}{% endif %}{% endif %}"
)
"""Thinks unless told not to."""


@pytest.mark.parametrize(
    ("source", "opened", "written"),
    [
        (SEED, "<seed:think>", "Small and loud.</seed:think>Wren.<|im_end|>"),
        (COMMAND, "<|START_THINKING|>", "Small and loud.<|END_THINKING|>Wren.<|over|>"),
    ],
)
def test_a_thought_goes_where_the_template_itself_would_write_it(
    base_folder: Path, source: str, opened: str, written: str
) -> None:
    template = Template(tokenizer(base_folder), source)
    assert template.check() == [] and template.thinking is not None
    asked = template.prompt([USER], reasoning=True)
    assert template.text(asked).endswith(f"assistant{opened}") or template.text(asked).endswith(f"assistant\n{opened}")
    said = learned(template, USER, SOLVED)
    assert said.replace("\n", "") == written
    (one,) = template.encode([USER, SOLVED])
    assert list(one.ids[: len(asked)]) == asked


def test_a_template_that_leaves_thoughts_out_has_no_place_for_them(base_folder: Path) -> None:
    plain = "{# no think #}{% for m in messages %}{{ '<|im_start|>' + m.role + m.content + '<|im_end|>' }}{% endfor %}"
    assert Template(tokenizer(base_folder), plain + "<|im_start|>").thinking is None
