"""llama.cpp is installed while one chats already: it takes over between two replies, and nobody loses a word."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("llama_cpp", reason="llama.cpp is not installed")

from chatlab.engines.base import Sampling
from chatlab.engines.gguf_export.files import write_base
from chatlab.engines.llamacpp import package
from chatlab.errors import EngineError
from chatlab.lab import Lab
from chatlab.lab.chat.reply_stream import ReplyOptions
from chatlab.lab.models.takeover import Takeover
from chatlab.models.base import Base
from chatlab.settings import Settings

GREEDY = ReplyOptions(sampling=Sampling(temperature=0.0, max_tokens=24))
INSTALLED = package.version


@pytest.fixture
def lab(settings: Settings, base_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    """On a GGUF, where llama.cpp is not installed yet."""
    monkeypatch.setattr(package, "version", lambda: "")
    write_base(Base.open(base_folder), tmp_path / "small.gguf", "f16")
    lab = Lab(replace(settings, base=tmp_path / "small.gguf"))
    yield lab
    lab.close()


def installed(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Returns once it answers."""
    before, end = lab.machine.current, time.monotonic() + 120
    watch = Takeover(lab.switch.renew, every=0.05)
    watch.begin()
    monkeypatch.setattr(package, "version", INSTALLED)
    while lab.machine.current is before and time.monotonic() < end:
        time.sleep(0.02)
    watch.close()


def test_it_takes_over_between_two_replies(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    assert lab.machine.engine.name == "transformers"
    talk = lab.chat.new()
    under_way = iter(lab.chat.reply(talk, "Tell me of the sea.", GREEDY))
    said = next(under_way).text
    installed(lab, monkeypatch)
    assert lab.machine.engine.name == "llama.cpp"
    said += "".join(chunk.text for chunk in under_way)
    again = lab.chat.reply(lab.chat.new(), "Tell me of the sea.", GREEDY).finish()
    assert again.text.strip() == said.strip() != ""
    assert again.provenance is not None and again.provenance.base == lab.machine.base.fingerprint


def test_one_that_cannot_take_over_leaves_things_as_they_are(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    before = lab.machine.engine

    def refuse(*asked: object) -> Base:
        raise EngineError("It breaks down.")

    monkeypatch.setattr(lab.machine, "_opened_base", refuse)
    asked = []
    watch = Takeover(lambda: (asked.append(1), lab.switch.renew())[1], every=0.02)
    watch.begin()
    monkeypatch.setattr(package, "version", INSTALLED)
    while not asked:
        time.sleep(0.01)
    watch.close()
    assert lab.machine.engine is before
    assert lab.chat.reply(lab.chat.new(), "Hello.", GREEDY).finish().text.strip()
