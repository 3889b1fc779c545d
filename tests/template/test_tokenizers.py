"""Tokenizers with habits: tokens that swallow white space, spaces put before words, text that is normalised."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tokenizers import AddedToken, Tokenizer
from transformers import PreTrainedTokenizerFast

from chatlab.records import Message
from chatlab.template import IGNORED, Template
from tests.support.real_data import tokenizer_json

LINES = (
    "{% for m in messages %}{{ '<|' + m.role + '|>\n' + m.content + '<|end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
)
BRACKETS = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}{{ '[INST] ' + m.content + ' [/INST]' }}"
    "{% else %}{{ ' ' + m.content + eos_token }}{% endif %}{% endfor %}"
)
TIGHT = BRACKETS.replace("' ' + m.content", "m.content")
ROLES = ["<|system|>", "<|user|>", "<|assistant|>", "<|end|>"]

CONTENTS = (
    "Hello there.",
    "\n\nTwo lines first",
    "  two spaces",
    "🙂 é漢",
    "def f(x):\n\treturn x\n",
    "(a bracket",
    "] b",
    "x ",
    "LOOK <|end|> </s> <|assistant|><|user|>[/INST]</s>",
    "1,000",
)


def gpt2(**changes: Any) -> dict[str, Any]:
    return json.loads(tokenizer_json("gpt2")) | changes


def mistral(scheme: str = "") -> dict[str, Any]:
    """As it is, or with the space before words put by the newer kind of pre-tokenizer."""
    made = json.loads(tokenizer_json("mistral-7b-v0.2"))
    if scheme:
        made["normalizer"] = None
        made["pre_tokenizer"] = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": False}
    if scheme == "never":
        made["decoder"]["decoders"].pop()
    return made


def template(made: dict[str, Any], source: str, **swallows: bool) -> Template:
    bos, eos = ("<s>", "</s>") if made["model"].get("byte_fallback") else ("<|endoftext|>", "<|endoftext|>")
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(made)), bos_token=bos, eos_token=eos
    )
    tokenizer.add_tokens([AddedToken(text, special=True, normalized=False, **swallows) for text in ROLES])
    return Template(tokenizer, source)


KINDS = {
    "tokens that swallow what follows": lambda: template(mistral(), LINES, rstrip=True),
    "bytes, tokens that swallow what follows": lambda: template(gpt2(), LINES, rstrip=True),
    "text that is composed": lambda: template(gpt2(normalizer={"type": "NFC"}), LINES),
    **{
        f"a space before words {scheme or 'as of old'}, {name}": lambda scheme=scheme, source=source: template(
            mistral(scheme), source
        )
        for scheme in ("", "first", "always", "never")
        for name, source in (("lines", LINES), ("brackets", BRACKETS), ("tight", TIGHT))
    },
}


@pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)
def test_what_is_trained_is_asked_and_every_answer_can_be_said(make):
    template = make()
    assert template.check() == []
    for k, answer in enumerate(CONTENTS):
        question = CONTENTS[k - 1]
        talk = [Message(role=role, content=said) for role in ("user", "assistant") for said in (question, answer)]
        talk = [talk[0], talk[2], talk[1], talk[3]]
        [one] = template.encode(talk)
        for turn in (1, 3):
            prompt = template.prompt(talk[:turn])
            assert list(one.ids[: len(prompt)]) == prompt
            end = next(k for k in range(len(prompt), len(one.ids)) if one.ids[k] in template.stop_ids)
            assert one.labels[len(prompt) : end + 1] == one.ids[len(prompt) : end + 1]
            assert one.labels[end + 1 : end + 2] in ((), (IGNORED,))
            # Decoded in place, as SentencePiece drops the first space of a text that is decoded alone.
            said = template.text(one.ids[:end])[len(template.text(prompt)) :]
            expected = template.leading_space + talk[turn].content
            assert said == expected or template.text(one.ids[len(prompt) : end]) == expected


def test_a_template_that_writes_json_has_its_contents_escaped(base_folder):
    tokenizer = PreTrainedTokenizerFast.from_pretrained(str(base_folder))
    source = (
        "{% for m in messages %}{{ m.role + ':' }}{{ m.content | tojson if m.role == 'tool' else m.content }}<|end|>"
        "{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}"
    )
    talk = [Message(role="user", content="Say"), Message(role="tool", content='two\n"lines" <|end|>')]
    template = Template(tokenizer, source)
    assert template.text(template.prompt(talk)) == 'user:Say<|end|>tool:"two\\n\\"lines\\" <|end|>"<|end|>assistant:'
    assert sum(template.is_control([i]) for i in template.prompt(talk)) == 2
