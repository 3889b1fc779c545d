"""What a model takes of the memory when it chats or is trained, told before it is loaded."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import psutil

from chatlab.errors import EngineError, TrainingError
from chatlab.models.base import Base
from chatlab.models.gguf.architectures import heads
from chatlab.system.processes.bootstrap import process_name
from chatlab.training.defaults import parameters_in, trainer_mb
from chatlab.training.process.client import WORKER

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


def check_training_memory(base: Base) -> None:
    """Raises TrainingError where the memory does not hold a trainer of this base. Says what fits."""
    needs = trainer_mb(base.parameters) * 2**20
    free = psutil.virtual_memory().available + _trainer_memory()
    if needs <= free:
        return
    fits = parameters_in(free // 2**20)
    smaller = f"or train a smaller model: one of {fits / 1e9:.1f} billion parameters fits."
    if fits < GB / 20:
        smaller = "no model can be trained in what is free."
    raise TrainingError(
        f"{base.name} needs about {needs / GB:.1f} GB of memory to be trained, and {free / GB:.1f} GB are free.",
        f"Close other programs, {smaller}",
    )


def _trainer_memory() -> int:
    """Bytes that the trainer has already: it holds this base, or ends before it opens another one."""
    total = 0
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if child.name() == process_name(WORKER) or WORKER in child.cmdline():
                total += int(child.memory_info().rss)
    return total


def _kv_cache(base: Base) -> int:
    """16 bits a number, for two replies at least and for as many as fit into KV_CACHE."""
    try:
        _, few, width = heads(base.config)
        token = 2 * 2 * few * width * int(base.config["num_hidden_layers"])
    except (KeyError, TypeError, ValueError, ZeroDivisionError):  # an architecture of other names
        return KV_CACHE
    return max(KV_CACHE, 2 * token * min(base.context, CONTEXT))
