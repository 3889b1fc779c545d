"""GGUF files that lie, lack something or are damaged: refused in words, or whole enough to be talked to."""

from __future__ import annotations

import random
import shutil
import struct
from pathlib import Path

import pytest

pytest.importorskip("llama_cpp", reason="llama.cpp is not installed")
pytest.importorskip("torch")


from chatlab.engines.fallback import open_engine
from chatlab.engines.gguf_import.validator import GgufValidator
from chatlab.errors import BaseMissing, BaseRefused, TemplateRefused
from chatlab.models.gguf.header import check_model, read_header
from chatlab.models.given.formats import PLAIN
from chatlab.models.given.templates import GivenTemplates
from tests.support.gguf_models import said
from tests.support.hostile.gguf import Forked, header

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
