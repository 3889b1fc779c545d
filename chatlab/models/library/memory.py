"""How much memory a model takes, estimated from its sizes before anything is loaded.

Chat: the weights (a GGUF's as they lie in the file, a folder's in 16 bits), keys and values of the slots, and
`CHAT_PROCESS`. Training: `TRAINED` bytes a parameter, one step's activations and logits, and `TRAINER_PROCESS`.
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
TRAINED = 8
"""Bytes for each parameter: the weights in float32, again in bfloat16, as they are multiplied, and a fourth of that for
the head and the adapter with its optimizer.
"""
STEP = 512
"""Tokens of a step: four demonstrations of 128."""
KEPT = 44
"""Numbers of the hidden states' width that a layer keeps for the backward pass, 16 bits each."""


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
    """With a step's activations and its logits in float32. SmolLM2-135M: 2.6 GB were measured, 2.7 are said."""
    step = STEP * (2 * KEPT * sizes.width * sizes.layers + 4 * sizes.vocabulary)
    return TRAINED * sizes.parameters + step + TRAINER_PROCESS
