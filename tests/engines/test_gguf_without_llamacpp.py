"""A GGUF where llama.cpp is not installed: unpacked, run by transformers, its tokenizer equal to llama.cpp's."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

pytest.importorskip("torch")

from tokenizers import Tokenizer

from chatlab.engines.base import Sampling, Variant
from chatlab.engines.fallback import open_engine
from chatlab.engines.gguf_export.files import write_base
from chatlab.engines.gguf_import.tokenizer import tokenizer_of
from chatlab.engines.gguf_import.validator import GgufValidator
from chatlab.engines.gguf_import.vocab import HeaderVocab
from chatlab.engines.llamacpp import package
from chatlab.errors import BaseRefused
from chatlab.models.base import Base
from chatlab.models.gguf.header import read_header
from chatlab.models.included import smollm2
from chatlab.records import Message
from tests.support.gguf_models import TEXTS, called

GREEDY = Sampling(temperature=0.0, repetition_penalty=1.0, max_tokens=12)
NAMED = ("gpt-2", "llama-bpe", "qwen2", "smollm", "qwen35", "tekken", "gpt-4o", "deepseek-v3", "falcon", "default")


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine where llama.cpp is not built yet."""
    monkeypatch.setattr(package, "version", lambda: "")


@pytest.fixture(scope="module")
def embedded(base_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("embedded") / "embedded.gguf"
    write_base(Base.open(base_folder), file, "f16")
    return file


def equal_to_llama_cpp(file: Path) -> Tokenizer:
    """The tokenizer that is made from the header alone."""
    from chatlab.engines.llamacpp.vocab import LlamaVocab

    header = read_header(file)
    alone = HeaderVocab(header)
    tokenizer = tokenizer_of(header, alone, None)
    with LlamaVocab(file) as told:
        for fact in ("tokens", "context", "width", "layers", "heads", "parameters", "named"):
            assert getattr(alone, fact) == getattr(told, fact), fact
        assert [alone.attributes(i) for i in range(alone.tokens)] == [told.attributes(i) for i in range(told.tokens)]
        assert set(alone.ends) <= set(told.ends) and alone.named["eos_token"] in alone.ends
        for text in TEXTS:
            assert tokenizer.encode(text, add_special_tokens=False).ids == told.split(text)
    return tokenizer


@pytest.mark.parametrize("name", NAMED)
def test_the_way_to_cut_text_is_known_by_its_name(name: str, tiny: Path, tmp_path: Path) -> None:
    pytest.importorskip("llama_cpp", reason="llama.cpp is not installed")
    equal_to_llama_cpp(called(tiny, name, tmp_path / "model.gguf"))


def test_the_included_model_is_read_from_its_header_alone() -> None:
    pytest.importorskip("llama_cpp", reason="llama.cpp is not installed")
    equal_to_llama_cpp(smollm2())


def test_a_way_that_only_llama_cpp_knows_is_refused(tiny: Path, tmp_path: Path) -> None:
    file = called(tiny, "poro-chat", tmp_path / "model.gguf")
    with pytest.raises(BaseRefused, match=r"Only llama\.cpp knows") as refused:
        tokenizer_of(read_header(file), HeaderVocab(read_header(file)), None)
    assert "Install llama.cpp" in refused.value.hint


def test_a_file_answers_as_the_folder_it_was_made_of(
    embedded: Path, base_folder: Path, without: None, tmp_path: Path
) -> None:
    own, base = Base.open(base_folder), GgufValidator(tmp_path).open(embedded)
    asked = [Message(role="user", content="What is the moon made of?")]
    assert base.template.prompt(asked) == own.template.prompt(asked)
    said = []
    for one in (own, base):
        with closing(open_engine(one, tmp_path, threads=1)) as engine:
            assert engine.name == "transformers"
            pieces = engine.stream(one.template.prompt(asked), GREEDY, Variant(), one.template.stop_ids)
            said.append("".join(piece.text for piece in pieces))
    assert said[0] == said[1] and said[0].strip()
