"""How the next token is sampled from logits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatlab.engines.base import Sampling
from chatlab.engines.sampling import Sampler, repetition_penalty, top_k_top_p
from chatlab.errors import EngineError


def test_top_p_keeps_the_fewest_tokens_that_hold_the_share():
    logits = np.log(np.array([0.1, 0.5, 0.15, 0.25], np.float32))
    assert top_k_top_p(logits, 0, 0.7)[1].tolist() == [1, 3]
    assert top_k_top_p(logits, 0, 0.8)[1].tolist() == [1, 3, 2]
    assert top_k_top_p(logits, 0, 0.0)[1].tolist() == [1]
    assert sorted(top_k_top_p(logits, 0, 1.0)[1].tolist()) == [0, 1, 2, 3]
    assert sorted(top_k_top_p(logits, 2, 1.0)[1].tolist()) == [1, 3]


def test_a_flat_distribution_is_cut_at_its_share_too():
    assert len(top_k_top_p(np.zeros(1000, np.float32), 0, 0.5)[1]) == pytest.approx(500, abs=2)


def test_tokens_are_sampled_as_often_as_their_probability_says():
    sampler = Sampler(Sampling(temperature=1.0, top_p=1.0, repetition_penalty=1.0, seed=1))
    sampled = [sampler.sample(np.log(np.array([0.2, 0.5, 0.3], np.float32))) for _ in range(3000)]
    assert [sampled.count(token) / 3000 for token in range(3)] == pytest.approx([0.2, 0.5, 0.3], abs=0.03)


def test_a_sampled_token_becomes_less_likely_whichever_sign_its_logit_has():
    logits = np.array([2.0, -2.0, 1.0], np.float32)
    assert repetition_penalty(logits, {0, 1}, 2.0).tolist() == [1.0, -4.0, 1.0]
    assert logits.tolist() == [2.0, -2.0, 1.0]


@given(
    st.builds(
        Sampling,
        temperature=st.floats(),
        top_p=st.floats(),
        top_k=st.integers(-5, 20),
        seed=st.none() | st.integers(),
        repetition_penalty=st.floats(0.1, 10),
    )
)
@settings(deadline=None)
def test_whatever_the_settings_a_token_is_sampled(sampling):
    sampler = Sampler(sampling)
    for seed in range(3):
        assert 0 <= sampler.sample(np.roll(np.linspace(-30, 30, 50, dtype=np.float32), seed)) < 50


def test_numbers_that_overflowed_are_an_engine_error():
    for temperature in (0.0, 1.0):
        with pytest.raises(EngineError):
            Sampler(Sampling(temperature=temperature)).sample(np.array([1.0, float("nan")], np.float32))
