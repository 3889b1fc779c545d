"""The tokenizer: byte-level BPE, with the end of a document and the roles of a chat as single tokens."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

SPECIAL = ("<|end|>", "<|system|>", "<|user|>", "<|assistant|>", "<|pad|>")
"""Ids 0 to 4. Only the first is seen in pre-training: it closes every document."""
END = 0


def train(texts: Iterable[str], size: int = 8192) -> Tokenizer:
    """A byte-level BPE of `size` tokens. Its pre-tokeniser is GPT-2's, which other engines know by name."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=size,
            special_tokens=list(SPECIAL),
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            max_token_length=24,
            show_progress=False,
        ),
    )
    return tokenizer


def stream(tokenizer: Tokenizer, texts: Iterable[str]) -> NDArray[np.uint16]:
    """All texts as one row of ids, each closed by the end token."""
    rows = tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
    return np.concatenate([np.array([*row.ids, END], dtype=np.uint16) for row in rows])


def byte_lengths(tokenizer: Tokenizer) -> NDArray[np.int64]:
    """How many bytes of text each id stands for; special tokens stand for none."""
    lengths = np.zeros(tokenizer.get_vocab_size(), dtype=np.int64)
    for token, index in tokenizer.get_vocab().items():
        lengths[index] = 0 if token in SPECIAL else len(token)
    return lengths
