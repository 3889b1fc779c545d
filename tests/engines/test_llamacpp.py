"""The llama.cpp engine: variants that take turns token by token, and what happens when files or memory go."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.lora import make_adapter

pytest.importorskip("llama_cpp", reason="llama.cpp is not installed")

from chatlab.engines.base import BLOCK, Sampling, Variant
from chatlab.engines.fallback import FallbackEngine, open_engine
from chatlab.engines.gguf_export.cached import kept
from chatlab.engines.llamacpp import adapter_cache as wardrobe
from chatlab.engines.llamacpp.engine import LlamaCppEngine
from chatlab.engines.transformers.engine import TransformersEngine
from chatlab.errors import DiskFull, EngineError, EngineUnable
from chatlab.models.base import Base

NEVER = frozenset[int]()
GREEDY = Sampling(max_tokens=24, temperature=0.0, repetition_penalty=1.0)


@pytest.fixture(scope="module")
def base(base_folder: Path) -> Base:
    return Base.open(base_folder)


@pytest.fixture(scope="module")
def variants(base_folder: Path, tmp_path_factory) -> list[Variant]:
    root = tmp_path_factory.mktemp("made")
    made = [Variant(name=str(n), folder=make_adapter(base_folder, root / str(n), n)) for n in range(3)]
    return [Variant(), *made, Variant(name="1", folder=made[1].folder, strength=3.0)]


@pytest.fixture
def engine(base: Base, cache_folder: Path) -> Iterator[LlamaCppEngine]:
    opened = LlamaCppEngine.open(base, cache_folder / "gguf", threads=1)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def prompt(base: Base) -> list[int]:
    return [0, *base.tokenizer("Once upon a time there was a fox who").input_ids * 12]


def said(engine, prompt: list[int], variant: Variant, sampling: Sampling = GREEDY) -> str:
    return "".join(chunk.text for chunk in engine.stream(prompt, sampling, variant, NEVER))


@pytest.fixture(scope="module")
def alone(base: Base, cache_folder: Path, prompt: list[int], variants: list[Variant]) -> list[str]:
    """What each variant says in an engine that has never heard of the others."""
    told = []
    for variant in variants:
        engine = LlamaCppEngine.open(base, cache_folder / "gguf", threads=1)
        told.append(said(engine, prompt, variant))
        engine.close()
    assert len(set(told)) == len(variants), "every variant says something else"
    return told


def test_replies_that_grow_together_say_what_each_says_alone(engine, base, variants):
    prompts = [base.tokenizer(f"{word} is a good {word} because").input_ids for word in ("Rain", "Tea", "A king") * 4]
    for variant in variants[:2]:
        told, ends = [""] * len(prompts), {}
        for number, chunk in engine.stream_batch(prompts, GREEDY, variant, base.template.stop_ids):
            assert number not in ends, "nothing after the end"
            told[number] += chunk.text
            if chunk.stop:
                ends[number] = chunk
        assert len(ends) == len(prompts) and len(set(told[:3])) == 3
        for prompt, text, end in zip(prompts[:3], told, ends.values(), strict=False):
            alone = list(engine.stream(prompt, GREEDY, variant, base.template.stop_ids))
            assert "".join(chunk.text for chunk in alone) == text
            assert alone[-1].sha256 == end.sha256


def test_batches_wait_neither_for_a_chat_nor_for_each_other(engine, variants, prompt, alone):
    many = engine.stream_batch([prompt] * 20, GREEDY, variants[0], NEVER)
    next(many)
    assert said(engine, prompt, variants[2]) == alone[2]
    ended = list(engine.stream_batch([prompt] * 2, GREEDY, variants[1], NEVER))
    assert [number for number, chunk in ended if chunk.stop] == [0, 1]
    texts = ["", ""]
    for number, chunk in ended:
        texts[number] += chunk.text
    assert texts == [alone[1]] * 2
    many.close()


def test_an_engine_that_is_closed_ends_a_batch_in_words(base, cache_folder, prompt):
    closing = LlamaCppEngine.open(base, cache_folder / "gguf", threads=1)
    many = closing.stream_batch([prompt] * 3, GREEDY, Variant(), NEVER)
    next(many)
    closing.close()
    with pytest.raises(EngineError, match="closed"):
        list(many)


def test_an_adapter_is_unloaded_beside_a_batch_that_used_it(base, cache_folder, variants, prompt):
    engine = LlamaCppEngine.open(base, cache_folder / "gguf", threads=1)
    many = engine.stream_batch([prompt] * 2, GREEDY, variants[1], NEVER)
    told = [next(many)]
    engine.unload(variants[1].folder)
    told += list(many)
    assert [number for number, chunk in told if chunk.stop] == [0, 1]
    engine.close()


def test_more_variants_than_slots_take_turns_in_one_thread_and_all_come_to_an_end(
    base, cache_folder, variants, prompt, alone, monkeypatch
):
    """Keys and values of a larger model leave room for two replies, and Compare advances up to six in one thread."""
    monkeypatch.setattr("chatlab.engines.llamacpp.engine.MEMORY", 0)
    few = LlamaCppEngine.open(base, cache_folder / "gguf", threads=1)
    try:
        many = few.stream_batch([prompt] * 3, GREEDY, variants[0], NEVER)
        next(many)
        assert said_in_turns(few, prompt, variants) == alone, "while the unseen prompts hold one of the two"
    finally:
        few.close()


def test_variants_that_take_turns_at_every_token_say_what_each_says_alone(engine, variants, prompt, alone):
    assert said_in_turns(engine, prompt, variants) == alone


def said_in_turns(engine, prompt, variants):
    streams = [engine.stream(prompt, GREEDY, variant, NEVER) for variant in variants]
    told = [""] * len(variants)
    under_way = set(range(len(variants)))
    while under_way:
        for n in list(under_way):
            chunk = next(streams[n], None)
            if chunk is None:
                under_way.discard(n)
            else:
                told[n] += chunk.text
    return told


def test_variants_in_many_threads_say_what_each_says_alone(engine, variants, prompt, alone):
    told: dict[int, str] = {}
    threads = [
        threading.Thread(target=lambda n=n: told.update({n: said(engine, prompt, variants[n % len(variants)])}))
        for n in range(12)  # more than there are places
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [told[n] for n in range(12)] == [alone[n % len(variants)] for n in range(12)]


def test_what_one_variant_read_is_never_used_for_another(engine, variants, prompt, alone):
    for _ in range(2):  # the second time from what was read the first time
        assert [said(engine, prompt, variant) for variant in variants] == alone


def test_a_remembered_beginning_changes_no_word(engine, variants, prompt, alone):
    for length in (BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK):
        said(engine, prompt[:length], variants[1])
        assert said(engine, prompt, variants[1]) == alone[1]


def test_closing_a_reply_while_its_prompt_is_read_leaves_the_next_one_unharmed(engine, variants, prompt):
    wanted = said(engine, prompt, variants[1])
    for variant in variants:
        reply = engine.stream(prompt[::-1], GREEDY, variant, NEVER)
        assert next(reply).tokens == 0, "a chance to stop comes before the first word"
        reply.close()
    assert said(engine, prompt, variants[1]) == wanted


def test_a_reply_keeps_its_variant_though_its_adapter_leaves_memory_and_disk(engine, variants, prompt, tmp_path):
    folder = tmp_path / "gone"
    shutil.copytree(variants[1].folder, folder)
    variant = Variant(name="gone", folder=folder)
    wanted = said(engine, prompt, variant)
    reply = engine.stream(prompt, GREEDY, variant, NEVER)
    told = "".join(next(reply).text for _ in range(6))
    engine.unload(folder)
    shutil.rmtree(folder)
    assert told + "".join(chunk.text for chunk in reply) == wanted


def test_more_adapters_than_memory_holds_still_all_speak(engine, variants, prompt, alone, monkeypatch):
    monkeypatch.setattr(wardrobe, "MOST", 1)
    streams = [engine.stream(prompt, GREEDY, variant, NEVER) for variant in variants]
    assert ["".join(chunk.text for chunk in stream) for stream in streams] == alone


def test_a_damaged_file_in_the_cache_is_made_again(base, tmp_path, prompt):
    engine = LlamaCppEngine.open(base, tmp_path, threads=1)
    wanted = said(engine, prompt, Variant())
    engine.close()
    file = next(tmp_path.glob("*.gguf"))
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 0xFF
    file.write_bytes(data)
    engine = LlamaCppEngine.open(base, tmp_path, threads=1)
    assert said(engine, prompt, Variant()) == wanted
    engine.close()
    assert kept(file, lambda to: pytest.fail("it is whole again")) == file


def test_a_write_that_fails_leaves_no_half_file(base, tmp_path, monkeypatch):
    from gguf import GGUFWriter

    def full(self) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(GGUFWriter, "write_tensors_to_file", full)
    with pytest.raises(DiskFull, match="space"):
        LlamaCppEngine.open(base, tmp_path, threads=1)
    assert not list(tmp_path.iterdir())


def test_a_closed_engine_says_so(base, cache_folder, prompt, variants):
    engine = LlamaCppEngine.open(base, cache_folder / "gguf", threads=1)
    reply = engine.stream(prompt, GREEDY, variants[1], NEVER)
    next(reply)
    engine.close()
    engine.close()
    with pytest.raises(EngineError, match="closed"):
        next(reply)
    with pytest.raises(EngineError, match="closed"):
        engine.stream(prompt, GREEDY, Variant(), NEVER)


def test_an_adapter_that_only_transformers_takes_speaks_through_it(base, base_folder, cache_folder, prompt, tmp_path):
    variant = Variant(name="dora", folder=make_adapter(base_folder, tmp_path / "dora", 5, use_dora=True))
    engine = open_engine(base, cache_folder, threads=1)
    local = TransformersEngine.open(base, threads=1)
    assert isinstance(engine, FallbackEngine) and engine.name == "llama.cpp"
    assert said(engine, prompt, variant) == said(local, prompt, variant) != said(engine, prompt, Variant())
    engine.close()


def test_a_base_that_only_transformers_takes_is_served_by_it(base_folder, tmp_path):
    from transformers import GPT2Config, GPT2LMHeadModel

    folder = tmp_path / "base"
    GPT2LMHeadModel(GPT2Config(vocab_size=6144, n_embd=32, n_layer=1, n_head=1)).save_pretrained(folder)
    for paper in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(base_folder / paper, folder / paper)
    other = Base.open(folder)
    assert open_engine(other, tmp_path, threads=1).name == "transformers"
    with pytest.raises(EngineUnable, match="gpt2"):
        open_engine(other, tmp_path, threads=1, wanted="llama.cpp")


def test_transformers_can_be_asked_for(base, tmp_path):
    assert open_engine(base, tmp_path, threads=1, wanted="transformers").name == "transformers"
