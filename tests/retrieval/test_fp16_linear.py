"""Weights at half precision: the vectors stay what they were, and what half precision cannot hold is left alone."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from chatlab.retrieval.embedding.fp16_linear import ENGINES, Fp16Linear, quantize_fp16

pytestmark = pytest.mark.skipif(
    torch.backends.quantized.engine not in ENGINES, reason="this processor multiplies at half precision by no engine"
)


def model(largest: float = 1.0) -> nn.Sequential:
    torch.manual_seed(0)
    built = nn.Sequential(nn.Linear(32, 64), nn.GELU(), nn.Sequential(nn.Linear(64, 16, bias=False), nn.LayerNorm(16)))
    with torch.no_grad():
        built[0].weight[3, 5] = largest
    return built.eval()


def test_what_comes_out_points_where_it_pointed() -> None:
    given, built = torch.randn(2, 7, 32), model()
    with torch.inference_mode():
        before = built(given)
        assert quantize_fp16(built) == 2
        after = built(given)
    assert after.shape == before.shape
    assert torch.nn.functional.cosine_similarity(before, after, dim=-1).min() > 0.99999


def test_a_weight_that_half_precision_cannot_hold_keeps_its_layer_as_it_was() -> None:
    built = model(largest=1e6)
    assert quantize_fp16(built) == 1
    assert isinstance(built[0], nn.Linear) and isinstance(built[2][0], Fp16Linear)
