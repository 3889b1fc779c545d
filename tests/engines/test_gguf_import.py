"""A GGUF file that somebody brings: a base to chat with, once it has passed its trial in a process of its own."""

from __future__ import annotations

import json
import shutil
import signal
import struct
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("llama_cpp", reason="llama.cpp is not installed")
pytest.importorskip("torch")


from chatlab.adapters import Adapters
from chatlab.engines.base import Sampling, Variant
from chatlab.engines.fallback import open_engine
from chatlab.engines.gguf_export.files import write_base
from chatlab.engines.gguf_import.validator import PASSED, GgufValidator
from chatlab.engines.transformers.engine import TransformersEngine
from chatlab.errors import BaseRefused, ChatlabError, DiskFull, EngineError
from chatlab.lab import Lab
from chatlab.lab.chat.reply_stream import ReplyOptions
from chatlab.models.base import Base
from chatlab.models.fingerprint import fingerprint_of_file
from chatlab.models.gguf.header import Header, read_header
from chatlab.models.gguf_file import GgufFile, stamp
from chatlab.models.validation.process import LOG
from chatlab.records import AdapterCard
from chatlab.ui.train.preflight import Preflight
from tests.support.gguf_models import ASKED, GREEDY, said
from tests.support.hostile.gguf import Forked
from tests.support.lora import make_adapter


@pytest.fixture(scope="module")
def embedded(base_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded base as a file that anybody could have made."""
    file = tmp_path_factory.mktemp("brought") / "Small-Q8_0.gguf"
    write_base(Base.open(base_folder), file, "q8_0")
    return file


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def brought(embedded: Path, cache: Path) -> Base:
    """Opened as the app opens it."""
    return GgufValidator(cache).open(embedded)


def test_a_brought_file_speaks_as_the_base_that_it_was_made_of(brought, base_folder, tmp_path):
    own = Base.open(base_folder)
    assert (brought.name, brought.parameters, brought.context) == ("Small-Q8_0", own.parameters, own.context)
    assert brought.template.prompt(ASKED) == own.template.prompt(ASKED)
    assert brought.template.stop_ids == own.template.stop_ids
    assert brought.template.check() == []
    engine = open_engine(brought, tmp_path, threads=1)
    assert engine.name == "llama.cpp"
    assert said(engine, brought) == said(TransformersEngine.open(own, threads=1), own)
    assert not list(tmp_path.iterdir()), "the file itself is run; nothing is written"
    engine.close()


def test_a_file_that_passed_is_not_tried_again(brought, embedded, cache, monkeypatch):
    monkeypatch.setattr(
        "chatlab.engines.gguf_import.validator.GgufSandbox.run", lambda *_: pytest.fail("it has passed")
    )
    assert GgufValidator(cache).open(embedded).fingerprint == brought.fingerprint


def test_an_adapter_made_for_these_very_bytes_is_put_on(brought, base_folder, tmp_path):
    own = Base.open(base_folder)
    adapter = make_adapter(base_folder, tmp_path / "made", 3)
    names = {base.fingerprint: f"for-{base.name.lower()}" for base in (own, brought)}
    shelf = Adapters(tmp_path / "shelf")
    for fingerprint, name in names.items():
        shelf.publish(adapter, AdapterCard(name=name, base=fingerprint))
    engine = open_engine(brought, tmp_path, threads=1)
    ours, theirs = (
        Variant(name=names[base.fingerprint], folder=tmp_path / "shelf" / names[base.fingerprint])
        for base in (brought, own)
    )
    assert said(engine, brought, ours) != said(engine, brought)
    with pytest.raises(ChatlabError, match="another base"):
        engine.stream([0], GREEDY, theirs, frozenset())
    engine.close()


# The whole app on it.


def test_the_app_talks_on_it_and_trains_it(brought, embedded, settings, cache):
    lab = Lab(replace(settings, base=embedded, cache_folder=cache))
    try:
        talk = lab.chat.new()
        reply = lab.chat.reply(talk, "Hello there.", ReplyOptions(sampling=Sampling(max_tokens=8, seed=1))).finish()
        assert reply.done and reply.provenance is not None and reply.provenance.base == brought.fingerprint
        assert lab.health().base == "Small-Q8_0" and lab.health().engine == "llama.cpp" and not lab.health().warnings
        panes = list(lab.compare.ask("Hello?", ["base", "base"], replace(GREEDY, max_tokens=4)))[-1]
        assert panes[0].text == panes[1].text and all(pane.done and not pane.error for pane in panes)
        lab.demonstrations.load_pack("stage")
        assert not [tick.words for tick in Preflight(lab).check(lab.training.plan()) if tick.state == "bad"]
        before = lab.chat.reply(lab.chat.new(), "Who are you?", ReplyOptions(sampling=GREEDY)).finish().text
        lab.training.retrain("player", epochs=2, learning_rate=1e-3)
        lab.training.wait(timeout=240)
        assert lab.variants.live == "player", lab.training.news
        after = lab.chat.reply(lab.chat.new(), "Who are you?", ReplyOptions(sampling=GREEDY)).finish()
        card = lab.variants.card("player")
        assert card.base == brought.fingerprint and after.provenance.sha256 == card.sha256 and after.text != before
        assert lab.health().engine == "llama.cpp", "the packed file serves what was trained on the unpacked one"
    finally:
        lab.close()


def test_what_cannot_be_unpacked_is_talked_to_and_says_why_it_is_not_trained(tiny, forked, tmp_path):
    base = GgufValidator(tmp_path, forked).open(tiny)
    base.check_trainable()
    odd = tmp_path / "odd.gguf"
    odd.write_bytes(tiny.read_bytes().replace(b"blk.0.ffn_up.weight", b"blk.0.ffn_xx.weight"))
    with pytest.raises(BaseRefused, match="can chat, but not train: it has no"):
        Base.from_gguf(GgufFile(file=odd, stamp=stamp(odd), sha256="0"), "odd", base.folder, 1).check_trainable()


# What is remembered, and what is not.


def test_the_fingerprint_is_of_the_bytes_whatever_they_are_called(tiny, forked, tmp_path):
    other = shutil.copy(tiny, tmp_path / "other-name.gguf")
    admission = GgufValidator(tmp_path, forked)
    assert admission.open(other).fingerprint == admission.open(tiny).fingerprint


def test_papers_that_were_tampered_with_are_written_anew(tiny, forked, tmp_path):
    admission = GgufValidator(tmp_path, forked)
    template = next(admission.open(tiny).folder.glob("*.jinja"))
    source = template.read_text()
    template.write_text("{{ 'something else' }}")
    assert admission.open(tiny).template.source == source


def test_a_file_that_changes_after_it_passed_is_not_run(tiny, forked, tmp_path):
    file = shutil.copy(tiny, tmp_path / "model.gguf")
    admission = GgufValidator(tmp_path, forked)
    base = admission.open(file)
    file.write_bytes(file.read_bytes()[:-4096])
    with pytest.raises(BaseRefused, match="has changed"):
        open_engine(base, tmp_path, threads=1)
    with pytest.raises(BaseRefused, match="bytes of weights are described"):
        admission.open(file)


def test_a_refused_file_is_not_tried_again_until_it_changes(tiny, forked, tmp_path):
    file = tmp_path / "model.gguf"
    file.write_bytes(b"GGUF" + bytes(100))
    admission, before = GgufValidator(tmp_path, forked), len(forked.codes)
    for _ in range(3):
        with pytest.raises(BaseRefused, match="version 0"):
            admission.open(file)
    assert len(forked.codes) == before + 1
    shutil.copy(tiny, file)
    assert admission.open(file).name == "model"
    assert not list((tmp_path / "brought").glob(".half-*"))


# A trial that does not come to its end.


def test_a_trial_that_crashes_is_a_refusal_and_no_more(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(Forked, "_run", lambda self, file, folder, seconds: (folder / LOG).touch() or -11)
    with pytest.raises(BaseRefused, match="breaks down"):
        GgufValidator(tmp_path, Forked()).open(tiny)


@pytest.mark.skipif(not hasattr(signal, "SIGXCPU"), reason="this system knows no such limits")
def test_a_trial_has_its_share_of_time_and_memory(tmp_path):
    code = (
        "from chatlab.system.processes import limits; limits.SECONDS = 1; limits.MEMORY = 1 << 28\n"
        "made = limits.Limits(0)\n"
        "try: bytes(1 << 29)\n"
        "except MemoryError: made.allow(1 << 29)\n"
        "with made.lifted(): bytes(1 << 31)\n"
        "made.allow(1 << 29); bytes(1 << 29)\n"
        "while True: pass"
    )
    run = subprocess.run([sys.executable, "-c", code], timeout=60)
    assert run.returncode == -signal.SIGXCPU


def test_closing_the_app_ends_a_trial_under_way(tiny, tmp_path):
    admission = GgufValidator(tmp_path)
    failures: list[ChatlabError] = []

    def opening() -> None:
        try:
            admission.open(tiny)
        except ChatlabError as error:
            failures.append(error)

    thread = threading.Thread(target=opening)
    thread.start()
    while not list(tmp_path.glob("brought/.half-*/trial.log")):
        time.sleep(0.01)
    admission.close()
    thread.join(10)
    assert not thread.is_alive() and isinstance(failures[0], EngineError)
    assert not list((tmp_path / "brought").iterdir())


def test_a_cache_that_cannot_be_written_is_said(tiny, tmp_path):
    (tmp_path / "brought").write_text("a file where a folder should be")
    with pytest.raises(DiskFull, match="could not be kept"):
        GgufValidator(tmp_path).open(tiny)


def with_other_metadata(file: Path, to: Path, **changed: bytes) -> Path:
    """The same model with one more key, and another name."""
    data = file.read_bytes()
    header = read_header(file)
    count = struct.unpack_from("<Q", data, 16)[0]
    more = b"".join(
        struct.pack("<Q", len(key)) + key.encode() + struct.pack("<IQ", 8, len(value)) + value
        for key, value in changed.items()
    )
    head = data[:16] + struct.pack("<Q", count + len(changed)) + more + data[24 : _end_of_header(data, header)]
    to.write_bytes(head + b"\0" * (-len(head) % 32) + data[header.data_start :])
    return to


def _end_of_header(data: bytes, header: Header) -> int:
    """Where the padding before the tensors begins."""
    end = header.data_start
    last = max(header.tensors.values(), key=lambda tensor: tensor.start)
    mark = last.start.to_bytes(8, "little")
    return data.rfind(mark, 0, end) + 8 if len(header.tensors) > 1 else end


def test_a_file_is_known_by_what_it_means(brought: Base, embedded: Path, cache: Path, tmp_path: Path) -> None:
    other = with_other_metadata(embedded, tmp_path / "other.gguf", **{"general.note": b"x", "general.url": b"y"})
    validator = GgufValidator(cache)
    assert read_header(other).values["general.note"] == b"x"
    assert validator.open(other).fingerprint == brought.fingerprint
    weights = bytearray(embedded.read_bytes())
    weights[-1] ^= 1
    (tmp_path / "changed.gguf").write_bytes(weights)
    assert validator.open(tmp_path / "changed.gguf").fingerprint != brought.fingerprint


def test_adapters_that_name_a_file_by_its_bytes_are_found_for_ever(embedded: Path, tmp_path: Path) -> None:
    named: set[str] = set()
    first = GgufValidator(tmp_path, named=lambda: named).open(embedded)
    assert first.gguf is not None
    named.add(by_bytes := fingerprint_of_file(first.gguf.sha256, first.template.source))
    assert first.fingerprint != by_bytes
    anew = GgufValidator(tmp_path / "anew", named=lambda: named)
    assert anew.open(embedded).fingerprint == by_bytes
    other = with_other_metadata(embedded, tmp_path / "other.gguf", **{"general.note": b"x"})
    assert anew.open(other).fingerprint == by_bytes


def test_what_an_earlier_version_validated_keeps_its_name(embedded: Path, tmp_path: Path) -> None:
    first = GgufValidator(tmp_path).open(embedded)
    assert first.gguf is not None
    passed = json.loads((first.folder / PASSED).read_bytes())
    del passed["meaning"]
    (first.folder / PASSED).write_text(json.dumps(passed))
    by_bytes = fingerprint_of_file(first.gguf.sha256, first.template.source)
    other = with_other_metadata(embedded, tmp_path / "other.gguf", **{"general.note": b"x"})
    assert GgufValidator(tmp_path).open(embedded).fingerprint == by_bytes
    assert GgufValidator(tmp_path).open(other).fingerprint == by_bytes
