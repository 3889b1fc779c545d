"""What every engine promises, asked of each of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from chatlab.adapters import Adapters
from chatlab.adapters.manifest import CONFIG, WEIGHTS
from chatlab.engines.base import Engine, ReplyChunk, Sampling, Variant
from chatlab.engines.fake import FakeEngine
from chatlab.engines.fallback import ENGINES
from chatlab.errors import AdapterDamaged, AdapterMissing, PromptTooLong, WrongBase
from chatlab.models.base import Base
from chatlab.records import AdapterCard
from chatlab.system.files import sha256_of
from tests.support.lora import make_adapter

NEVER = frozenset[int]()
SHORT = Sampling(temperature=0.7, max_tokens=12, seed=3)


@pytest.fixture(scope="module")
def base(base_folder: Path) -> Base:
    return Base.open(base_folder)


@pytest.fixture(scope="module", params=["fake", *ENGINES])
def engine(request, base: Base, cache_folder: Path) -> Iterator[Engine]:
    if request.param == "fake":
        opened: Engine = FakeEngine(context=base.context, fingerprint=base.fingerprint)
    else:
        if request.param == "llama.cpp":
            pytest.importorskip("llama_cpp", reason="llama.cpp is not installed")
        opened = ENGINES[request.param](base, cache_folder, 1)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def made_adapters(base_folder: Path, tmp_path_factory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("made")
    return {name: make_adapter(base_folder, root / name, seed) for seed, name in enumerate(("one", "two"))}


@pytest.fixture(scope="module")
def variants(base: Base, made_adapters: dict[str, Path], tmp_path_factory) -> dict[str, Variant]:
    """The base, and two adapters as they are published."""
    shelf = Adapters(tmp_path_factory.mktemp("adapters"))
    for name, source in made_adapters.items():
        shelf.publish(source, AdapterCard(name=name, base=base.fingerprint))
    folders = {name: shelf.open(name, base.fingerprint)[1] for name in made_adapters}
    return {"base": Variant()} | {name: Variant(name=name, folder=folder) for name, folder in folders.items()}


@pytest.fixture(scope="module")
def prompt(base: Base) -> list[int]:
    return list(base.tokenizer("Once upon a time there was", add_special_tokens=False)["input_ids"])


def text_of(chunks: list[ReplyChunk]) -> str:
    return "".join(chunk.text for chunk in chunks)


def test_a_reply_comes_in_pieces_and_only_the_last_says_why_it_stopped(engine, prompt):
    chunks = list(engine.stream(prompt, SHORT, Variant(), NEVER))
    assert len(chunks) > 2 and text_of(chunks)
    assert [chunk.stop for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)
    assert chunks[-1].stop in ("end", "length")
    assert [chunk.tokens for chunk in chunks] == sorted(chunk.tokens for chunk in chunks)


def test_a_budget_is_kept(engine, prompt):
    for budget in (0, 1, 5):
        last = list(engine.stream(prompt, replace(SHORT, max_tokens=budget), Variant(), NEVER))[-1]
        assert (last.tokens, last.stop) == (budget, "length")


def test_the_same_seed_says_the_same_and_another_seed_something_else(engine, prompt):
    said = [
        text_of(list(engine.stream(prompt, replace(SHORT, seed=seed, temperature=1.0), Variant(), NEVER)))
        for seed in (1, 1, 2)
    ]
    assert said[0] == said[1] != said[2]


def test_at_temperature_zero_the_seed_does_not_matter(engine, prompt):
    said = [
        text_of(list(engine.stream(prompt, replace(SHORT, seed=seed, temperature=0.0), Variant(), NEVER)))
        for seed in (1, 2, None)
    ]
    assert len(set(said)) == 1


def test_each_variant_speaks_for_itself_and_proves_it(engine, variants, prompt):
    replies = {name: list(engine.stream(prompt, SHORT, variant, NEVER)) for name, variant in variants.items()}
    assert len({text_of(chunks) for chunks in replies.values()}) == 3
    for name, chunks in replies.items():
        sha256 = sha256_of(variants[name].folder / WEIGHTS) if variants[name].folder else ""
        assert {chunk.sha256 for chunk in chunks} == {sha256}


def test_the_strength_changes_what_an_adapter_says(engine, variants, prompt):
    said = [
        text_of(list(engine.stream(prompt, SHORT, replace(variants["one"], strength=s), NEVER))) for s in (1.0, 0.5)
    ]
    assert said[0] != said[1]


def test_a_reply_keeps_its_variant_though_others_speak_and_its_adapter_is_forgotten(engine, variants, prompt):
    alone = text_of(list(engine.stream(prompt, SHORT, variants["one"], NEVER)))
    growing = engine.stream(prompt, SHORT, variants["one"], NEVER)
    chunks = [next(growing)]
    list(engine.stream(prompt, SHORT, variants["two"], NEVER))
    engine.unload(variants["one"].folder)
    list(engine.stream(prompt, SHORT, Variant(), NEVER))
    assert text_of(chunks + list(growing)) == alone


def test_replies_in_many_threads_are_never_mixed(engine, variants, prompt):
    asked = [
        (replace(variant, strength=strength), seed)
        for variant in variants.values()
        for strength in (1.0, 0.5)
        for seed in (1, 2)
    ]

    def ask(variant: Variant, seed: int) -> tuple[str, str]:
        chunks = list(engine.stream(prompt, replace(SHORT, seed=seed), variant, NEVER))
        return text_of(chunks), chunks[-1].sha256

    alone = [ask(*each) for each in asked]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda each: ask(*each), asked * 2)) == alone * 2


def test_a_closed_reply_ends_and_the_next_one_is_unharmed(engine, prompt):
    whole = text_of(list(engine.stream(prompt, SHORT, Variant(), NEVER)))
    growing = engine.stream(prompt, SHORT, Variant(), NEVER)
    next(growing)
    growing.close()
    assert list(growing) == []
    assert text_of(list(engine.stream(prompt, SHORT, Variant(), NEVER))) == whole


def test_a_reply_may_fill_the_context_and_no_more(engine):
    prompt = [9] * (engine.context - 3)
    assert list(engine.stream(prompt, SHORT, Variant(), NEVER))[-1].tokens == 3
    with pytest.raises(PromptTooLong) as refused:
        list(engine.stream([9] * engine.context, SHORT, Variant(), NEVER))
    assert refused.value.hint


def test_an_adapter_that_is_not_there_is_missing(engine, tmp_path, prompt):
    with pytest.raises(AdapterMissing):
        list(engine.stream(prompt, SHORT, Variant(name="gone", folder=tmp_path / "gone"), NEVER))


def copied(variant: Variant, tmp_path: Path) -> Path:
    folder = tmp_path / "copy"
    folder.mkdir()
    for file in variant.folder.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    return folder


def test_a_changed_byte_in_the_weights_is_noticed_before_the_first_piece(engine, variants, tmp_path, prompt):
    folder = copied(variants["one"], tmp_path)
    data = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    for ask in (
        lambda: engine.load(Variant(name="copy", folder=folder)),
        lambda: next(engine.stream(prompt, SHORT, Variant(name="copy", folder=folder), NEVER)),
    ):
        with pytest.raises(AdapterDamaged):
            ask()


def test_an_adapter_of_another_base_is_refused(engine, made_adapters, tmp_path, prompt):
    shelf = Adapters(tmp_path)
    shelf.publish(made_adapters["one"], AdapterCard(name="foreign", base="0" * 64, base_name="elsewhere"))
    with pytest.raises(WrongBase, match="elsewhere"):
        next(engine.stream(prompt, SHORT, Variant(name="foreign", folder=tmp_path / "foreign"), NEVER))


@pytest.mark.parametrize(
    "change",
    [
        {"target_modules": ["(a+)+$"]},
        {"target_modules": []},
        {"target_modules": None},
        {"peft_type": "IA3"},
        {"peft_type": None},
        {"loftq": {"bits": 4}},
        {"megatron_config": {"a": 1}},
        {"use_bdlora": True},
        {"trainable_token_indices": [1]},
        {"target_parameters": ["x"]},
    ],
)
def test_unsafe_or_unknown_settings_are_refused(engine, made_adapters, tmp_path, prompt, change):
    folder = copied(Variant(folder=made_adapters["one"]), tmp_path)
    config = json.loads((folder / CONFIG).read_text())
    (folder / CONFIG).write_text(json.dumps(config | change))
    with pytest.raises(AdapterDamaged, match="refused"):
        next(engine.stream(prompt, SHORT, Variant(name="odd", folder=folder), NEVER))


@pytest.mark.parametrize(
    "change",
    [
        {"target_modules": "(a+)+$"},
        {"rank_pattern": {"(a+)+$": 4}},
        {"exclude_modules": ".*"},
        {"layers_pattern": "(a+)+$"},
    ],
)
def test_expressions_that_mean_no_matrix_of_it_change_nothing(engine, made_adapters, tmp_path, prompt, change):
    """The names of its weights say which matrices an adapter is on."""
    if isinstance(engine, FakeEngine):
        return  # says what the files' bytes say
    folder = copied(Variant(folder=made_adapters["one"]), tmp_path)
    wanted = list(engine.stream(prompt, SHORT, Variant(name="one", folder=folder), NEVER))
    config = json.loads((folder / CONFIG).read_text())
    (folder / CONFIG).write_text(json.dumps(config | change))
    found = list(engine.stream(prompt, SHORT, Variant(name="odd", folder=folder), NEVER))
    assert "".join(chunk.text for chunk in found) == "".join(chunk.text for chunk in wanted)


def test_files_that_are_replaced_under_the_same_name_are_read_again(engine, made_adapters, tmp_path, prompt):
    folder = copied(Variant(folder=made_adapters["one"]), tmp_path)
    variant = Variant(name="copy", folder=folder)
    first = list(engine.stream(prompt, SHORT, variant, NEVER))
    for file in made_adapters["two"].iterdir():
        (folder / file.name).unlink()
        (folder / file.name).write_bytes(file.read_bytes())
    second = list(engine.stream(prompt, SHORT, variant, NEVER))
    assert second[-1].sha256 == sha256_of(made_adapters["two"] / WEIGHTS) != first[-1].sha256


def test_easing_changes_the_pace_but_not_the_words(engine, prompt):
    said = []
    for on in (True, False):
        engine.yield_cores(on)
        said.append(text_of(list(engine.stream(prompt, replace(SHORT, temperature=0.0), Variant(), NEVER))))
    assert said[0] == said[1]
