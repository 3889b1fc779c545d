"""What this machine can do, and Python's cycle collector held back while very much is made."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager


def available_cores() -> int:
    """Cores that this process may use, which in a container are fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def has_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16 itself, in a quarter of float32's time; in software it is slower.

    Imports torch.
    """
    import torch

    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


@contextmanager
def gc_paused() -> Iterator[None]:
    """No collection of cycles while the block runs.

    Records hold no cycles, and the collector would walk all of them again and again as their number grows: it halves
    the time to open a large store. A training step makes none either, and would pay several milliseconds. Two threads
    in here at once do no harm.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
