"""Chunks of text out of tokens: whole characters, and together the whole text."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatlab.engines.detokenize import BROKEN, Detokenizer
from chatlab.models.base import Base

TEXTS = st.text(alphabet=st.characters(codec="utf-8") | st.sampled_from("é漢字🙂🏽👩‍🚀 \n\t<|end|>"), max_size=40)


@pytest.fixture(scope="module")
def base(base_folder: Path) -> Base:
    return Base.open(base_folder)


def spoken(tokenizer, ids: list[int]) -> str:
    detokenizer = Detokenizer(tokenizer.decode)
    chunks = [detokenizer.add(token) for token in ids]
    assert BROKEN not in "".join(chunks)
    return "".join(chunks)


@given(TEXTS)
@settings(max_examples=300, deadline=None)
def test_chunks_add_up_to_the_text_whatever_it_is(base, text):
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
