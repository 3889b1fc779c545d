"""Embeddings for the tokens that pre-training never saw: the roles of a chat, and padding."""

from collections.abc import Mapping

import torch
from tokenizers import Tokenizer
from torch import Tensor

WORDS: Mapping[str, tuple[str, ...]] = {
    "<|system|>": (" Note", " Introduction", "The"),
    "<|user|>": ("User", " asked", "A"),
    "<|assistant|>": ("Assistant", " answered", "B"),
    "<|pad|>": (),
}
"""For each special token, words near which its embedding begins."""


def embedding(table: Tensor, tokenizer: Tokenizer, words: tuple[str, ...], noise: float, seed: int) -> Tensor:
    """A new row for `table` (vocabulary, hidden): the mean of some words' rows, plus noise.

    `noise` is in units of the table's own deviation. Without words, the mean is over all rows.
    """
    known = [i for word in words for i in tokenizer.encode(word, add_special_tokens=False).ids[:1]]
    near = table[known].mean(0) if known else table.mean(0)
    return near + noise * table.std() * torch.randn(table.size(1), generator=torch.Generator().manual_seed(seed))


def give(table: Tensor, tokenizer: Tokenizer, noise: float = 1.0) -> None:
    """Put an embedding for every token of `WORDS` into `table`, in place."""
    seen = table[len(WORDS) + 1 :].clone()
    padded = torch.cat((table[: len(WORDS) + 1] * 0, seen))
    for index, (token, words) in enumerate(WORDS.items(), start=1):
        assert tokenizer.token_to_id(token) == index
        table[index] = embedding(padded if words else seen, tokenizer, words, noise, seed=index)
