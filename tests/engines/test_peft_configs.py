"""What other programs write into adapter_config.json: computed as peft computes it, or refused in words."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.lora import make_adapter

torch = pytest.importorskip("torch")

from chatlab.adapters.manifest import CONFIG  # noqa: E402
from chatlab.engines.folder import read_adapter  # noqa: E402
from chatlab.engines.gguf_export.files import write_adapter  # noqa: E402
from chatlab.engines.transformers.merge import with_adapter  # noqa: E402
from chatlab.engines.transformers.network import open_network  # noqa: E402
from chatlab.errors import AdapterDamaged  # noqa: E402
from chatlab.models.base import Base  # noqa: E402

IDS = torch.tensor([[5, 80, 300, 41, 7, 1200, 9, 64]])
UNSLOTH = (
    r"(?:.*?(?:text|language).*?(?:attn|mlp).*?(?:q_proj|v_proj).*?)"
    r"|(?:\bmodel\.layers\.[\d]{1,}\.self_attn\.(?:q_proj|v_proj))"
)
EXPRESSIONS = {
    "targets as Unsloth writes them": {"target_modules": UNSLOTH},
    "targets of some layers": {"target_modules": r".*\.[01]\.(self_attn|mlp)\.(q_proj|up_proj)"},
    "targets that leave some out": {"target_modules": ["q_proj", "v_proj"], "exclude_modules": r".*\.0\..*"},
    "ranks": {"target_modules": ["q_proj", "up_proj"], "rank_pattern": {r".*layers\.0\..*q_proj": 2, "up_proj": 5}},
    "ranks from the beginning": {"rank_pattern": {r"^model\.layers\.1\.self_attn\.q_proj": 3}},
    "alphas": {"alpha_pattern": {r"layers\.(0|2)\.self_attn\.[qv]_proj": 3, "gate_proj": 40}, "use_rslora": True},
    "layers by name": {"target_modules": ["q_proj"], "layers_to_transform": [1], "layers_pattern": "layers"},
    "one layer by number": {"target_modules": ["v_proj"], "layers_to_transform": 0},
}


@pytest.fixture(scope="module")
def base(base_folder: Path) -> Base:
    return Base.open(base_folder)


@pytest.fixture(scope="module")
def network(base: Base):
    torch.set_num_threads(1)
    return open_network(base.folder, base.parameters, torch.float32)


def by_peft(base_folder: Path, adapter: Path) -> torch.Tensor:
    """Logits as peft's own loading has them."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base_folder, dtype=torch.float32)
    with torch.inference_mode():
        return PeftModel.from_pretrained(model, adapter)(IDS).logits


def by_us(network, adapter: Path, merge: bool = True) -> torch.Tensor:
    with torch.inference_mode():
        return with_adapter(network, read_adapter(adapter, None), 1.0, merge)(IDS).logits


def rewritten(adapter: Path, **changes: object) -> Path:
    """With other settings in its config."""
    config = json.loads((adapter / CONFIG).read_text(encoding="utf-8"))
    (adapter / CONFIG).write_text(json.dumps(config | changes), encoding="utf-8")
    return adapter


@pytest.mark.parametrize("config", EXPRESSIONS.values(), ids=EXPRESSIONS)
def test_expressions_are_computed_as_peft_computes_them(base, network, base_folder, tmp_path, config):
    adapter = make_adapter(base_folder, tmp_path / "made", 1, **config)
    wanted = by_peft(base_folder, adapter)
    for merge in (True, False):
        assert torch.allclose(by_us(network, adapter, merge), wanted, atol=1e-3), merge
    with torch.inference_mode():
        assert not torch.allclose(network(IDS).logits, wanted, atol=0.02)
    write_adapter(base, read_adapter(adapter, None), tmp_path / "made.gguf")


def test_an_expression_made_to_never_end_ends(base_folder, network, tmp_path, monkeypatch):
    monkeypatch.setattr("chatlab.engines.adapter_config.PATIENCE", 0.2)
    adapter = make_adapter(base_folder, tmp_path / "made", 1)
    wanted = by_us(network, adapter)
    rewritten(adapter, target_modules=r"(?:(?:.|\w)+)+[!?]")  # not run at all
    assert torch.equal(by_us(network, adapter), wanted)
    for pattern in ("rank_pattern", "alpha_pattern"):
        rewritten(adapter, **{"rank_pattern": {}, "alpha_pattern": {}, pattern: {r"(?:(?:.|\w)+)+[!?]": 8}})
        with pytest.raises(AdapterDamaged, match="take too long"):
            read_adapter(adapter, None).checked()
    with pytest.raises(AdapterDamaged, match="cannot be read"):
        read_adapter(rewritten(adapter, rank_pattern={"q_proj)(": 8}, alpha_pattern={}), None).checked()


@pytest.mark.parametrize("init", ["pissa_niter_16", "corda", "loftq", "lora_ga", "PISSA-like", 7])
def test_what_was_trained_on_another_base_is_refused_in_words(base_folder, tmp_path, init):
    adapter = rewritten(make_adapter(base_folder, tmp_path / "made", 1), init_lora_weights=init)
    with pytest.raises(AdapterDamaged, match=r"trained on a base that was changed first.*Save it once more"):
        read_adapter(adapter, None)


@pytest.mark.parametrize("init", ["pissa", "olora", "OLoRA"])
def test_what_is_taken_out_of_the_base_is_never_used_as_if_it_were_not(base_folder, tmp_path, init):
    adapter = rewritten(make_adapter(base_folder, tmp_path / "made", 1), init_lora_weights=init)
    with pytest.raises(AdapterDamaged, match="no plain LoRA") as refused:
        read_adapter(adapter, None)
    assert "Bring it" in refused.value.hint


@pytest.mark.parametrize("init", [True, False, None, "gaussian", "orthogonal", "eva"])
def test_how_its_first_numbers_were_drawn_does_not_matter(base_folder, network, tmp_path, init):
    adapter = make_adapter(base_folder, tmp_path / "made", 1)
    wanted = by_us(network, adapter)
    assert torch.equal(by_us(network, rewritten(adapter, init_lora_weights=init)), wanted)
