"""Networks of other kinds are talked to with whatever attention they have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

import torch
from transformers import AutoModelForCausalLM

from chatlab.engines.base import Sampling, Variant
from chatlab.engines.transformers.engine import TransformersEngine
from chatlab.models.base import Base
from tests.support.tiny_models import llama_folder

KINDS: dict[str, dict[str, Any]] = {
    "gemma2": {"head_dim": 16, "query_pre_attn_scalar": 16, "sliding_window": 8},
    "granite": {"logits_scaling": 4.0, "residual_multiplier": 0.5, "attention_multiplier": 0.1},
    "falcon": {"num_key_value_heads": None},
    "bloom": {"num_key_value_heads": None},
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_network_without_fused_attention_answers_as_transformers_does(
    base_folder: Path, tmp_path: Path, kind: str
) -> None:
    folder = llama_folder(base_folder, tmp_path / kind, model_type=kind, initializer_range=0.3, **KINDS[kind])
    base = Base.open(folder)
    engine = TransformersEngine.open(base, threads=1)
    prompt = list(range(20, 60))
    chunks = list(engine.stream(prompt, Sampling(temperature=0.0, max_tokens=6), Variant(), frozenset()))
    engine.close()
    theirs: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    ids = list(prompt)
    with torch.no_grad():
        for _ in range(6):
            ids.append(int(theirs(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1].argmax()))
    assert "".join(chunk.text for chunk in chunks) == base.tokenizer.decode(ids[40:])
