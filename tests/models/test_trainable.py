"""What can be trained is known when a base is opened, for every kind of network that transformers has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from chatlab.errors import BaseRefused
from chatlab.models.trainable import TRAINED, check_trainable

PAGE = Path(__file__).resolve().parents[2] / "docs" / "families.md"


def rows() -> dict[str, tuple[str, str]]:
    lines = [line.strip("| ").split(" | ") for line in PAGE.read_text(encoding="utf-8").split("\n") if "| " in line]
    return {kind: (chat, train) for kind, chat, train in lines[1:]}


def test_the_page_has_every_network_and_says_what_is_said_when_one_is_opened() -> None:
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    found = rows()
    assert set(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES) == set(found), "run scripts/families.py"
    assert not [kind for kind, (_, train) in found.items() if not train.startswith(("yes", "no: "))]
    assert {kind for kind, (_, train) in found.items() if train.startswith("yes")} <= TRAINED


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ({"model_type": "gemma2"}, "scores are capped"),  # what its config leaves out is on
        ({"model_type": "gemma2", "final_logit_softcapping": None, "attn_logit_softcapping": None}, ""),
        ({"model_type": "granite", "logits_scaling": 4.0}, ""),
        ({"model_type": "bert"}, "read in both directions"),
        ({"model_type": "deepseek_v3", "kv_lora_rank": 512}, "different widths"),
        ({"model_type": "phimoe"}, "chosen by a layer"),
        ({"model_type": "nemotron"}, "which tokens belong to one text"),
        ({"model_type": "doge"}, "a mask of its own"),
        ({"model_type": "granite_swa", "sliding_window": 128}, "has sinks"),
        ({"model_type": "dots1", "sliding_window": 32, "layer_types": ["sliding_attention"]}, ""),
        ({"model_type": "mistral", "sliding_window": 32}, ""),
        ({"model_type": "olmo3", "sliding_window": 32, "layer_types": ["sliding_attention"]}, ""),
        ({"model_type": "qwen2_moe", "sliding_window": 32, "use_sliding_window": True}, "its window"),
        ({"model_type": "qwen2", "sliding_window": 32}, ""),
        ({"model_type": "smollm3", "sliding_window": 32, "layer_types": ["sliding_attention"]}, "its window"),
        ({"model_type": "lfm2", "layer_types": ["conv", "full_attention"]}, "layers without attention"),
        ({"model_type": "of next year"}, "have not been shown"),
    ],
)
def test_the_reason_is_told_from_the_config(config: dict[str, Any], why: str) -> None:
    if not why:
        check_trainable(config, ())
        return
    with pytest.raises(BaseRefused, match=why):
        check_trainable(config, ())


@pytest.mark.parametrize(
    ("kind", "instead"),
    [("deepseek_v3", "R1-Distill"), ("llama4_text", "Llama 3"), ("phimoe", "Phi-3"), ("nemotron", "Llama networks")],
)
def test_one_that_is_refused_names_a_sibling_that_trains(kind: str, instead: str) -> None:
    with pytest.raises(BaseRefused) as refused:
        check_trainable({"model_type": kind, "kv_lora_rank": 512}, ())
    assert instead in refused.value.hint and "Mistral" in refused.value.hint
