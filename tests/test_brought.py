"""A GGUF file that somebody brings: a base to chat with, once it has passed its trial in a process of its own."""

from __future__ import annotations

import json
import random
import shutil
import struct
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("llama_cpp", reason="llama.cpp is not installed")
pytest.importorskip("torch")

from gguf import GGUFWriter  # noqa: E402

from chatlab.engines.base import Sampling, Voice  # noqa: E402
from chatlab.engines.either import open_engine  # noqa: E402
from chatlab.engines.gguf import trial  # noqa: E402
from chatlab.engines.gguf.admission import Admission  # noqa: E402
from chatlab.engines.gguf.files import write_base  # noqa: E402
from chatlab.engines.gguf.header import check_model, read_header  # noqa: E402
from chatlab.engines.gguf.native import Native  # noqa: E402
from chatlab.engines.gguf.tokenizer import tokenizer_of  # noqa: E402
from chatlab.engines.local import LocalEngine  # noqa: E402
from chatlab.errors import (  # noqa: E402
    BaseMissing,
    BaseRefused,
    ChatlabError,
    EngineError,
    EngineUnable,
    TemplateRefused,
)
from chatlab.lab import Lab  # noqa: E402
from chatlab.models.base import Base  # noqa: E402
from chatlab.records import Demonstration, Message  # noqa: E402
from chatlab.ui.train.preflight import Preflight  # noqa: E402
from tests.test_gguf_tokens import papers, stories  # noqa: E402

GREEDY = Sampling(temperature=0.0, repetition_penalty=1.0, max_tokens=12)
ASKED = [Message(role="user", content="What is the moon made of?")]


@pytest.fixture(scope="module")
def embedded(base_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded base as a file that anybody could have made."""
    file = tmp_path_factory.mktemp("brought") / "Small-Q8_0.gguf"
    write_base(Base.open(base_folder), file, "q8_0")
    return file


@pytest.fixture(scope="module")
def tiny(base_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole model of half a megabyte."""
    folder = tmp_path_factory.mktemp("tiny")
    papers(folder / "base", Base.open(base_folder).tokenizer)
    write_base(Base.open(folder / "base"), folder / "tiny.gguf", "f16")
    return folder / "tiny.gguf"


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def brought(embedded: Path, cache: Path) -> Base:
    return Admission(cache).open(embedded)


def said(engine: Any, base: Base, voice: Voice = Voice()) -> str:  # noqa: B008
    pieces = engine.stream(base.template.prompt(ASKED), GREEDY, voice, base.template.stop_ids)
    return "".join(piece.text for piece in pieces)


def test_a_brought_file_speaks_as_the_base_that_it_was_made_of(brought, base_folder, cache, tmp_path):
    own = Base.open(base_folder)
    assert (brought.name, brought.parameters, brought.context) == ("Small-Q8_0", own.parameters, own.context)
    assert brought.template.prompt(ASKED) == own.template.prompt(ASKED)
    assert brought.template.stop_ids == own.template.stop_ids
    assert brought.template.check() == []
    engine = open_engine(brought, tmp_path, threads=1)
    local = LocalEngine.open(own, threads=1)
    assert engine.name == "llama.cpp"
    assert said(engine, brought) == said(local, own)
    assert not list(tmp_path.iterdir()), "the file itself is run; nothing is written"
    engine.close()


def test_a_file_that_passed_is_not_tried_again(brought, embedded, cache, monkeypatch):
    monkeypatch.setattr("chatlab.engines.gguf.hearing.Hearing.hear", lambda *_: pytest.fail("it has passed"))
    assert Admission(cache).open(embedded).fingerprint == brought.fingerprint


def test_the_fingerprint_is_of_the_bytes_whatever_they_are_called(brought, embedded, tmp_path):
    other = shutil.copy(embedded, tmp_path / "other-name.gguf")
    assert Admission(tmp_path).open(other).fingerprint == brought.fingerprint


def test_papers_that_were_tampered_with_are_written_anew(tiny, tmp_path):
    admission = Admission(tmp_path)
    template = next(admission.open(tiny).folder.glob("*.jinja"))
    source = template.read_text()
    template.write_text("{{ 'something else' }}")
    assert admission.open(tiny).template.source == source


def test_a_file_that_changes_after_it_passed_is_not_run(tiny, tmp_path):
    file = shutil.copy(tiny, tmp_path / "model.gguf")
    base = Admission(tmp_path).open(file)
    file.write_bytes(file.read_bytes()[:-4096])
    with pytest.raises(BaseRefused, match="has changed"):
        open_engine(base, tmp_path, threads=1)
    with pytest.raises(BaseRefused, match="bytes of weights are described"):
        Admission(tmp_path).open(file)
