"""What a model takes of the memory when it chats, told before it is loaded."""

from __future__ import annotations

from collections.abc import Sequence

import psutil

from chatlab.errors import EngineError
from chatlab.models.base import Base
from chatlab.models.gguf.architectures import heads

CONTEXT = 8192
"""Tokens of context that an engine makes room for, at most."""
KV_CACHE = 1 << 29
"""Bytes that all slots of keys and values have together; two slots are made in any case."""
OVERHEAD = 100 << 20
"""Bytes for buffers, tokenizer and template."""
GB = 1e9


def chat_memory(base: Base) -> int:
    """Bytes that its engine takes: weights as they are served, keys and values, buffers."""
    weights = sum(file.stat().st_size for file in base.weights) if base.gguf else 2 * base.parameters
    return weights + _kv_cache(base) + OVERHEAD


def check_memory(base: Base, spare: Sequence[Base] = ()) -> None:
    """Raises EngineError for a model that the memory does not hold, even with `spare` ones closed. Says what fits."""
    needs = chat_memory(base)
    free = psutil.virtual_memory().available + sum(map(chat_memory, spare))
    if needs <= free:
        return
    fits = max(0, free - OVERHEAD - _kv_cache(base))
    smaller = (
        f"or use a smaller model, or this one in a smaller quantisation: a file of up to {fits / GB:.1f} GB fits."
        if fits > GB / 20
        else "nothing fits now."
    )
    raise EngineError(
        f"{base.name} needs about {needs / GB:.1f} GB of memory, and {free / GB:.1f} GB are free.",
        f"Close other programs, {smaller}",
    )


def fits_beside(base: Base) -> bool:
    """Whether it can be opened with all that is open kept open."""
    return chat_memory(base) <= int(psutil.virtual_memory().available)


def _kv_cache(base: Base) -> int:
    """16 bits a number, for two replies at least and for as many as fit into KV_CACHE."""
    try:
        _, few, width = heads(base.config)
        token = 2 * 2 * few * width * int(base.config["num_hidden_layers"])
    except (KeyError, TypeError, ValueError, ZeroDivisionError):  # an architecture of other names
        return KV_CACHE
    return max(KV_CACHE, 2 * token * min(base.context, CONTEXT))
