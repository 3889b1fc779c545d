"""What this machine can do, and Python's cycle collector held back while very much is made."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

MUCH_FASTER = 1.2
"""Bfloat16 has to be so many times as fast as float32 before rounding to it pays."""


def available_cores() -> int:
    """Cores that this process may use, which in a container are fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@cache
def bfloat16_is_faster() -> bool:
    """Whether this processor multiplies matrices of bfloat16 faster than of float32. Imports torch.

    AMX does so in a quarter of the time. The older instructions of AVX-512 take half of float32's time on some
    processors, and nearly twice as long on others (Emerald Rapids without AMX, as in a virtual machine: 90 against
    166 GFLOP/s), so there it is tried for some 50 ms. Without either, software is slower.
    """
    import torch

    if torch.cpu._is_amx_tile_supported() or not torch.cpu._is_avx512_bf16_supported():
        return bool(torch.cpu._is_amx_tile_supported())
    bfloat16, float32 = _product_seconds()
    return MUCH_FASTER * bfloat16 < float32


def _product_seconds() -> tuple[float, float]:
    """Of one product of the size that training computes, in bfloat16 and in float32: the best of several.

    In turns, and on one core, so that other work on the machine slows both or neither.
    """
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    best = {torch.bfloat16: float("inf"), torch.float32: float("inf")}
    try:
        for _ in range(12):
            for dtype in best:
                rows, columns = torch.ones(128, 576, dtype=dtype), torch.ones(1536, 576, dtype=dtype)
                began = time.perf_counter()
                torch.nn.functional.linear(rows, columns)
                best[dtype] = min(best[dtype], time.perf_counter() - began)
    finally:
        torch.set_num_threads(threads)
    return best[torch.bfloat16], best[torch.float32]


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
