"""llama.cpp on files made here computes what transformers and peft compute, family by family."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.support.lora import make_adapter

pytest.importorskip("llama_cpp", reason="llama.cpp is not installed")
torch = pytest.importorskip("torch")

from peft import PeftModel  # noqa: E402
from transformers import AutoConfig, AutoModelForCausalLM  # noqa: E402

from chatlab.engines.folder import read_adapter  # noqa: E402
from chatlab.engines.gguf_export.cached import Precision  # noqa: E402
from chatlab.engines.gguf_export.files import write_adapter, write_base  # noqa: E402
from chatlab.engines.llamacpp.runtime import Runtime  # noqa: E402
from chatlab.errors import EngineUnable  # noqa: E402
from chatlab.models.base import Base  # noqa: E402

PAPERS = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")
SIZES: dict[str, Any] = {
    "vocab_size": 6144,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "bos_token_id": 0,
    "eos_token_id": 0,
    "pad_token_id": 4,
}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 10000.0,
    "factor": 4.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "llama": {"tie_word_embeddings": False},
    "llama, tied": {"model_type": "llama", "tie_word_embeddings": True, "num_key_value_heads": 4},
    "llama, stretched": {"model_type": "llama", "rope_parameters": LLAMA3},
    "llama, linear": {
        "model_type": "llama",
        "rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 10000.0},
    },
    "llama, biases": {"model_type": "llama", "attention_bias": True},
    "mistral": {"sliding_window": None, "head_dim": 32},
    "qwen2": {"tie_word_embeddings": True},
    "qwen3": {"head_dim": 32},
    "gemma": {"head_dim": 32, "hidden_activation": "gelu_pytorch_tanh", "hidden_act": "gelu_pytorch_tanh"},
    "gemma3_text": {"head_dim": 32, "num_hidden_layers": 7, "query_pre_attn_scalar": 32, "sliding_window": 16},
    "smollm3": {"num_hidden_layers": 5, "use_cache": False},
    "phi3": {"sliding_window": None, "partial_rotary_factor": 1.0},
}
KINDS: dict[str, dict[str, Any]] = {
    "plain": {"target_modules": ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]},
    "rank-stabilised": {"use_rslora": True},
    "ranks and alphas of their own": {"rank_pattern": {"q_proj": 4}, "alpha_pattern": {"v_proj": 64}},
}
ERRORS = {"gemma": 5e-3, "gemma3_text": 5e-3}
"""Of the scores' own spread; llama.cpp looks this family's activation up in a table of 16-bit numbers."""
IDS = [0, *range(400, 440), 300, 299]


@pytest.fixture(scope="module")
def made(base_folder: Path, tmp_path_factory):
    """A folder with a random model of a family, its weights far from their usual smallness."""
    root = tmp_path_factory.mktemp("families")

    def make(name: str, **change: Any) -> Path:
        folder = root / name.replace(", ", "-").replace("phi3", "phi")  # llama.cpp expects Phi's tokens of that name
        if not folder.exists():
            settings = SIZES | {"model_type": name} | ARCHITECTURES.get(name, {}) | change
            config = AutoConfig.for_model(settings.pop("model_type"), **settings)
            torch.manual_seed(1)
            model = AutoModelForCausalLM.from_config(config).float()
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter.add_(0.1 * torch.randn_like(parameter))
            model.save_pretrained(folder)
            for paper in PAPERS:
                shutil.copy(base_folder / paper, folder / paper)
        return folder

    return make


def theirs(model: Any, ids: list[int]) -> Any:
    with torch.inference_mode():
        return model(torch.tensor([ids])).logits[0]


def ours(runtime: Runtime, ids: list[int], worn: tuple[int, float] | None = None) -> Any:
    """Scores after each token; the first 20 are read as one block, the others one by one."""
    first = runtime.read(ids[:20], 0, 0, worn)
    rest = (runtime.read([token], 0, 20 + n, worn) for n, token in enumerate(ids[20:]))
    return torch.stack([torch.from_numpy(scores) for scores in (first, *rest)])


def opened(base: Base, to: Path, precision: Precision = "f32") -> Runtime:
    write_base(base, to, precision)
    return Runtime(to, 256, 2, 1, 64, exact=True)


def check_close(found: Any, wanted: Any, error: float) -> None:
    assert float((found - wanted).abs().max()) < error * float(wanted.std())
    clear = wanted.topk(2).values.diff().abs().squeeze() > 2 * error * float(wanted.std())
    assert (found.argmax(-1) == wanted.argmax(-1))[clear].all()


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_base_and_adapters_of_a_family_give_the_same_scores(name, made, tmp_path):
    folder = made(name)
    base = Base.open(folder)
    runtime = opened(base, tmp_path / "base.gguf")
    error = ERRORS.get(name, 1e-3)
    plain = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    check_close(ours(runtime, IDS), theirs(plain, IDS)[19:], error)
    for seed, kind in enumerate(KINDS):
        adapter = make_adapter(folder, tmp_path / f"adapter-{seed}", seed, **KINDS[kind])
        write_adapter(base, read_adapter(adapter, None), tmp_path / f"{seed}.gguf")
        worn = (runtime.load(tmp_path / f"{seed}.gguf"), 1.0)
        model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32), adapter)
        wanted = theirs(model.eval(), IDS)[19:]
        assert float((wanted - theirs(plain, IDS)[19:]).abs().max()) > 0.1 * float(wanted.std()), "it says other things"
        check_close(ours(runtime, IDS, worn), wanted, error)
    check_close(ours(runtime, IDS), theirs(plain, IDS)[19:], error)
    runtime.close()


@pytest.mark.parametrize(("precision", "error"), [("f32", 1e-3), ("f16", 0.02), ("bf16", 0.1), ("q8_0", 0.2)])
def test_the_embedded_base_keeps_its_scores_in_every_precision(precision, error, base_folder, tmp_path):
    base = Base.open(base_folder)
    ids = base.tokenizer("Once upon a time there was a fox who lived by the sea, and he was never sad.").input_ids * 3
    runtime = opened(base, tmp_path / "base.gguf", precision)
    model = AutoModelForCausalLM.from_pretrained(base_folder, dtype=torch.float32).eval()
    check_close(ours(runtime, ids), theirs(model, ids)[19:], error)
    runtime.close()


@pytest.mark.parametrize(
    ("name", "change", "why"),
    [
        ("llama", {"mlp_bias": True}, "biases"),
        ("mistral", {"sliding_window": 16}, "last 16 tokens"),
        ("qwen3", {"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4, "factor": 2.0}}, "yarn"),
        ("gemma3_text", {"query_pre_attn_scalar": 8}, "unusual way"),
        ("gpt2", {}, "not used for gpt2"),
    ],
)
def test_what_llama_cpp_would_compute_differently_is_left_to_transformers(name, change, why, base_folder, tmp_path):
    folder = tmp_path / "base"
    shutil.copytree(base_folder, folder)
    config = json.loads((folder / "config.json").read_text()) | {"model_type": name} | change
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(EngineUnable, match=why) as refused:
        write_base(Base.open(folder), tmp_path / "base.gguf")
    assert "Transformers serves it" in refused.value.hint
    assert not (tmp_path / "base.gguf").exists()


@pytest.mark.parametrize("change", [{"use_dora": True}, {"target_modules": ["q_proj", "embed_tokens"]}])
def test_an_adapter_without_a_place_in_llama_cpp_is_left_to_transformers(change, base_folder, tmp_path):
    adapter = make_adapter(base_folder, tmp_path / "adapter", 0, **change)
    with pytest.raises(EngineUnable):
        write_adapter(Base.open(base_folder), read_adapter(adapter, None), tmp_path / "adapter.gguf")
