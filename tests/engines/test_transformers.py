"""The local engine on a real base: exact words, whole characters, and a base that never changes."""

from __future__ import annotations

import contextlib
import hashlib
import json
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.lora import make_adapter

torch = pytest.importorskip("torch")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from chatlab.adapters import Adapters  # noqa: E402
from chatlab.adapters.manifest import CONFIG, WEIGHTS  # noqa: E402
from chatlab.engines.base import (  # noqa: E402
    BLOCK,
    Sampling,
    Variant,
)
from chatlab.engines.folder import read_adapter  # noqa: E402
from chatlab.engines.transformers import merge  # noqa: E402
from chatlab.engines.transformers.decode import CausalModel  # noqa: E402
from chatlab.engines.transformers.engine import TransformersEngine  # noqa: E402
from chatlab.engines.transformers.merge import bytes_of, with_adapter  # noqa: E402
from chatlab.engines.transformers.network import open_network, share_weights  # noqa: E402
from chatlab.engines.transformers.variant_cache import VariantCache, own_bytes  # noqa: E402
from chatlab.errors import AdapterDamaged, EngineError  # noqa: E402
from chatlab.models.base import Base  # noqa: E402
from chatlab.records import AdapterCard  # noqa: E402

NEVER = frozenset[int]()
BASE = Variant()
GREEDY = Sampling(max_tokens=20, temperature=0.0, repetition_penalty=1.0)


@pytest.fixture(scope="module")
def base(base_folder: Path) -> Base:
    return Base.open(base_folder)


@pytest.fixture(scope="module")
def network(base: Base):
    torch.set_num_threads(1)
    return open_network(base.folder, base.parameters)


@pytest.fixture(scope="module")
def made_adapters(base_folder: Path, tmp_path_factory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("made")
    return {name: make_adapter(base_folder, root / name, seed) for seed, name in enumerate(("one", "two"))}


@pytest.fixture
def engine(base: Base, network) -> Iterator[TransformersEngine]:
    from chatlab.engines.threads import Threads

    yield TransformersEngine(base, VariantCache(network, base.fingerprint), Threads(1))


@pytest.fixture(scope="module")
def prompt(base: Base) -> list[int]:
    return list(base.tokenizer("Once upon a time there was", add_special_tokens=False)["input_ids"])


def said(engine: TransformersEngine, prompt: list[int], sampling: Sampling = GREEDY, variant: Variant = BASE) -> str:
    return "".join(chunk.text for chunk in engine.stream(prompt, sampling, variant, NEVER))


def numbers(model) -> str:
    sha256 = hashlib.sha256()
    for tensor in model.state_dict().values():
        sha256.update(tensor.contiguous().view(torch.uint8).numpy().tobytes())
    return sha256.hexdigest()


def reference(model, base: Base, prompt: list[int], count: int) -> str:
    """What transformers itself says, session everything anew for each token."""
    ids = list(prompt)
    with torch.inference_mode():
        for _ in range(count):
            ids.append(int(model(torch.tensor([ids])).logits[0, -1].argmax()))
    return base.tokenizer.decode(ids[len(prompt) :])


def test_the_base_says_what_transformers_says(engine, network, base, prompt):
    assert said(engine, prompt) == reference(network, base, prompt, 20)


def test_a_long_prompt_read_in_blocks_is_the_same_prompt(engine, network, base, prompt):
    long = [*prompt] * 30
    assert len(long) > 2 * BLOCK
    assert said(engine, long, replace(GREEDY, max_tokens=5)) == reference(network, base, long, 5)


@pytest.mark.parametrize("strength", [1.0, 0.3, -0.5])
def test_an_adapter_says_what_peft_says(engine, base, base_folder, made_adapters, prompt, strength):
    from peft import PeftModel
    from peft.tuners.lora import LoraLayer

    model = PeftModel.from_pretrained(open_network(base_folder, base.parameters), made_adapters["one"]).eval()
    for layer in model.modules():
        if isinstance(layer, LoraLayer):
            layer.scale_layer(strength)
    variant = Variant(name="one", folder=made_adapters["one"], strength=strength)
    assert said(engine, prompt, variant=variant) == reference(model, base, prompt, 20)


def test_any_peft_program_loads_a_published_folder(base, network, base_folder, made_adapters, prompt, tmp_path):
    from huggingface_hub import ModelCard
    from peft import PeftModel

    papers = AdapterCard(name="one", base=base.fingerprint, base_name='a "base": x')
    Adapters(tmp_path).publish(made_adapters["one"], papers)
    theirs = PeftModel.from_pretrained(open_network(base_folder, base.parameters), tmp_path / "one").eval()
    ours = with_adapter(network, read_adapter(tmp_path / "one", base.fingerprint), 1.0)
    with torch.inference_mode():
        assert torch.allclose(ours(torch.tensor([prompt])).logits, theirs(torch.tensor([prompt])).logits, atol=2e-4)
    card = ModelCard.load(tmp_path / "one" / "README.md")
    assert (card.data.base_model, card.data.library_name) == ('a "base": x', "peft")


def test_at_strength_zero_an_adapter_says_what_the_base_says(engine, made_adapters, prompt):
    assert said(engine, prompt, variant=Variant(folder=made_adapters["one"], strength=0.0)) == said(engine, prompt)


def test_the_base_is_the_same_to_the_bit_after_every_kind_of_use(engine, network, made_adapters, prompt):
    before = numbers(network)
    for strength in (1.0, 0.5, 2.0):
        for folder in made_adapters.values():
            said(engine, prompt, variant=Variant(folder=folder, strength=strength))
    engine.unload(made_adapters["one"])
    assert numbers(network) == before


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"use_rslora": True},
        {"target_modules": "all-linear"},
        {"alpha_pattern": {"q_proj": 4}},
        {"target_modules": ["lm_head", "q_proj"]},
        {"target_modules": ["embed_tokens", "v_proj"]},
        {"use_dora": True},
        {"modules_to_save": ["norm"]},
    ],
)
def test_every_kind_of_lora_says_what_peft_says(change, network, base, base_folder, prompt, tmp_path):
    from peft import PeftModel

    folder = make_adapter(base_folder, tmp_path / "kind", seed=5, **change)
    theirs = PeftModel.from_pretrained(open_network(base_folder, base.parameters), folder).eval()
    before = numbers(network)
    ours = with_adapter(network, read_adapter(folder, None), 1.0)
    with torch.inference_mode():
        ids = torch.tensor([prompt])
        assert torch.allclose(ours(ids).logits, theirs(ids).logits, atol=2e-4)
    assert numbers(network) == before


def test_a_large_base_is_shared_whole_and_says_the_same(network, base, made_adapters, prompt, monkeypatch):
    files = read_adapter(made_adapters["one"], None)
    merged = with_adapter(network, files, 0.7)
    monkeypatch.setattr(merge, "MERGED", 0)
    beside = with_adapter(network, files, 0.7)
    with torch.inference_mode():
        ids = torch.tensor([prompt])
        assert torch.allclose(merged(ids).logits, beside(ids).logits, atol=1e-4)
    assert own_bytes(beside, network) == pytest.approx(len(files.weights), rel=0.05)
    assert own_bytes(merged, network) < bytes_of(network)


def test_a_twin_shares_every_number_but_no_structure(network):
    other = share_weights(network)
    assert {p.data_ptr() for p in other.parameters()} == {p.data_ptr() for p in network.parameters()}
    assert not set(map(id, other.modules())) & set(map(id, network.modules()))


def test_only_the_last_used_variants_stay_in_memory(network, base, made_adapters):
    one = VariantCache(network, base.fingerprint).get(Variant(folder=made_adapters["one"]))
    cache = VariantCache(network, base.fingerprint, memory=2 * one.bytes)
    variants = [Variant(folder=made_adapters["one"], strength=s) for s in (0.1, 0.2, 0.3)]
    first, second, third = (cache.get(variant) for variant in variants)
    assert cache.get(variants[2]) is third and cache.get(variants[1]) is second
    assert cache.get(variants[0]) is not first


def test_an_adapter_whose_shapes_do_not_fit_is_damaged_and_not_a_bug(engine, made_adapters, prompt, tmp_path):
    from safetensors.torch import load_file, save_file

    tensors = load_file(made_adapters["one"] / WEIGHTS)
    name = next(iter(tensors))
    spoilt = {
        "shape": tensors | {name: tensors[name][:, :-1].contiguous()},
        "missing": {key: value for key, value in tensors.items() if key != name},
        "unexpected": tensors | {"base_model.model.model.layers.99.self_attn.q_proj.lora_A.weight": tensors[name] + 0},
        "nan": tensors | {name: tensors[name] * float("nan")},
    }
    for kind, wrong in spoilt.items():
        folder = tmp_path / kind
        folder.mkdir()
        (folder / CONFIG).write_bytes((made_adapters["one"] / CONFIG).read_bytes())
        save_file(wrong, folder / WEIGHTS)
        with pytest.raises(AdapterDamaged, match=kind):
            said(engine, prompt, variant=Variant(name=kind, folder=folder))
    (tmp_path / "shape" / WEIGHTS).write_bytes(b"\xff" * 100)
    with pytest.raises(AdapterDamaged):
        said(engine, prompt, variant=Variant(folder=tmp_path / "shape"))


def test_an_end_token_ends_the_reply_and_is_not_shown(engine, base, prompt):
    ids = base.tokenizer(said(engine, prompt), add_special_tokens=False)["input_ids"]
    chunks = list(engine.stream(prompt, GREEDY, Variant(), frozenset({ids[5]})))
    assert chunks[-1].stop == "end" and chunks[-1].tokens <= 5
    assert base.tokenizer.decode([ids[5]]) not in chunks[-1].text


def test_a_prompt_of_no_tokens_and_a_strength_that_is_no_number_are_refused(engine, made_adapters, prompt):
    with pytest.raises(EngineError):
        said(engine, [])
    with pytest.raises(EngineError):
        said(engine, prompt, variant=Variant(folder=made_adapters["one"], strength=float("nan")))


def test_a_closed_engine_says_so(base, network, prompt):
    from chatlab.engines.threads import Threads

    engine = TransformersEngine(base, VariantCache(network, base.fingerprint), Threads(1))
    growing = engine.stream(prompt, GREEDY, Variant(), NEVER)
    next(growing)
    engine.close()
    for ask in (lambda: list(growing), lambda: said(engine, prompt), lambda: engine.load(Variant())):
        with pytest.raises(EngineError, match="closed"):
            ask()


def test_the_callers_thread_can_still_train_between_two_chunks(engine, prompt):
    growing = engine.stream(prompt, GREEDY, Variant(), NEVER)
    next(growing)
    weight = torch.ones(2, requires_grad=True)
    (weight * 2).sum().backward()
    assert weight.grad is not None and not torch.is_inference_mode_enabled()


# ---- the prefix cache ----


def logits_of(model, prompt: list[int]) -> tuple[int, torch.Tensor]:
    """How much of a prompt was remembered, and the logits after it."""
    session = model.start(prompt)
    remembered = session.position
    while session.position < len(prompt):
        logits = session.read(prompt[session.position : session.position + BLOCK])
    return remembered, logits


@given(st.integers(1, 140), st.integers(1, 80), st.integers(0, 140))
@settings(max_examples=15, deadline=None)
def test_a_remembered_prompt_gives_the_same_logits_to_the_bit(network, before, after, shared):
    rng = random.Random(before * 1000 + after)
    earlier = rng.choices(range(5, 5000), k=before)
    later = earlier[:shared] + rng.choices(range(5, 5000), k=after)
    fresh, used = CausalModel(network), CausalModel(network)
    logits_of(used, earlier)
    remembered, logits = logits_of(used, later)
    same = next((n for n, (a, b) in enumerate(zip(earlier, later, strict=False)) if a != b), min(before, len(later)))
    assert remembered == min(same, len(later) - 1) // BLOCK * BLOCK
    assert torch.equal(logits, logits_of(fresh, later)[1])


def test_a_reply_does_not_disturb_what_is_remembered(network, prompt):
    used, long = CausalModel(network), [*prompt] * 30
    session = used.start(long)
    while session.position < len(long):
        session.read(long[session.position : session.position + BLOCK])
    for token in range(40):
        session.read([token + 300])
    assert torch.equal(logits_of(used, long)[1], logits_of(CausalModel(network), long)[1])


def test_the_next_turn_says_the_same_as_in_an_engine_without_memory(engine, base, network, made_adapters, prompt):
    from chatlab.engines.threads import Threads

    turn = [*prompt] * 25
    for variant in (BASE, Variant(folder=made_adapters["one"]), Variant(folder=made_adapters["two"]), BASE):
        for length in (70, 100, 135):
            fresh = TransformersEngine(base, VariantCache(network, base.fingerprint), Threads(1))
            asked = replace(GREEDY, temperature=1.0, seed=length)
            assert said(engine, turn[:length], asked, variant) == said(fresh, turn[:length], asked, variant)


def test_every_token_is_a_chance_to_close_even_if_it_is_no_character(engine, prompt):
    chunks = list(engine.stream(prompt, replace(GREEDY, temperature=5.0, top_p=1.0, max_tokens=60), BASE, NEVER))
    assert [chunk.tokens for chunk in chunks] == [*range(1, 61), 60]


# ---- cores ----


def test_cores_are_shared_out_and_one_is_left_to_training():
    from chatlab.engines.threads import Threads

    threads = Threads(4)
    with threads.reply():
        assert threads.share() == 4
        with threads.reply(), threads.reply():
            assert threads.share() == 1
            threads.yield_cores(True)
        assert threads.share() == 1
        threads.yield_cores(False)
        assert threads.share() == 4


def test_a_reply_that_ends_fails_or_is_closed_gives_its_core_back(base, network, prompt):
    from chatlab.engines.threads import Threads

    threads = Threads(2)
    engine = TransformersEngine(base, VariantCache(network, base.fingerprint), threads)
    growing = [engine.stream(prompt, GREEDY, BASE, NEVER) for _ in range(3)]
    for each in growing:
        next(each)
    with threads.reply():
        growing[0].close()
        list(growing[1])
        assert threads.share() == 1
        engine.close()
        with pytest.raises(EngineError):
            list(growing[2])
        assert threads.share() == 2


@given(
    st.dictionaries(
        st.sampled_from(
            [
                "r",
                "lora_alpha",
                "target_modules",
                "use_rslora",
                "bias",
                "rank_pattern",
                "modules_to_save",
                "layers_to_transform",
                "peft_type",
                "exclude_modules",
                "use_dora",
            ]
        ),
        st.none()
        | st.booleans()
        | st.integers(-3, 10**9)
        | st.floats()
        | st.text(max_size=3)
        | st.lists(st.text(max_size=3) | st.integers(), max_size=3)
        | st.dictionaries(st.text(max_size=3), st.integers()),
        min_size=1,
        max_size=3,
    )
)
@settings(max_examples=40, deadline=None)
def test_settings_of_an_adapter_that_make_no_sense_are_damage_and_never_a_bug(
    made_adapters, tmp_path_factory, network, change
):
    source, folder = made_adapters["one"], tmp_path_factory.mktemp("odd")
    (folder / WEIGHTS).write_bytes((source / WEIGHTS).read_bytes())
    (folder / CONFIG).write_text(json.dumps(json.loads((source / CONFIG).read_text()) | change))
    with contextlib.suppress(AdapterDamaged):
        with_adapter(network, read_adapter(folder, None), 1.0)


def test_an_adapter_is_read_once_though_many_ask_at_once(base, network, made_adapters):
    from concurrent.futures import ThreadPoolExecutor

    cache = VariantCache(network, base.fingerprint)
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(cache.get, [Variant(folder=made_adapters["one"])] * 6))
    assert len({id(one) for one in found}) == 1
