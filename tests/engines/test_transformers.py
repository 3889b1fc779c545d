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
from chatlab.engines import build  # noqa: E402
from chatlab.engines.adapter_cache import AdapterCache, own_bytes  # noqa: E402
from chatlab.engines.base import Sampling, Voice  # noqa: E402
from chatlab.engines.build import bytes_of, with_adapter  # noqa: E402
from chatlab.engines.common_prefix import BLOCK  # noqa: E402
from chatlab.engines.detokenize import BROKEN, Detokenizer  # noqa: E402
from chatlab.engines.folder import read_adapter  # noqa: E402
from chatlab.engines.llama import agrees, plain  # noqa: E402
from chatlab.engines.local import LocalEngine  # noqa: E402
from chatlab.engines.network import open_network, twin  # noqa: E402
from chatlab.engines.reading import AnyNetwork, LlamaNetwork  # noqa: E402
from chatlab.errors import AdapterDamaged, EngineError  # noqa: E402
from chatlab.models.base import Base  # noqa: E402
from chatlab.records import AdapterCard  # noqa: E402

NEVER = frozenset[int]()
BASE = Voice()
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
def engine(base: Base, network) -> Iterator[LocalEngine]:
    from chatlab.engines.threads import Threads

    yield LocalEngine(base, AdapterCache(network, base.fingerprint), Threads(1))


@pytest.fixture(scope="module")
def prompt(base: Base) -> list[int]:
    return list(base.tokenizer("Once upon a time there was", add_special_tokens=False)["input_ids"])


def said(engine: LocalEngine, prompt: list[int], sampling: Sampling = GREEDY, voice: Voice = BASE) -> str:
    return "".join(piece.text for piece in engine.stream(prompt, sampling, voice, NEVER))


def numbers(model) -> str:
    sha256 = hashlib.sha256()
    for tensor in model.state_dict().values():
        sha256.update(tensor.contiguous().view(torch.uint8).numpy().tobytes())
    return sha256.hexdigest()


def reference(model, base: Base, prompt: list[int], count: int) -> str:
    """What transformers itself says, reading everything anew for each token."""
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
    voice = Voice(name="one", folder=made_adapters["one"], strength=strength)
    assert said(engine, prompt, voice=voice) == reference(model, base, prompt, 20)


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
    assert said(engine, prompt, voice=Voice(folder=made_adapters["one"], strength=0.0)) == said(engine, prompt)


def test_the_base_is_the_same_to_the_bit_after_every_kind_of_use(engine, network, made_adapters, prompt):
    before = numbers(network)
    for strength in (1.0, 0.5, 2.0):
        for folder in made_adapters.values():
            said(engine, prompt, voice=Voice(folder=folder, strength=strength))
    engine.forget(made_adapters["one"])
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
    monkeypatch.setattr(build, "MERGED", 0)
    beside = with_adapter(network, files, 0.7)
    with torch.inference_mode():
        ids = torch.tensor([prompt])
        assert torch.allclose(merged(ids).logits, beside(ids).logits, atol=1e-4)
    assert own_bytes(beside, network) == pytest.approx(len(files.weights), rel=0.05)
    assert own_bytes(merged, network) < bytes_of(network)


def test_a_twin_shares_every_number_but_no_structure(network):
    other = twin(network)
    assert {p.data_ptr() for p in other.parameters()} == {p.data_ptr() for p in network.parameters()}
    assert not set(map(id, other.modules())) & set(map(id, network.modules()))


def test_only_the_last_used_voices_stay_in_memory(network, base, made_adapters):
    one = AdapterCache(network, base.fingerprint).get(Voice(folder=made_adapters["one"]))
    residents = AdapterCache(network, base.fingerprint, memory=2 * one.bytes)
    voices = [Voice(folder=made_adapters["one"], strength=s) for s in (0.1, 0.2, 0.3)]
    first, second, third = (residents.get(voice) for voice in voices)
    assert residents.get(voices[2]) is third and residents.get(voices[1]) is second
    assert residents.get(voices[0]) is not first


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
            said(engine, prompt, voice=Voice(name=kind, folder=folder))
    (tmp_path / "shape" / WEIGHTS).write_bytes(b"\xff" * 100)
    with pytest.raises(AdapterDamaged):
        said(engine, prompt, voice=Voice(folder=tmp_path / "shape"))


def test_an_end_token_ends_the_reply_and_is_not_shown(engine, base, prompt):
    ids = base.tokenizer(said(engine, prompt), add_special_tokens=False)["input_ids"]
    pieces = list(engine.stream(prompt, GREEDY, Voice(), frozenset({ids[5]})))
    assert pieces[-1].stop == "end" and pieces[-1].tokens <= 5
    assert base.tokenizer.decode([ids[5]]) not in pieces[-1].text


def test_a_prompt_of_no_tokens_and_a_strength_that_is_no_number_are_refused(engine, made_adapters, prompt):
    with pytest.raises(EngineError):
        said(engine, [])
    with pytest.raises(EngineError):
        said(engine, prompt, voice=Voice(folder=made_adapters["one"], strength=float("nan")))


def test_a_closed_engine_says_so(base, network, prompt):
    from chatlab.engines.threads import Threads

    engine = LocalEngine(base, AdapterCache(network, base.fingerprint), Threads(1))
    growing = engine.stream(prompt, GREEDY, Voice(), NEVER)
    next(growing)
    engine.close()
    for ask in (lambda: list(growing), lambda: said(engine, prompt), lambda: engine.prepare(Voice())):
        with pytest.raises(EngineError, match="closed"):
            ask()


def test_the_callers_thread_can_still_train_between_two_pieces(engine, prompt):
    growing = engine.stream(prompt, GREEDY, Voice(), NEVER)
    next(growing)
    weight = torch.ones(2, requires_grad=True)
    (weight * 2).sum().backward()
    assert weight.grad is not None and not torch.is_inference_mode_enabled()


# ---- what a voice remembers of prompts ----


def scores_of(network, prompt: list[int]) -> tuple[int, torch.Tensor]:
    """How much of a prompt was remembered, and the scores after it."""
    reading = network.begin(prompt, len(prompt) + 1)
    remembered = reading.position
    while reading.position < len(prompt):
        scores = reading.read(prompt[reading.position : reading.position + BLOCK])
    return remembered, scores


@given(st.integers(1, 140), st.integers(1, 80), st.integers(0, 140))
@settings(max_examples=15, deadline=None)
def test_a_remembered_prompt_gives_the_same_scores_to_the_bit(network, before, after, shared):
    draw = random.Random(before * 1000 + after)
    earlier = draw.choices(range(5, 5000), k=before)
    later = earlier[:shared] + draw.choices(range(5, 5000), k=after)
    fresh, used = LlamaNetwork(network), LlamaNetwork(network)
    scores_of(used, earlier)
    remembered, scores = scores_of(used, later)
    same = next((n for n, (a, b) in enumerate(zip(earlier, later, strict=False)) if a != b), min(before, len(later)))
    assert remembered == min(same, len(later) - 1) // BLOCK * BLOCK
    assert torch.equal(scores, scores_of(fresh, later)[1])


def test_a_reply_does_not_disturb_what_is_remembered(network, prompt):
    used, long = LlamaNetwork(network), [*prompt] * 30
    reading = used.begin(long, len(long) + 50)
    while reading.position < len(long):
        reading.read(long[reading.position : reading.position + BLOCK])
    for token in range(40):
        reading.read([token + 300])
    assert torch.equal(scores_of(used, long)[1], scores_of(LlamaNetwork(network), long)[1])


def test_the_next_turn_says_the_same_as_in_an_engine_without_memory(engine, base, network, made_adapters, prompt):
    from chatlab.engines.threads import Threads

    turn = [*prompt] * 25
    for voice in (BASE, Voice(folder=made_adapters["one"]), Voice(folder=made_adapters["two"]), BASE):
        for length in (70, 100, 135):
            fresh = LocalEngine(base, AdapterCache(network, base.fingerprint), Threads(1))
            asked = replace(GREEDY, temperature=1.0, seed=length)
            assert said(engine, turn[:length], asked, voice) == said(fresh, turn[:length], asked, voice)


def test_every_token_is_a_chance_to_close_even_if_it_is_no_character(engine, prompt):
    pieces = list(engine.stream(prompt, replace(GREEDY, temperature=5.0, top_p=1.0, max_tokens=60), BASE, NEVER))
    assert [piece.tokens for piece in pieces] == [*range(1, 61), 60]


def test_any_architecture_is_read_when_the_small_llama_is_not_it(tmp_path):
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    sizes = {"n_embd": 32, "n_layer": 2, "n_head": 2, "vocab_size": 300, "n_positions": 256}
    model = GPT2LMHeadModel(GPT2Config(**sizes)).eval()
    ids = random.Random(0).choices(range(300), k=150)
    assert not plain(model)
    _, scores = scores_of(AnyNetwork(model), ids)
    with torch.inference_mode():
        assert torch.allclose(scores, model(torch.tensor([ids])).logits[0, -1], atol=1e-5)


@pytest.mark.parametrize(
    "change",
    [
        {"num_key_value_heads": 2},
        {"tie_word_embeddings": False},
        {"head_dim": 24},
        {"rms_norm_eps": 0.1},
        {"rope_parameters": {"rope_theta": 500.0, "rope_type": "default"}},
    ],
)
def test_the_small_llama_reads_every_shape_of_llama(change):
    model = small_llama(**change)
    assert plain(model) and agrees(model)


@pytest.mark.parametrize(
    "change",
    [
        {"attention_bias": True},
        {"mlp_bias": True},
        {"hidden_act": "gelu"},
        {"dtype": torch.bfloat16},
        {"rope_parameters": {"rope_theta": 500.0, "rope_type": "linear", "factor": 2.0}},
    ],
)
def test_the_small_llama_leaves_other_kinds_to_transformers(change):
    assert not plain(small_llama(**change))


def test_a_llama_that_computes_something_else_is_left_to_transformers():
    model = small_llama()
    model.model.norm.register_forward_hook(lambda module, args, out: out * 1.5)
    assert plain(model) and not agrees(model)


def small_llama(dtype=torch.float32, **change):
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    sizes = {
        "hidden_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "intermediate_size": 96,
        "vocab_size": 300,
        "tie_word_embeddings": True,
    }
    return LlamaForCausalLM(LlamaConfig(**(sizes | change))).eval().to(dtype)


# ---- cores ----


def test_cores_are_shared_out_and_one_is_left_to_training():
    from chatlab.engines.threads import Threads

    threads = Threads(4)
    with threads.reply():
        assert threads.share() == 4
        with threads.reply(), threads.reply():
            assert threads.share() == 1
            threads.ease(True)
        assert threads.share() == 1
        threads.ease(False)
        assert threads.share() == 4


def test_a_reply_that_ends_fails_or_is_closed_gives_its_core_back(base, network, prompt):
    from chatlab.engines.threads import Threads

    threads = Threads(2)
    engine = LocalEngine(base, AdapterCache(network, base.fingerprint), threads)
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

    residents = AdapterCache(network, base.fingerprint)
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(residents.get, [Voice(folder=made_adapters["one"])] * 6))
    assert len({id(resident) for resident in found}) == 1


# ---- text ----

TEXTS = st.text(alphabet=st.characters(codec="utf-8") | st.sampled_from("é漢字🙂🏽👩‍🚀 \n\t<|end|>"), max_size=40)


def spoken(tokenizer, ids: list[int]) -> str:
    speech = Detokenizer(tokenizer.decode)
    pieces = [speech.add(token) for token in ids]
    assert BROKEN not in "".join(pieces)
    return "".join(pieces)


@given(TEXTS)
@settings(max_examples=300, deadline=None)
def test_pieces_add_up_to_the_text_whatever_it_is(base, text):
    ids = base.tokenizer(text, add_special_tokens=False)["input_ids"]
    assert spoken(base.tokenizer, ids) == base.tokenizer.decode(ids).replace(BROKEN, "")


@given(st.integers(0, 2**32))
@settings(max_examples=200, deadline=None)
def test_random_tokens_never_show_a_broken_character(base, seed):
    ids = random.Random(seed).choices(range(len(base.tokenizer)), k=40)
    assert spoken(base.tokenizer, ids) == base.tokenizer.decode(ids).rstrip(BROKEN).replace(BROKEN, "")


def test_role_tokens_of_a_base_that_runs_on_are_plain_text(base):
    special = base.tokenizer.all_special_ids
    assert spoken(base.tokenizer, special) == "".join(base.tokenizer.convert_ids_to_tokens(special))
