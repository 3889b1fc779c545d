"""Every family of networks: trained as transformers computes it, in both precisions, or refused with the reason."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

import safetensors.torch
import torch
from accelerate import Accelerator
from peft import PeftModel
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from chatlab.errors import BaseRefused
from chatlab.models.trainable import OWN_ATTENTION, check_trainable
from chatlab.records import TrainSettings
from chatlab.training.data import IGNORED, Example
from chatlab.training.fast.decoder import FAMILIES as FAST
from chatlab.training.fast.decoder import FastDecoder
from chatlab.training.loop import compute_gradients, train
from chatlab.training.loss import logits_of
from chatlab.training.model import LoraModel
from chatlab.training.packing import collate
from chatlab.training.sft import SFTLoss

SETTINGS = TrainSettings(learning_rate=1e-2, rank=4, epochs=10, batch_size=2, kl_weight=0.0, dropout=0.0, seed=1)
SIZES = {
    "vocab_size": 90,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 512,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "initializer_range": 0.3,
}
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {},
    "mistral": {"sliding_window": 32},
    "qwen2": {},
    "qwen3": {},
    "gemma": {"hidden_activation": "gelu_pytorch_tanh"},
    "gemma3_text": {"sliding_window": 32, "layer_types": ["sliding_attention", "full_attention"]},
    "smollm3": {"no_rope_layers": [1, 0]},
    "phi3": {},
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4},
    "gpt_neox": {},
    "granite": {"logits_scaling": 4.0, "residual_multiplier": 0.5, "attention_multiplier": 0.1},
    "cohere": {},
    "olmo2": {},
    "starcoder2": {"sliding_window": 32},
    "opt": {"ffn_dim": 48, "word_embed_proj_dim": 32},
    "exaone4": {"sliding_window": 32, "layer_types": ["sliding_attention", "full_attention"]},
}


def network(kind: str, folder: Path, **more: Any) -> Path:
    torch.manual_seed(0)
    sizes = {**SIZES, **FAMILIES.get(kind, {}), **more}
    AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **sizes)).save_pretrained(folder)
    return folder


def rows(length: int = 9) -> list[Example]:
    starts = (3, 20)
    return [
        Example(
            demonstration=n,
            ids=tuple(3 + (n + i) % 80 for i in range(length)),
            labels=(IGNORED, *(3 + (n + i) % 80 for i in range(1, length))),
        )
        for n in starts
    ]


@pytest.mark.parametrize("bf16", [False, True], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("kind", FAMILIES)
def test_a_family_is_taken_and_learns(kind: str, bf16: bool, tmp_path: Path) -> None:
    model = LoraModel(network(kind, tmp_path), SETTINGS, Accelerator(cpu=True), bf16=bf16)
    steps = list(train(model, rows(), SETTINGS, SFTLoss(SETTINGS), lambda *_: {}))
    assert steps[-1].loss < steps[0].loss - 0.05


@pytest.mark.parametrize("layers", [1.0, 0.5])
@pytest.mark.parametrize("shared", [0, 12])
@pytest.mark.parametrize("kind", [kind for kind in FAMILIES if kind in FAST])
def test_what_is_written_out_finds_the_gradient_that_autograd_finds(
    kind: str, shared: int, layers: float, tmp_path: Path
) -> None:
    """In transformers' own network with peft's own layers, row by row: heads, norms, windows, biases, prefix."""
    folder = network(kind, tmp_path, **({"attention_bias": True} if kind == "llama" else {}))
    model = LoraModel(folder, replace(SETTINGS, layers=layers), Accelerator(cpu=True), bf16=False)
    assert isinstance(model.forward, FastDecoder) and len(model.forward.layers) == 2 * layers
    model.flat.data.add_(0.05 * torch.randn(model.flat.shape, generator=torch.Generator().manual_seed(1)))
    model.sync_weights()
    examples = rows(50) if not shared else [with_prefix(row, shared) for row in rows(50)]
    assert model.flat.grad is not None
    loss = compute_gradients(model, SFTLoss(SETTINGS).step(model, examples, 0))["loss"]
    found = model.flat.grad.clone()
    model.save(tmp_path / "adapter", "a base")
    plain = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    peft = PeftModel.from_pretrained(plain, tmp_path / "adapter", is_trainable=True)
    labels = sum(row.num_labels for row in examples)
    theirs = sum(
        peft(input_ids=torch.tensor([row.ids]), labels=torch.tensor([row.labels])).loss * row.num_labels / labels
        for row in examples
    )
    parameters = [p for p in peft.parameters() if p.requires_grad]
    wanted = torch.cat([grad.flatten() for grad in torch.autograd.grad(theirs, parameters)])
    assert loss == pytest.approx(theirs.item(), abs=1e-4)
    assert (found - wanted).norm() < 1e-4 * wanted.norm()


def with_prefix(row: Example, count: int) -> Example:
    return replace(row, ids=tuple(range(40, 40 + count)) + row.ids, labels=(IGNORED,) * count + row.ids)


@pytest.mark.parametrize("kind", ["llama", "gpt2", "phi3"])
def test_an_adapter_on_the_upper_layers_leaves_the_lower_ones_alone(kind: str, tmp_path: Path) -> None:
    settings = replace(SETTINGS, layers=0.5)
    model = LoraModel(network(kind, tmp_path), settings, Accelerator(cpu=True), bf16=False)
    steps = list(train(model, rows(), settings, SFTLoss(settings), lambda *_: {}))
    assert steps[-1].loss < steps[0].loss - 0.05
    model.save(tmp_path / "adapter", "a base")
    names = safetensors.torch.load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    assert names and all(".1." in name for name in names)


def test_what_the_lower_layers_give_does_not_depend_on_what_else_is_read(tmp_path: Path) -> None:
    """So that a run that goes on, which reads other texts first, comes to the same adapter, to the bit."""
    folder, settings = network("llama", tmp_path), replace(SETTINGS, layers=0.5)
    alone, among = (LoraModel(folder, settings, Accelerator(cpu=True), bf16=False) for _ in range(2))
    first, second = (with_prefix(row, 12) for row in rows(50))
    found = alone.hidden(collate([second]))
    together = collate([first, second])
    span = together.spans[-1]
    among.hidden(together)
    assert torch.equal(among.hidden(collate([second])), found)
    assert isinstance(among.forward, FastDecoder)
    given = among.forward.frozen.hidden(together)[span.start : span.start + span.width]
    assert torch.equal(given, among.forward.frozen.hidden(collate([second]))[span.prefix :])


def test_more_texts_than_are_kept_go_around_and_some_are_still_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = LoraModel(network("llama", tmp_path), replace(SETTINGS, layers=0.5), Accelerator(cpu=True), bf16=False)
    assert isinstance(model.forward, FastDecoder)
    frozen = model.forward.frozen
    texts = [replace(rows(50)[0], ids=tuple(3 + (n * i) % 80 for i in range(50))) for n in range(1, 41)]
    monkeypatch.setattr("chatlab.training.fast.frozen.KEPT_BYTES", 20 * 50 * 32 * 4)
    computed = []
    compute = frozen._compute
    monkeypatch.setattr(frozen, "_compute", lambda text: computed.append(text) or compute(text))
    wanted = [frozen.hidden(collate([text])) for text in texts]
    for _ in range(4):
        assert all(torch.equal(frozen.hidden(collate([text])), own) for text, own in zip(texts, wanted, strict=True))
    assert 40 < len(computed) < 190 and sum(t.nbytes for t in frozen._kept.values()) <= 20 * 50 * 32 * 4


@pytest.mark.parametrize("length", [100, 300])
@pytest.mark.parametrize("kind", [kind for kind, more in FAMILIES.items() if "sliding_window" in more])
def test_a_text_longer_than_the_window_is_computed_as_transformers_does(kind: str, length: int, tmp_path: Path) -> None:
    folder = network(kind, tmp_path)
    model = LoraModel(folder, SETTINGS, Accelerator(cpu=True), bf16=False)
    theirs = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    row = rows(length)[0]
    with torch.no_grad():
        mine = logits_of(model.hidden(collate([row])), model.head)
        wanted = theirs(input_ids=torch.tensor([row.ids]), use_cache=False).logits[0].float()
    assert (mine - wanted).abs().mean() < 1e-3 * wanted.std()


@pytest.mark.parametrize(
    ("config", "tensors", "why"),
    [
        ({"model_type": "falcon"}, [], "falcon networks compute attention"),
        ({"model_type": "gemma2", "final_logit_softcapping": 30.0}, [], "scores are capped"),
        ({"model_type": "phi"}, ["lm_head.weight", "lm_head.bias"], "output has a bias"),
    ],
)
def test_what_cannot_be_trained_says_why_and_what_can(config: dict[str, Any], tensors: list[str], why: str) -> None:
    with pytest.raises(BaseRefused, match=why) as refused:
        check_trainable(config, tensors)
    assert "Qwen" in refused.value.hint


def test_those_with_an_attention_of_their_own_are_known_before_torch_is_asked() -> None:
    import transformers

    own = set()
    for kind, names in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.items():
        model = getattr(transformers, names if isinstance(names, str) else names[0], None)
        if model is not None and not getattr(model, "_supports_attention_backend", False):
            own.add(kind)
    assert own & {"llama", "qwen3"} == set() and "falcon" in own
    assert OWN_ATTENTION & set(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES) <= own, "these can be trained by now"


def test_a_network_that_caps_what_nobody_named_is_refused(tmp_path: Path) -> None:
    folder = network("gemma2", tmp_path, final_logit_softcapping=0.01)
    with pytest.raises(BaseRefused):
        LoraModel(folder, replace(SETTINGS, epochs=1), Accelerator(cpu=True), bf16=False)
