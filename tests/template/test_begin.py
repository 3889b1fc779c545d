"""The token that begins a text: put there once, by one rule, for prompts, training, held-out text and exports."""

from __future__ import annotations

from pathlib import Path

import pytest
from gguf import GGUFReader
from tokenizers import processors
from transformers import PreTrainedTokenizerFast

from chatlab.engines.base import Sampling
from chatlab.engines.gguf_export.files import write_base
from chatlab.engines.gguf_export.modelfile import modelfile
from chatlab.engines.gguf_import.vocab import HeaderVocab
from chatlab.models.base import Base
from chatlab.models.gguf.header import Header
from chatlab.models.tokenizer.worker import facts
from chatlab.records import Message
from chatlab.template import IGNORED, Template
from chatlab.template.begin import begin_id, begun, opening_id
from chatlab.training.metrics import WINDOW, windows
from tests.support.tiny_models import llama_folder

BEGIN = "<|user|>"  # any token of the embedded base will do
TURNS = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '|' + m['content'] }}"
    "{% if m['role'] == 'assistant' %}{{ eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant|' }}{% endif %}"
)
WRITTEN = "{{ bos_token }}" + TURNS
TALK = [Message(role="user", content="Bird?"), Message(role="assistant", content="Wren.")]


def tokenizer(base_folder: Path, puts: bool = True) -> PreTrainedTokenizerFast:
    made = PreTrainedTokenizerFast.from_pretrained(str(base_folder))
    made.bos_token = BEGIN
    if puts:
        made.backend_tokenizer.post_processor = processors.TemplateProcessing(
            single=[BEGIN, "$A"], special_tokens=[(BEGIN, made.bos_token_id)]
        )
    return made


@pytest.mark.parametrize("source", [TURNS, WRITTEN], ids=["only the tokenizer", "the template too"])
def test_a_text_begins_with_it_once_where_the_tokenizer_puts_it(base_folder: Path, source: str) -> None:
    made = tokenizer(base_folder)
    template = Template(made, source)
    assert template.check() == []
    ids = template.prompt(TALK[:1])
    assert ids[0] == made.bos_token_id and made.bos_token_id not in ids[1:]
    (one,) = template.encode(TALK)
    assert list(one.ids[: len(ids)]) == ids and one.labels[0] == IGNORED


@pytest.mark.parametrize(("source", "times"), [(TURNS, 0), (WRITTEN, 1)])
def test_elsewhere_the_template_decides(base_folder: Path, source: str, times: int) -> None:
    made = tokenizer(base_folder, puts=False)
    template = Template(made, source)
    assert template.begin is None and template.prompt(TALK).count(made.bos_token_id) == times


def test_a_tokenizer_in_a_process_of_its_own_says_the_same(base_folder: Path) -> None:
    for puts in (True, False):
        made = tokenizer(base_folder, puts)
        assert facts(made)["ids"]["begin"] == begin_id(made) == (made.bos_token_id if puts else None)
    assert opening_id(tokenizer(base_folder)) == tokenizer(base_folder).bos_token_id


def test_every_window_of_held_out_text_begins_with_it(tmp_path: Path) -> None:
    file = tmp_path / "text.jsonl"
    file.write_text('{"text": "long"}\n', encoding="utf-8")
    examples = windows(file, lambda _: list(range(10, 10 + 2 * WINDOW)), begin=7)
    assert [len(example.ids) for example in examples] == [WINDOW, WINDOW]
    assert all(example.ids[0] == 7 and example.labels[0] == IGNORED for example in examples)
    assert [id for example in examples for id in example.labels[1:]] == list(range(10, 8 + 2 * WINDOW))
    assert begun([7, 8], 7) == [7, 8] and begun([8], 7) == [7, 8] and begun([8], None) == [8]


@pytest.mark.parametrize("source", [TURNS, WRITTEN])
@pytest.mark.parametrize("puts", [True, False])
def test_ollama_asks_an_export_as_training_did(base_folder: Path, tmp_path: Path, source: str, puts: bool) -> None:
    folder = llama_folder(base_folder, tmp_path / "tiny")
    made = tokenizer(base_folder, puts)
    made.chat_template = source
    made.save_pretrained(folder)
    base = Base.open(folder)
    write_base(base, tmp_path / "model.gguf")
    field = GGUFReader(tmp_path / "model.gguf").get_field("tokenizer.ggml.add_bos_token")
    assert field is not None and field.contents() == puts
    text = modelfile(base.template, "model.gguf", Sampling())
    written = text.split('TEMPLATE """')[1].split('"""')[0]
    start = written.partition("{{")[0]
    first = [made.bos_token_id] if puts else []
    told = [*first, *made.encode(start, add_special_tokens=False)]
    wanted = base.template.prompt(TALK[:1])
    assert wanted[: len(told)] == told and wanted.count(made.bos_token_id) == told.count(made.bos_token_id)


@pytest.mark.parametrize(
    ("values", "begins"),
    [
        ({"tokenizer.ggml.model": "llama"}, True),
        ({"tokenizer.ggml.model": "llama", "tokenizer.ggml.add_bos_token": False}, False),
        ({"tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "llama-bpe"}, True),
        ({"tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "smollm"}, False),
        ({"tokenizer.ggml.model": "gpt2", "tokenizer.ggml.add_bos_token": True}, True),
    ],
)
def test_a_header_says_so_or_its_kind_does(values: dict[str, object], begins: bool) -> None:
    vocab = HeaderVocab.__new__(HeaderVocab)
    as_stored = {key: value.encode() if isinstance(value, str) else value for key, value in values.items()}
    vocab._header = Header(values=as_stored, tensors={})
    assert vocab.begins == begins
