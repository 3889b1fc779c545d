"""Networks of other makers in the local engine: read, and their prompts remembered where that is exact."""

from __future__ import annotations

import random

import pytest

torch = pytest.importorskip("torch")


from chatlab.engines.base import (  # noqa: E402
    Sampling,
    Variant,
)
from chatlab.engines.transformers.decode import CausalModel  # noqa: E402
from tests.engines.test_transformers import logits_of  # noqa: E402

NEVER = frozenset[int]()
BASE = Variant()
GREEDY = Sampling(max_tokens=20, temperature=0.0, repetition_penalty=1.0)


def test_any_architecture_is_read_and_its_prompt_remembered():
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    sizes = {"n_embd": 32, "n_layer": 2, "n_head": 2, "vocab_size": 300, "n_positions": 256}
    model = GPT2LMHeadModel(GPT2Config(**sizes)).eval()
    ids = random.Random(0).choices(range(300), k=150)
    causal = CausalModel(model)
    for cached in (0, 128):
        remembered, logits = logits_of(causal, ids)
        assert remembered == cached
        with torch.inference_mode():
            assert torch.allclose(logits, model(torch.tensor([ids])).logits[0, -1], atol=1e-5)


def test_a_model_with_a_sliding_window_is_read_without_a_prefix_cache():
    from transformers import MistralConfig, MistralForCausalLM

    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1}
    config = MistralConfig(**sizes, intermediate_size=48, vocab_size=300, sliding_window=80, head_dim=16)
    model = CausalModel(MistralForCausalLM(config).eval())
    ids = random.Random(0).choices(range(300), k=150)
    assert torch.equal(logits_of(model, ids)[1], logits_of(model, ids)[1])
    assert logits_of(model, ids)[0] == 0
