"""Networks as an engine uses them: begin a prompt, read on, get the scores of the next token."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from chatlab.engines.common_prefix import BLOCK, shared
from chatlab.engines.llama import Llama

REMEMBERED = 2
"""Prompts that a voice keeps: two conversations, or a conversation and a comparison."""

LARGEST = 1 << 25
"""Bytes that one of them may take."""


class Reading(Protocol):
    """What has been read of one reply. Its keys and values belong to the network that computed them."""

    @property
    def position(self) -> int:
        """Tokens read so far; at the beginning, those of the prompt that the network remembers."""
        ...

    def read(self, ids: Sequence[int]) -> Tensor:
        """Read on, and give the scores (V,) of the token after the last."""
        ...


class Network(Protocol):
    """A base with or without an adapter."""

    def begin(self, prompt: Sequence[int], tokens: int) -> Reading:
        """`tokens` is the most that prompt and reply will have together."""
        ...

    def forget_prompts(self) -> None:
        """Those that were read so far are not remembered, nor those that are being read."""
        ...


class AnyNetwork:
    """Through transformers, whatever the architecture."""

    def __init__(self, model: PreTrainedModel) -> None:
        self.model = model

    def begin(self, prompt: Sequence[int], tokens: int) -> Reading:
        return _AnyReading(self.model)

    def forget_prompts(self) -> None:
        """It remembers none."""


class _AnyReading:
    def __init__(self, model: PreTrainedModel) -> None:
        self._model = model
        self._cache = DynamicCache(config=model.config)
        self.position = 0

    def read(self, ids: Sequence[int]) -> Tensor:
        with torch.inference_mode():  # never held across a yield: the mode would leak into the caller's thread
            out = self._model(
                input_ids=torch.tensor([ids]), past_key_values=self._cache, use_cache=True, logits_to_keep=1
            )
        self.position += len(ids)
        scores: Tensor = out.logits[0, -1]
        return scores


class LlamaNetwork:
    """A small Llama. It remembers the last prompts, so that a conversation's next turn is not read from the beginning.

    What it remembers is its own: another adapter is another network.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self._llama = Llama(model)
        self._remembered: deque[tuple[list[int], Tensor]] = deque(maxlen=REMEMBERED)
        self.forgotten = 0
        """How often it was told to forget."""

    def begin(self, prompt: Sequence[int], tokens: int) -> Reading:
        room = self._llama.room(tokens)
        known, kept = max(
            ((shared(prompt, ids), kept) for ids, kept in list(self._remembered)),
            key=lambda found: found[0],
            default=(0, room),
        )
        room[..., :known, :] = kept[..., :known, :]
        return _LlamaReading(self, self._llama, room, prompt, known)

    def forget_prompts(self) -> None:
        self.forgotten += 1
        self._remembered.clear()

    def remember(self, prompt: Sequence[int], room: Tensor) -> None:
        """Keep the whole blocks of a prompt."""
        whole = len(prompt) // BLOCK * BLOCK
        if whole and room[..., :whole, :].nbytes <= LARGEST:
            self._remembered.append((list(prompt[:whole]), room[..., :whole, :].clone()))


class _LlamaReading:
    def __init__(self, network: LlamaNetwork, llama: Llama, room: Tensor, prompt: Sequence[int], position: int) -> None:
        self._network = network
        self._llama = llama
        self._room = room
        self._prompt = prompt
        self._forgotten = network.forgotten
        self.position = position

    def read(self, ids: Sequence[int]) -> Tensor:
        with torch.inference_mode():
            scores = self._llama.read(torch.tensor(ids), self._room, self.position)
        self.position += len(ids)
        if self.position == len(self._prompt) and self._forgotten == self._network.forgotten:
            self._network.remember(self._prompt, self._room)
        return scores
