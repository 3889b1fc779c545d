"""A GGUF file that somebody brings: a base to chat with, once it has passed its trial in a process of its own."""

from __future__ import annotations

import random
import shutil
import signal
import struct
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("llama_cpp", reason="llama.cpp is not installed")
pytest.importorskip("torch")


from chatlab.adapters import Adapters
from chatlab.engines.base import Sampling, Variant
from chatlab.engines.fallback import open_engine
from chatlab.engines.gguf_export.files import write_base
from chatlab.engines.gguf_import.validator import GgufValidator
from chatlab.engines.transformers.engine import TransformersEngine
from chatlab.errors import BaseMissing, BaseRefused, ChatlabError, DiskFull, EngineError, TemplateRefused
from chatlab.lab import Lab
from chatlab.lab.chat.reply_stream import ReplyOptions
from chatlab.models.base import Base
from chatlab.models.gguf.header import check_model, read_header
from chatlab.models.gguf_file import GgufFile, stamp
from chatlab.models.given.formats import PLAIN
from chatlab.models.given.templates import GivenTemplates
from chatlab.models.validation.process import LOG
from chatlab.records import AdapterCard, Message
from chatlab.ui.train.preflight import Preflight
from tests.engines.test_gguf_tokens import papers
from tests.support.hostile.gguf import Forked, header
from tests.support.lora import make_adapter

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
    """Opened as the app opens it."""
    return GgufValidator(cache).open(embedded)


def said(engine: Any, base: Base, variant: Variant = Variant()) -> str:  # noqa: B008
    pieces = engine.stream(base.template.prompt(ASKED), GREEDY, variant, base.template.stop_ids)
    return "".join(piece.text for piece in pieces)


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


# What is refused.

LLAMA = {"general.architecture": "llama"}
F32, MANY = 0, 2**40
LIES = {
    "nothing at all": (b"", "is no GGUF"),
    "a picture": (b"\x89PNG\r\n\x1a\n" + bytes(99), "is no GGUF"),
    "one of the other byte order": (header({}, magic=b"FUGG"), "is no GGUF"),
    "an old version": (header({}, version=1), "of version 1"),
    "countless keys": (header({}, keys=MANY), "1,099,511,627,776 keys"),
    "countless tensors": (header({}, count=MANY), "1,099,511,627,776 tensors"),
    "more keys than there are": (header(LLAMA, keys=9), "ends within its header"),
    "a giant text": (header({"a": (8, struct.pack("<Q", MANY))}), "bytes long"),
    "a giant list": (header({"a": (9, struct.pack("<IQ", 4, MANY))}), "claims 1,099,511,627,776 values"),
    "a list of lists": (header({"a": (9, struct.pack("<IQ", 9, 1))}), "unknown type 9"),
    "an unknown type": (header({"a": (77, b"")}), "unknown type 77"),
    "a key that is no text": (header({"general.architecture": 7}, {"a": ([1], F32, 0)}) + bytes(99), "is no text"),
    "an odd architecture": (
        header({"general.architecture": "../x"}, {"a": ([1], F32, 0)}) + bytes(99),
        "names no arch",
    ),
    "an unknown kind of number": (header(LLAMA, {"a": ([1], 999, 0)}) + bytes(99), "999 is not a valid"),
    "a tensor of nothing": (header(LLAMA, {"a": ([4, 0], F32, 0)}) + bytes(99), "shape"),
    "a tensor of five dimensions": (header(LLAMA, {"a": ([1] * 5, F32, 0)}) + bytes(99), "5 dimensions"),
    "a tensor beyond the end": (header(LLAMA, {"a": ([MANY, MANY], F32, 0)}), "bytes of weights are described"),
    "a tensor before the beginning": (header(LLAMA, {"a": ([1], F32, 2**64 - 32)}) + bytes(99), "not where they"),
    "tensors on one another": (header(LLAMA, {"a": ([9], F32, 0), "b": ([9], F32, 0)}) + bytes(99), "not where they"),
    "an alignment of zero": (
        header(LLAMA | {"general.alignment": 0}, {"a": ([1], F32, 0)}) + bytes(99),
        "aligned to 0",
    ),
    "a vocabulary only": (header(LLAMA), "a vocabulary only"),
    "an adapter": (
        header(LLAMA | {"general.type": "adapter"}, {"a": ([1], F32, 0)}) + bytes(99),
        "an adapter, not a base",
    ),
    "a part of several": (header(LLAMA | {"split.count": 3}, {"a": ([1], F32, 0)}) + bytes(99), "one of 3 parts"),
    "eyes": (header({"general.architecture": "clip"}, {"a": ([1], F32, 0)}) + bytes(99), "vision or audio part"),
}


@pytest.mark.parametrize(("data", "why"), LIES.values(), ids=LIES)
def test_a_header_that_lies_is_refused_in_words(data, why, tmp_path):
    file = tmp_path / "model.gguf"
    file.write_bytes(data)
    with pytest.raises(BaseRefused, match=why) as refused:
        check_model(read_header(file))
    assert refused.value.hint


def test_what_is_no_plain_file_is_refused(tiny, tmp_path):
    admission = GgufValidator(tmp_path)
    (tmp_path / "link.gguf").symlink_to(tiny)
    (tmp_path / "loop.gguf").symlink_to(tmp_path / "loop.gguf")
    (tmp_path / "folder.gguf").mkdir()
    for name, why in {"link": "is a link", "loop": "is a link", "folder": "is no file"}.items():
        with pytest.raises(BaseRefused, match=why) as refused:
            admission.open(tmp_path / f"{name}.gguf")
        assert refused.value.hint
    with pytest.raises(BaseMissing, match="no base model"):
        admission.open(tmp_path / "nowhere.gguf")


def changed(tiny: Path, to: Path, *replacements: tuple[bytes, bytes]) -> Path:
    """The tiny model with some bytes of its header written over."""
    data = tiny.read_bytes()
    for old, new in replacements:
        assert data.count(old) >= 1 and len(old) == len(new)
        data = data.replace(old, new, 1)
    to.write_bytes(data)
    return to


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        (b"blk.0.attn_norm", b"blk.0.attn_nurm", "attn_norm.weight' not found"),
        (b"\x05" + bytes(7) + b"llama", b"\x05" + bytes(7) + b"lluma", "unknown model architecture"),
        (b"gpt-2", b"gpt-7", "unknown pre-tokenizer type"),
        (b"tokenizer.ggml.merges", b"tokenizer.ggml.murges", "merges"),
        (b"tokenizer.ggml.model", b"tokenizer.ggml.mudel", "no tokenizer"),
        (b"llama.block_count", b"llama.bluck_count", "block_count"),
    ],
)
def test_what_llama_cpp_cannot_run_is_refused_with_its_reason(old, new, why, tiny, forked, tmp_path):
    with pytest.raises(BaseRefused, match=why):
        GgufValidator(tmp_path, forked).open(changed(tiny, tmp_path / "model.gguf", (old, new)))


def test_weights_that_are_no_numbers_are_refused(tiny, forked, tmp_path):
    data = tiny.read_bytes()
    (tmp_path / "model.gguf").write_bytes(data[:-2000] + b"\xff" * 2000)
    with pytest.raises(BaseRefused, match="cannot be run"):
        GgufValidator(tmp_path, forked).open(tmp_path / "model.gguf")


def test_without_a_chat_template_it_is_refused_until_one_lies_beside_it(tiny, forked, tmp_path):
    file = changed(tiny, tmp_path / "model.gguf", (b"tokenizer.chat_template", b"tokenizer.chut_template"))
    admission = GgufValidator(tmp_path, forked)
    with pytest.raises(TemplateRefused, match="no chat template") as refused:
        admission.open(file)
    assert "model.jinja" in refused.value.hint
    source = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}{{ eos_token }}{% endfor %}"
    (tmp_path / "model.jinja").write_text(source)
    first = admission.open(file)
    assert first.template.source == source
    (tmp_path / "model.jinja").write_text(source.replace(": ", " - "))
    assert admission.open(file).fingerprint != first.fingerprint


def test_without_a_chat_template_it_is_opened_with_one_that_a_person_gave(tiny, forked, tmp_path):
    file = changed(tiny, tmp_path / "model.gguf", (b"tokenizer.chat_template", b"tokenizer.chut_template"))
    admission, given = GgufValidator(tmp_path, forked), GivenTemplates(tmp_path / "templates")
    given.give(file, PLAIN)
    first = admission.open(file, given.of(file))
    assert first.template.source == PLAIN
    other = PLAIN.replace("Assistant: ", "Player: ")
    given.give(file, other)
    second = admission.open(file, given.of(file))
    assert (second.template.source, first.fingerprint != second.fingerprint) == (other, True)
    with pytest.raises(TemplateRefused, match="no chat template"):
        admission.open(file)
    assert "Plain text" in [one.name for one in given.offered(file)]


def test_a_template_that_means_harm_is_stopped(tiny, forked, tmp_path):
    (tmp_path / "model.jinja").write_text("{{ messages.__init__.__globals__ }}")
    with pytest.raises(TemplateRefused, match="is stopped"):
        GgufValidator(tmp_path, forked).open(shutil.copy(tiny, tmp_path / "model.gguf"))


# A trial that does not come to its end.


def test_a_trial_that_crashes_is_a_refusal_and_no_more(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(Forked, "_run", lambda self, file, folder, seconds: (folder / LOG).touch() or -11)
    with pytest.raises(BaseRefused, match="breaks down"):
        GgufValidator(tmp_path, Forked()).open(tiny)


@pytest.mark.skipif(not hasattr(signal, "SIGXCPU"), reason="this system knows no such limits")
def test_a_trial_has_its_share_of_time_and_memory(tmp_path):
    code = (
        "from chatlab.system import limits; limits.SECONDS = 1; limits.MEMORY = 1 << 28\n"
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


# Damage of every kind.


def damage(data: bytes, dice: random.Random) -> bytes:
    """Cut short, or bits turned, bytes zeroed or doubled; most of it where the header is."""
    body = bytearray(data)
    at = dice.randrange(len(body)) if dice.random() < 0.3 else int(len(body) * 0.4 * dice.random() ** 4)
    match dice.randrange(6):
        case 0:
            return data[:at]
        case 1:
            for _ in range(dice.randint(1, 8)):
                body[min(len(body) - 1, at + dice.randrange(64))] ^= 1 << dice.randrange(8)
        case 2:
            body[at : at + 8] = struct.pack("<Q", dice.choice([0, 1, 2**31, 2**32, 2**63, 2**64 - 1]))
        case 3:
            body[at : at + dice.randint(1, 64)] = b""
        case 4:
            body[at:at] = dice.randbytes(dice.randint(1, 64))
        case 5:
            body[at : at + dice.randint(1, 999)] = dice.randbytes(dice.randint(1, 999))
    return bytes(body)


def read_all(data: bytes, seeds: range, file: Path) -> int:
    """How many of so many damaged files have a header that is refused."""
    refused = 0
    for seed in seeds:
        file.write_bytes(damage(data, random.Random(seed)))
        try:
            check_model(read_header(file))
        except BaseRefused as error:
            refused += bool(error.hint)
    return refused


def try_all(data: bytes, seeds: range, tmp_path: Path, forked: Forked) -> None:
    """Whatever is done to a file, it is refused in words, or it can be talked to in this very process."""
    admission, file = GgufValidator(tmp_path, forked), tmp_path / "model.gguf"
    for seed in seeds:
        file.write_bytes(damage(data, random.Random(seed)))
        try:
            base = admission.open(file)
        except (BaseRefused, TemplateRefused) as error:
            assert str(error) and error.hint
            continue
        engine = open_engine(base, tmp_path, threads=1)
        said(engine, base)
        engine.close()


def test_damaged_headers_are_refused_and_nothing_else_happens(tiny, tmp_path):
    data = tiny.read_bytes()
    assert read_all(data, range(100), tmp_path / "model.gguf") > 50


def test_damaged_files_are_refused_or_can_be_talked_to(tiny, forked, tmp_path):
    try_all(tiny.read_bytes(), range(16), tmp_path, forked)


@pytest.mark.slow
def test_a_file_cut_short_anywhere_is_refused(tiny, tmp_path):
    data, file = tiny.read_bytes(), tmp_path / "model.gguf"
    for end in [*range(0, 4096, 7), *range(4096, len(data) - 32, 4999)]:
        file.write_bytes(data[:end])
        with pytest.raises(BaseRefused):
            check_model(read_header(file))


@pytest.mark.slow
def test_many_damaged_files(tiny, forked, tmp_path):
    data = tiny.read_bytes()
    read_all(data, range(1000, 4000), tmp_path / "model.gguf")
    try_all(data, range(1000, 1400), tmp_path, forked)
