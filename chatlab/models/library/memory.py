"""How much memory a model takes, estimated from its sizes before anything is loaded.

Chat: the weights (a GGUF's as they lie in the file, a folder's in 16 bits), keys and values of the slots, and
`CHAT_PROCESS`. Training: the weights in float32 and again in bfloat16, as they are multiplied; one step's activations;
and `TRAINER_PROCESS`.
"""

from __future__ import annotations

from dataclasses import dataclass

LONGEST = 8192
"""Tokens of a slot at most, as the llama.cpp engine opens it."""
CACHE = 1 << 29
"""Bytes for keys and values that the engine fills with slots: from two to eight."""
CHAT_PROCESS = 400 << 20
"""Bytes of buffers, the tokenizer and what llama.cpp computes in, beside the app itself."""
TRAINER_PROCESS = 700 << 20
"""Bytes of Python, torch and transformers."""
STEP = 2048
"""Tokens of a step."""
KEPT = 34
"""Numbers of the model's width that a layer keeps for the backward pass, for each token of a step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """What a model's memory depends on."""

    parameters: int
    layers: int
    width: int
    """Of the hidden states."""
    kv_width: int
    """Keys of one token in one layer: heads for keys and values by the width of one."""
    vocabulary: int
    context: int


def chat_bytes(sizes: Sizes, weights: int) -> int:
    """`weights` is the bytes of the file that llama.cpp maps into memory."""
    return weights + kv_bytes(sizes) + CHAT_PROCESS


def kv_bytes(sizes: Sizes) -> int:
    """Of all slots, at 16 bits a number: keys and values of every layer."""
    slot = 2 * 2 * sizes.kv_width * sizes.layers * max(1, min(sizes.context, LONGEST))
    return slot * max(2, min(8, CACHE // max(1, slot)))


def training_bytes(sizes: Sizes) -> int:
    """A step's activations: `KEPT` numbers of 16 bits for each token and layer, and its logits in float32."""
    step = STEP * (2 * KEPT * sizes.width * sizes.layers + 4 * sizes.vocabulary)
    return (4 + 2) * sizes.parameters + step + TRAINER_PROCESS
