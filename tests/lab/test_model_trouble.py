"""A model that the memory does not hold, or that changes or goes while it is open: what a person is told."""

from __future__ import annotations

import hashlib
import json
from collections import namedtuple
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

pytest.importorskip("llama_cpp", reason="llama.cpp is not installed")

from chatlab.engines.base import Sampling
from chatlab.engines.gguf_export.files import write_base
from chatlab.errors import BaseMissing, EngineError, TrainingError
from chatlab.lab import Lab
from chatlab.lab.chat.reply_stream import ReplyOptions
from chatlab.models.base import Base
from chatlab.records import BASE
from chatlab.settings import Settings
from chatlab.ui.models.known import KnownModels
from chatlab.ui.train.preflight import Preflight
from tests.support.report_figures import tiny_base
from tests.support.tiny_models import changed, in_shards, llama_folder

SHORT = ReplyOptions(sampling=Sampling(temperature=0.0, max_tokens=4))


@pytest.fixture(scope="module")
def made(base_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model as a folder and as a GGUF file."""
    root = tmp_path_factory.mktemp("models")
    write_base(Base.open(tiny_base(base_folder, root / "tiny")), root / "tiny.gguf", "q8_0")
    return root


@pytest.fixture
def blob(made: Path, tmp_path: Path) -> Path:
    """The file as Ollama keeps it."""
    data = (made / "tiny.gguf").read_bytes()
    blob = tmp_path / f"ollama/blobs/sha256-{hashlib.sha256(data).hexdigest()}"
    blob.parent.mkdir(parents=True)
    blob.write_bytes(data)
    return blob


@pytest.fixture
def lab(settings: Settings, blob: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    monkeypatch.setenv("HOME", str(tmp_path))
    lab = Lab(replace(settings, base=blob, cache_folder=tmp_path / "cache"))
    lab.library.add(blob)
    yield lab
    lab.close()


def said(lab: Lab) -> str:
    return lab.chat.reply(lab.chat.new(), "Good morning.", SHORT).finish().text


def free(gigabytes: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """So much memory, as the system tells it."""
    memory: Any = namedtuple("memory", "available total")
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory(int(gigabytes * 1e9), int(16e9)))


def test_a_model_that_its_program_deletes_goes_on_answering_and_training_says_that_it_has_gone(
    lab: Lab, blob: Path
) -> None:
    before = said(lab)
    lab.demonstrations.write("Hello.", "Good morrow.")
    blob.unlink()
    assert said(lab) == before, "it is in memory"
    with pytest.raises(BaseMissing, match="has gone since it was opened") as refused:
        lab.training.retrain("player")
    assert "choose another model in Models" in refused.value.hint
    again = Lab(lab.settings.__class__(home=lab.settings.home / "other", base=blob))
    with pytest.raises(BaseMissing, match="There is no base model at"):
        said(again)
    assert any("There is no base model" in warning for warning in again.health().warnings)
    again.close()


def test_a_model_that_is_replaced_on_the_disk_goes_on_and_can_be_chosen_anew(
    lab: Lab, blob: Path, made: Path, base_folder: Path
) -> None:
    before, fingerprint = said(lab), lab.machine.base.fingerprint
    write_base(Base.open(base_folder), blob, "q8_0")
    assert said(lab) == before
    assert not [model for model in KnownModels(lab).all() if model.in_use], "the list offers to use it, as it is now"
    lab.switch.use(blob)
    said(lab)
    assert lab.machine.base.fingerprint != fingerprint and lab.machine.base.parameters > 5_000_000
    assert [model.entry.path for model in KnownModels(lab).all() if model.in_use] == [blob]


def test_a_model_that_the_memory_does_not_hold_at_the_start_is_refused_before_it_is_loaded(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    free(0.3, monkeypatch)
    with pytest.raises(EngineError, match=r"needs about 0\.\d GB of memory, and 0\.3 GB are free") as refused:
        said(lab)
    assert "Close other programs" in refused.value.hint and not lab.machine.started
    assert any("of memory" in warning for warning in lab.health().warnings) and not lab.health().opening
    free(8, monkeypatch)
    assert said(lab) is not None and lab.machine.started and not lab.health().warnings


def test_training_that_the_memory_does_not_hold_is_refused_before_anything_is_unpacked(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said(lab)
    lab.demonstrations.write("Hello.", "Good morrow.")
    monkeypatch.setattr(lab.machine.base, "parameters", 8_000_000_000)
    free(12, monkeypatch)
    lab.training.warm()
    assert lab.training.status().state == "cold", "nothing is loaded ahead that does not fit"
    (tick,) = [tick for tick in Preflight(lab).check(lab.training.plan()) if tick.state == "bad"]
    with pytest.raises(
        TrainingError, match=r"needs about 48\.\d GB of memory to be trained, and 12\.0 GB are"
    ) as refused:
        lab.training.retrain("player")
    assert "one of 1.9 billion parameters fits" in refused.value.hint and refused.value.hint in tick.words
    assert not (tmp_path / "cache/unpacked").exists() and lab.variants.names() == [BASE]
    free(0.4, monkeypatch)
    with pytest.raises(TrainingError) as refused:
        lab.training.retrain("player")
    assert "no model can be trained" in refused.value.hint


@pytest.mark.parametrize("kind", ["folder", "gguf"])
def test_padded_vocabulary_end_tokens_shards_and_what_is_missing_keep_nothing_from_answering_and_training(
    kind: str, settings: Settings, base_folder: Path, tmp_path: Path
) -> None:
    rows = json.loads((base_folder / "config.json").read_bytes())["vocab_size"]
    odd = llama_folder(base_folder, tmp_path / "odd", vocab_size=rows + 122, eos_token_id=[0, 4], pad_token_id=None)
    in_shards(changed(odd, "tokenizer_config.json", pad_token=None))
    (odd / "generation_config.json").unlink()
    if kind == "gguf":
        write_base(Base.open(odd), tmp_path / "odd.gguf", "q8_0")
        odd = tmp_path / "odd.gguf"
    lab = Lab(replace(settings, base=odd, cache_folder=tmp_path / "cache"))
    try:
        before = said(lab)
        assert not lab.health().warnings
        lab.demonstrations.write("Good morning.", "Good morrow, friend.")
        lab.training.retrain("friend", epochs=40, learning_rate=2e-2, kl_weight=0.0)
        lab.training.wait(timeout=240)
        lab.variants.go_live("friend", knowingly=True)
        assert said(lab) != before and lab.machine.engine.name == "llama.cpp"
    finally:
        lab.close()
