"""A brought GGUF's tokenizer gives llama.cpp's own ids and the text back, or the file is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("llama_cpp", reason="llama.cpp is not installed")
pytest.importorskip("torch")

from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from chatlab.engines.gguf_export.files import write_base
from chatlab.engines.gguf_import.tokenizer import begun_as, tokenizer_of
from chatlab.engines.gguf_import.validator import GgufValidator
from chatlab.engines.llamacpp.vocab import LlamaVocab
from chatlab.errors import BaseRefused
from chatlab.models.base import Base
from chatlab.models.gguf.header import read_header
from chatlab.records import Message
from chatlab.template.begin import begin_of
from tests.engines.test_gguf_tokens import stories
from tests.support.gguf_models import TEXTS, called, tiny_llama
from tests.support.real_data import tokenizer_folder

WAYS = ("gpt-2", "qwen2", "starcoder", "command-r", "olmo", "chatglm-bpe", "hunyuan", "lfm2", "minerva-7b")
BY_NAME_TOO = ("llama-bpe", "smollm", "qwen35", "tekken", "gpt-4o", "deepseek-v3", "falcon", "default")
"""Found by their names in `test_gguf_without_llamacpp`, by the same expressions."""
OTHERS = ("poro-chat", "superbpe", "kimi-k2", "deepseek-coder")


def checked(file: Path, texts: tuple[str, ...]) -> Tokenizer:
    """The tokenizer of a file, equal to llama.cpp's on texts that it was not proven on."""
    with LlamaVocab(file) as vocab:
        tokenizer = tokenizer_of(read_header(file), vocab, vocab)
        for said in texts:
            ids = tokenizer.encode(said, add_special_tokens=False).ids
            assert ids == vocab.split(said)
            assert tokenizer.decode(ids, skip_special_tokens=False) == said
    return tokenizer


def test_a_tokenizer_of_bytes_as_that_of_gpt2_comes_back(tmp_path):
    tokenizer = PreTrainedTokenizerFast.from_pretrained(str(tokenizer_folder("gpt2", tmp_path / "gpt2")))
    tokenizer.eos_token = "<|endoftext|>"
    write_base(Base.open(tiny_llama(tmp_path / "base", tokenizer)), tmp_path / "gpt2.gguf")
    made, own = checked(tmp_path / "gpt2.gguf", TEXTS), tokenizer.backend_tokenizer
    assert [made.encode(said).ids for said in TEXTS] == [own.encode(said).ids for said in TEXTS]


def test_a_tokenizer_of_pieces_as_that_of_mistral_comes_back(tmp_path):
    folder = tokenizer_folder("mistral-7b-v0.2", tmp_path / "mistral")
    base = Base.open(tiny_llama(tmp_path / "base", PreTrainedTokenizerFast.from_pretrained(str(folder))))
    write_base(base, tmp_path / "mistral.gguf")
    made = checked(tmp_path / "mistral.gguf", TEXTS)
    own = base.tokenizer.backend_tokenizer
    for said in TEXTS:
        assert made.encode(said).ids == own.encode(said, add_special_tokens=False).ids
    with LlamaVocab(tmp_path / "mistral.gguf") as vocab:  # the begin token is put there by both or by none
        assert vocab.begins == (base.template.begin is not None)
        assert begin_of(begun_as(made, vocab), base.tokenizer.bos_token_id) == base.template.begin


def test_a_real_model_of_another_maker_is_brought_whole(shared_data, forked, tmp_path):
    own = Base.open(stories(shared_data / "models" / "stories260K", tmp_path / "stories"))
    write_base(own, tmp_path / "stories.gguf", "f32")
    base = GgufValidator(tmp_path, forked).open(tmp_path / "stories.gguf")
    asked = [Message(role="user", content="Once upon a time, there was a café 🙂")]
    assert base.template.prompt(asked) == own.template.prompt(asked)
    assert base.template.stop_ids == own.template.stop_ids


@pytest.mark.parametrize("way", [*WAYS, *(pytest.param(way, marks=pytest.mark.slow) for way in BY_NAME_TOO)])
def test_every_common_way_to_cut_text_is_found_by_trying(way, tiny, tmp_path):
    checked(called(tiny, way, tmp_path / "model.gguf"), TEXTS)


@pytest.mark.parametrize("way", OTHERS)
def test_a_way_to_cut_text_that_is_not_known_is_refused(way, tiny, tmp_path):
    with pytest.raises(BaseRefused, match=f"'{way}', splits text") as refused:
        checked(called(tiny, way, tmp_path / "model.gguf"), ())
    assert "safetensors" in refused.value.hint
