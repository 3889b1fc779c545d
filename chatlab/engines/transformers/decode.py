"""A causal language model of transformers, read on token by token with a KV cache."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer

from chatlab.engines.base import BLOCK, common_prefix

CACHED_PROMPTS = 2
"""Prompts whose keys and values a model keeps: two conversations, or a conversation and a comparison."""
LARGEST = 1 << 25
"""Bytes that one of them may take."""

KeysAndValues = list[tuple[Tensor, Tensor]]
"""One pair per layer, each (1, key heads, tokens, width)."""


class CausalModel:
    """A base with or without an adapter, and a prefix cache: a conversation's next turn is not read from the beginning.

    The cache belongs to this model; another adapter is another model. Architectures that do not keep every token's keys
    and values (sliding windows, recurrent states) are read without one.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self.model = model
        self._prompts: deque[tuple[list[int], KeysAndValues]] = deque(maxlen=CACHED_PROMPTS)
        self.cleared = 0
        """How often the prefix cache was cleared."""

    def start(self, prompt: Sequence[int]) -> DecodeSession:
        """A session that holds the longest prefix of `prompt` in the cache, in whole blocks."""
        length, cached = max(
            ((common_prefix(prompt, ids), cached) for ids, cached in list(self._prompts)),
            key=lambda found: found[0],
            default=(0, []),
        )
        cache = DynamicCache(config=self.model.config)
        if length:
            for layer, (keys, values) in zip(_plain_layers(cache), cached, strict=True):
                layer.update(keys[..., :length, :], values[..., :length, :])
        return DecodeSession(self, cache, prompt, length)

    def forget_prompts(self) -> None:
        """Clear the prefix cache. Prompts that are being read now are not put into it either."""
        self.cleared += 1
        self._prompts.clear()

    def remember(self, prompt: Sequence[int], cache: DynamicCache) -> None:
        """Keep the keys and values of a prompt's whole blocks."""
        whole = len(prompt) // BLOCK * BLOCK
        layers = [(layer.keys, layer.values) for layer in _plain_layers(cache)]
        found = [(k[..., :whole, :], v[..., :whole, :]) for k, v in layers if k is not None and v is not None]
        if whole and found and sum(k.nbytes + v.nbytes for k, v in found) <= LARGEST:
            self._prompts.append((list(prompt[:whole]), [(k.clone(), v.clone()) for k, v in found]))


class DecodeSession:
    """One reply's keys and values."""

    def __init__(self, model: CausalModel, cache: DynamicCache, prompt: Sequence[int], position: int) -> None:
        self._model, self._cache, self._prompt = model, cache, prompt
        self._cleared = model.cleared
        self.position = position
        """Tokens read so far; at the start, those of the prompt that were cached."""

    def read(self, ids: Sequence[int]) -> Tensor:
        """Read on; the logits (V,) after the last of `ids`."""
        with torch.inference_mode():  # never held across a yield: the mode would leak into the caller's thread
            out = self._model.model(
                input_ids=torch.tensor([ids]), past_key_values=self._cache, use_cache=True, logits_to_keep=1
            )
        self.position += len(ids)
        if self.position == len(self._prompt) and self._cleared == self._model.cleared:
            self._model.remember(self._prompt, self._cache)
        logits: Tensor = out.logits[0, -1]
        return logits


def _plain_layers(cache: DynamicCache) -> list[DynamicLayer]:
    """The cache's layers, if all of them keep every token's keys and values; none otherwise."""
    layers = [layer for layer in cache.layers if type(layer) is DynamicLayer]
    return layers if len(layers) == len(cache.layers) else []
