"""Which number format this processor multiplies fastest."""

from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter

import torch


def fastest() -> torch.dtype:
    """bfloat16 where the processor has instructions for it, float32 elsewhere; measured, in some 50 ms.

    Without such instructions a product in bfloat16 takes many times as long: training ran thirty times slower where
    this was met.
    """
    times = {dtype: _seconds(dtype) for dtype in (torch.float32, torch.bfloat16)}
    return min(times, key=lambda dtype: times[dtype])


@contextmanager
def products_in(dtype: torch.dtype) -> Iterator[None]:
    """Matrix products in `dtype`, all else in float32."""
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
        yield


def _seconds(dtype: torch.dtype) -> float:
    """The quickest of three products of (256, 320) and (320, 320), after one to warm up."""
    a, b = torch.ones(256, 320, dtype=dtype), torch.ones(320, 320, dtype=dtype)
    times = []
    for _ in range(4):
        began = perf_counter()
        a @ b
        times.append(perf_counter() - began)
    return min(times[1:])
