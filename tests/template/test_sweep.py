"""Chat templates of all styles, real ones where they are at hand, with contents that were made to break them.

A sample by default; `pytest -m slow` runs every template with every tokenizer and every content.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import date
from functools import cache
from pathlib import Path

import pytest
from tokenizers import AddedToken, Tokenizer
from transformers import PreTrainedTokenizerFast

from chatlab.errors import TemplateRefused
from chatlab.records import Message
from chatlab.template import IGNORED, Encoded, Template
from tests.support.real_data import templates, tokenizer_json

TEMPLATES = templates()
TOKENIZERS = {"own": None, "gpt2": "gpt2", "mistral": "mistral-7b-v0.2"}
EDGES = {"own": ("<|end|>", "<|end|>"), "gpt2": ("<|endoftext|>", "<|endoftext|>"), "mistral": ("<s>", "</s>")}

CONTENTS = (
    "Well met, good sir.",
    "\n\nTwo empty lines come first, and one last.\n",
    "  two spaces on both sides  ",
    "Feelings 🙂👩‍👩‍👧 and naïve 漢字 'quotes' \"too\"",
    "def f(x):\n\tif x:\n\t\treturn [x, {'a': 1}]  # code\n",
    "{LOOK}",
    "{LOOK}\n{LOOK} in the middle {LOOK}",
    "<think>\nHm.\n</think>\n\nYes.",
    "<tool_response>\n{}\n</tool_response>",
    "(a bracket first",
    "] and the other\\n",
    "1,000.50",
    "{{ messages }}{% raw %}",
)
MARKERS = re.compile(
    r"<\|[^|<>\s]+\|>|<｜[^｜<>\s]+｜>|\[\|[a-z]+\|\]|\[/?[A-Z_]{3,}\]|\[gMASK\]|<\|[a-z]+>|<[a-z]+\|>"
    r"|</?(?:s|bos|eos|sop|think|tool_call|tool_response|start_of_turn|end_of_turn|end_of_utterance)>"
)

TAKE_PARTS = {"own_parts", "trl_idefics3", "trl_llava_next"}
"""Made for messages that also hold pictures."""
GOES_ON = {"command_a_rag", "command_a_tool_use", "trl_gptoss"}
"""Ask for an answer before naming the channel that it goes to; the prompt names it."""
THINKS_ALOUD = {"trl_deepseekv3"}
"""Asks for thinking aloud and cannot be told not to; the prompt is as it writes an answer without."""
ONE_AN_ANSWER = {
    "gemma4",
    "gemma4_unified",
    "llava",
    "metharme",
    "own_thinking",
    "qwen3",
    "qwen3_5",
    "trl_gptoss",
    "trl_qwen3",
    "trl_qwen3_5_nothink",
    "trl_qwen3_5_think",
    "trl_qwen3_6",
}
"""Write an earlier answer otherwise than they ask for a new one."""
ONE_AN_ANSWER_WITH_SYSTEM = {"mistral_v2v3", "mistral_v3_tekken", "pixtral"}
"""Put the system message before the last question, wherever that is."""


@cache
def backend(name: str, own: Path) -> Tokenizer:
    if (real := TOKENIZERS[name]) is not None:
        return Tokenizer.from_str(tokenizer_json(real))
    return Tokenizer.from_file(str(own / "tokenizer.json"))


def tokenizer(name: str, source: str, own: Path) -> PreTrainedTokenizerFast:
    """With the template's markers as control tokens, as the model that it comes from has them."""
    bos, eos = EDGES[name]
    copy = PreTrainedTokenizerFast(tokenizer_object=backend(name, own), bos_token=bos, eos_token=eos)
    markers = set(MARKERS.findall(source)) | {f"<|{r}|>" for r in ("system", "user", "assistant") if "'<|' +" in source}
    copy.add_tokens([AddedToken(text, special=True, normalized=False) for text in sorted(markers)])
    copy.chat_template = source
    return copy


def talks(content: str, answer: str) -> Iterator[list[Message]]:
    """Contents carry marks that tell in the labels whose words were learned."""
    first = [Message(role="user", content=f"asker7 {content}"), Message(role="assistant", content=answer)]
    again = [Message(role="user", content=f"{content} asker7"), Message(role="assistant", content=answer + " Truly.")]
    yield first
    yield [Message(role="system", content=f"rules7 {content}"), *first, *again]


def stretches(sequences: Sequence[Encoded]) -> Iterator[tuple[Encoded, int, int]]:
    """Every learned run: its sequence, start and end."""
    for one in sequences:
        start = None
        for k, label in enumerate((*one.labels, IGNORED)):
            if label != IGNORED and start is None:
                start = k
            elif label == IGNORED and start is not None:
                yield one, start, k
                start = None


def check_talk(template: Template, talk: list[Message]) -> None:
    runs = list(stretches(template.encode(talk)))
    turns = [k for k, m in enumerate(talk) if m.role == "assistant"]
    assert len(runs) == len(turns), "every answer is learned once"
    for turn, (one, start, end) in zip(turns, runs, strict=True):
        assert list(one.ids[:start]) == template.prompt(talk[:turn])
        assert one.ids[end - 1] in template.stop_ids
        assert not template.is_control(one.ids[start : end - 1])
        # Decoded in place too: SentencePiece drops the first space of a text that is decoded alone.
        before, whole = template.text(one.ids[:start]), template.text(one.ids[: end - 1])
        text = template.text(one.ids[start : end - 1])
        assert {whole[len(before) :], text} & set(sayable(template, talk[turn].content))
        assert "asker7" not in text
        assert "rules7" not in text


def sayable(template: Template, content: str) -> Iterator[str]:
    """The answer as it is, or trimmed as some templates do; to SentencePiece a low block is a space."""
    for left in (content, content.lstrip("\n"), content.lstrip()):
        for trimmed in (left, left.rstrip("\n"), left.rstrip()):
            yield template.leading_space + trimmed
            yield (template.leading_space + trimmed).replace("▁", " ")


def check_control(template: Template, talk: list[Message]) -> None:
    """The same control tokens stand in a conversation whatever is said in it."""
    harmless = [Message(role=m.role, content="x") for m in talk]
    for turn in (k for k, m in enumerate(talk) if m.role == "assistant"):
        ids, plain = template.prompt(talk[:turn]), template.prompt(harmless[:turn])
        assert [i for i in ids if template.is_control([i])] == [i for i in plain if template.is_control([i])]


def run(name: str, path: Path, own: Path, contents: Sequence[str]) -> None:
    source = path.read_text()
    template = Template(tokenizer(name, source, own))
    look = "".join(template.control_tokens[-4:]) + " <|end|></s>"
    for k, content in enumerate(contents):
        content, answer = (c.replace("{LOOK}", look) for c in (content, contents[k - 1]))
        for talk in talks(content, answer):
            check_talk(template, talk)
            check_control(template, talk)


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
def test_a_real_template_trains_what_it_asks(path, base_folder):
    number = TEMPLATES.index(path)
    for k, name in enumerate(["own", ("gpt2", "mistral")[number % 2]]):
        chosen = [CONTENTS[(number * 5 + k * 3 + step) % len(CONTENTS)] for step in (0, 4, 6)]
        run(name, path, base_folder, chosen)


@pytest.mark.slow
@pytest.mark.parametrize("name", TOKENIZERS)
@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
def test_every_template_with_every_tokenizer_and_content(path, name, base_folder):
    run(name, path, base_folder, CONTENTS)


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
def test_the_prompt_is_what_other_servers_ask(path, base_folder):
    """Equal to the library's own rendering, unless that leaves the model to think or to choose a channel first."""
    own = tokenizer("own", path.read_text(), base_folder)
    template = Template(own, date=date.today())
    talk = [Message(role="user", content="Who goes there?")]
    answered = [*talk, Message(role="assistant", content="A friend."), Message(role="user", content="Whither?")]
    for messages in (talk, answered):
        plain = [{"role": m.role, "content": m.content} for m in messages]
        if path.stem in TAKE_PARTS:
            plain = [{"role": m.role, "content": [{"type": "text", "text": m.content}]} for m in messages]
        asked = own.apply_chat_template(
            plain, add_generation_prompt=True, return_dict=False, enable_thinking=False, thinking=False
        )
        ids = template.prompt(messages)
        if path.stem in GOES_ON:
            assert ids[: len(asked)] == asked
            assert len(ids) > len(asked)
        elif path.stem in THINKS_ALOUD:
            assert asked[: len(ids)] == ids
            assert "think" in own.decode(asked[len(ids) :])
        else:
            assert ids == asked


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
def test_a_conversation_is_one_sequence_where_the_template_lets_it(path, base_folder):
    template = Template(tokenizer("own", path.read_text(), base_folder))
    without, with_system = (
        len(template.encode(talk))
        for talk in ([m for m in list(talks("x", "y"))[1] if m.role != "system"], list(talks("x", "y"))[1])
    )
    assert without == (2 if path.stem in ONE_AN_ANSWER else 1)
    assert with_system == (2 if path.stem in ONE_AN_ANSWER | ONE_AN_ANSWER_WITH_SYSTEM else 1)


def test_none_of_the_real_templates_is_refused(base_folder):
    refused = []
    for path in TEMPLATES:
        try:
            problems = Template(tokenizer("own", path.read_text(), base_folder)).check()
        except TemplateRefused as refusal:
            problems = [str(refusal)]
        if problems:
            refused.append((path.stem, problems))
    assert refused == []
