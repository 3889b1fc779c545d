"""Held-out loss in bits per byte, and what plain compressors make of the same text."""

import gzip
import json
import lzma
import math
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor

from scripts.pretrain import vocabulary
from scripts.pretrain.model import Llama
from scripts.pretrain.precision import fastest, products_in


def held_out(cache: Path) -> dict[str, list[str]]:
    """Held-out texts by source."""
    return {
        path.name.removesuffix(".held.json"): json.loads(path.read_text(encoding="utf-8"))
        for path in sorted(cache.glob("*.held.json"))
    }


def windows(ids: NDArray[np.uint16], length: int) -> Tensor:
    """Rows of `length` + 1 ids, each starting with the last id of the row before; the rest is left out."""
    count = (len(ids) - 1) // length
    starts = np.arange(count)[:, None] * length + np.arange(length + 1)
    return torch.from_numpy(ids[starts].astype(np.int64))


@torch.no_grad()
def bits_per_byte(
    model: Llama, tokenizer: Tokenizer, texts: list[str], length: int = 512, tokens: int | None = None
) -> float:
    """Bits the model needs for each byte of `texts`, ends of documents included, `tokens` at most."""
    ids = vocabulary.stream(tokenizer, texts)
    ids = np.concatenate([[np.uint16(vocabulary.END)], ids])[:tokens]
    rows = windows(ids, min(length, len(ids) - 1))
    dtype = fastest()
    nats = 0.0
    for part in rows.split(max(1, 4096 // length)):
        with products_in(dtype):
            nats += float(model.losses(part[:, :-1], part[:, 1:]).sum())
    return nats / math.log(2) / int(vocabulary.byte_lengths(tokenizer)[rows[:, 1:].numpy()].sum())


def unigram_bits(tokenizer: Tokenizer, texts: list[str]) -> float:
    """Bits per byte of a model that knows only how often each token is used in these very texts."""
    ids = vocabulary.stream(tokenizer, texts)
    counts = np.bincount(ids)
    counts = counts[counts > 0]
    bits = -(counts * np.log2(counts / counts.sum())).sum()
    return float(bits / vocabulary.byte_lengths(tokenizer)[ids].sum())


def compressed_bits(texts: list[str]) -> dict[str, float]:
    """Bits per byte of gzip and xz at their hardest."""
    raw = "\n".join(texts).encode()
    sizes = {"gzip": len(gzip.compress(raw, 9)), "xz": len(lzma.compress(raw, preset=9 | lzma.PRESET_EXTREME))}
    return {name: 8 * size / len(raw) for name, size in sizes.items()}
