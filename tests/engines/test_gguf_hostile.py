"""Hostile GGUF files: a sound header and tensor table changed by kind; each is refused in words, or runs."""

from __future__ import annotations

import copy
import random
import sys
import tracemalloc
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

pytest.importorskip("llama_cpp", reason="llama.cpp is not installed")
pytest.importorskip("torch")

from transformers import PreTrainedTokenizerFast

from chatlab.engines.base import Sampling, Variant
from chatlab.engines.fallback import open_engine
from chatlab.engines.gguf_export.files import write_base
from chatlab.engines.gguf_import.validator import GgufValidator
from chatlab.errors import BaseRefused, ChatlabError, PromptTooLong, TemplateRefused
from chatlab.models.base import Base
from chatlab.models.gguf.header import check_model, read_header
from chatlab.records import Message
from tests.support.gguf_models import tiny_llama
from tests.support.hostile.gguf import Forked
from tests.support.hostile.gguf_files import flipped, mutations
from tests.support.hostile.gguf_parts import Gguf, parsed

MUTATIONS = mutations()
SPARE = 32 << 20
"""Bytes that reading may take, whatever the size of the file."""
A_BYTE = 24
"""Bytes of memory for one of a file: a list holds each number of one byte as an object of its own."""
GREEDY = Sampling(temperature=0.0, repetition_penalty=1.0, max_tokens=4)


def byte_tokenizer() -> PreTrainedTokenizerFast:
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [("t", "h"), ("th", "e"), ("Ġ", "the"), ("i", "n"), ("in", "g"), ("Ġ", "a")]
    tokens = [*letters, *map("".join, merges), "<|end|>", "<|user|>", "<|assistant|>"]
    made = Tokenizer(models.BPE({token: number for number, token in enumerate(tokens)}, merges))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # type: ignore[assignment]
    made.decoder = decoders.ByteLevel()  # type: ignore[assignment]
    made.add_special_tokens(tokens[-3:])
    return PreTrainedTokenizerFast(tokenizer_object=made, eos_token="<|end|>", clean_up_tokenization_spaces=False)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A tiny model whose tokenizer knows little more than the bytes, so that its header is soon read."""
    folder = tmp_path_factory.mktemp("sound")
    tiny_llama(folder / "base", byte_tokenizer())
    write_base(Base.open(folder / "base"), folder / "sound.gguf", "q8_0")
    return (folder / "sound.gguf").read_bytes()


@pytest.fixture(scope="module")
def parts(sound: bytes) -> Gguf:
    return parsed(sound)


def mutated(parts: Gguf, name: str) -> bytes:
    changed = copy.deepcopy(parts)
    MUTATIONS[name](changed, random.Random(name))
    return changed.packed()


class Work:
    """What a block of code took."""

    calls = 0
    memory = 0
    """Bytes at the peak."""


@contextmanager
def measured() -> Iterator[Work]:
    """Calls rather than seconds, which depend on what else the machine does."""
    work = Work()

    def count(frame: object, event: str, argument: object) -> None:
        work.calls += 1

    tracemalloc.start()
    sys.setprofile(count)
    try:
        yield work
    finally:
        sys.setprofile(None)
        work.memory = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()


def read(data: bytes, file: Path) -> str:
    """`sound` or `refused`; anything else is raised."""
    file.write_bytes(data)
    try:
        check_model(read_header(file))
    except ChatlabError as error:
        assert isinstance(error, BaseRefused) and str(error) and error.hint
        assert len(str(error)) < 600
        return "refused"
    return "sound"


def read_with_little_work(data: bytes, file: Path) -> str:
    with measured() as work:
        found = read(data, file)
    assert work.calls < 10_000 + 4 * len(data), work.calls
    assert work.memory < SPARE + A_BYTE * len(data), work.memory
    return found


def admitted(files: Iterable[tuple[str, bytes]], folder: Path, admission: GgufValidator) -> Counter[str]:
    """Each file opened as the app opens it: refused in words, or it can be talked to in this very process."""
    found: Counter[str] = Counter()
    file = folder / "model.gguf"
    for name, data in files:
        file.write_bytes(data)
        try:
            base = admission.open(file)
        except (BaseRefused, TemplateRefused) as error:
            assert str(error) and error.hint and len(str(error)) <= 1000, name
            found[f"{name.partition(':')[0]} refused"] += 1
            continue
        engine = open_engine(base, folder, threads=1)
        try:
            prompt = base.template.prompt([Message(role="user", content="What is the moon made of?")])
            list(engine.stream(prompt, GREEDY, Variant(), base.template.stop_ids))
        except PromptTooLong:  # where it says that its context is of a few tokens
            found["of too little context"] += 1
        finally:
            engine.close()
        found[f"{name.partition(':')[0]} sound"] += 1
    return found


def test_the_parts_make_up_the_sound_file_again(sound: bytes, parts: Gguf, tmp_path: Path) -> None:
    assert parts.packed() == sound
    assert read(sound, tmp_path / "model.gguf") == "sound"


def test_a_header_that_claims_great_sizes_takes_little_work(parts: Gguf, tmp_path: Path) -> None:
    claims = [name for name in MUTATIONS if name.startswith(("length", "table", "shapes"))]
    found = Counter(read_with_little_work(mutated(parts, name), tmp_path / "model.gguf") for name in claims)
    print(found)
    assert found["refused"] > 50


def test_every_mutated_header_is_refused_or_sound(parts: Gguf, tmp_path: Path) -> None:
    found = Counter(read(mutated(parts, name), tmp_path / "model.gguf") for name in MUTATIONS)
    print(found)
    assert found["refused"] > 100 and found["sound"] > 100


def test_a_file_cut_at_the_border_of_a_section_is_refused(parts: Gguf, sound: bytes, tmp_path: Path) -> None:
    borders = parts.borders()
    for at in borders:
        assert read(sound[:at], tmp_path / "model.gguf") == "refused", at
    print(len(borders))


def test_headers_with_bytes_changed_are_refused_or_sound_with_little_work(
    parts: Gguf, sound: bytes, tmp_path: Path
) -> None:
    head, rng = len(parts.header()), random.Random(15)
    print(Counter(read_with_little_work(flipped(sound, head, rng), tmp_path / "model.gguf") for _ in range(60)))


def test_mutated_files_are_opened_in_the_limited_process_and_refused(parts: Gguf, tmp_path: Path) -> None:
    chosen = ("sizes: attention.head_count is 0", "vocabulary: a long merge")
    found = admitted([(name, mutated(parts, name)) for name in chosen], tmp_path, GgufValidator(tmp_path))
    assert found == Counter({"sizes refused": 1, "vocabulary refused": 1})


def test_some_mutated_files_are_refused_or_can_be_talked_to(parts: Gguf, forked: Forked, tmp_path: Path) -> None:
    chosen = ("vocabulary: eos is 4294967295", "sizes: rope.freq_base is nan", "sizes: context_length is 2147483648")
    print(admitted([(name, mutated(parts, name)) for name in chosen], tmp_path, GgufValidator(tmp_path, forked)))


@pytest.mark.slow
def test_every_mutated_file_is_refused_or_can_be_talked_to(
    parts: Gguf, sound: bytes, forked: Forked, tmp_path: Path
) -> None:
    admission = GgufValidator(tmp_path, forked)
    print(sorted(admitted([(name, mutated(parts, name)) for name in MUTATIONS], tmp_path, admission).items()))
    head, rng = len(parts.header()), random.Random(16)
    files = [("bytes changed", flipped(sound, head, rng)) for _ in range(150)]
    print(sorted(admitted(files, tmp_path, admission).items()))
    print("exit codes", Counter(forked.codes))


@pytest.mark.slow
def test_thousands_of_headers_with_bytes_changed(parts: Gguf, sound: bytes, tmp_path: Path) -> None:
    head, rng = len(parts.header()), random.Random(17)
    print(Counter(read(flipped(sound, head, rng), tmp_path / "model.gguf") for _ in range(3000)))
