"""How the C library keeps freed memory in a process that lives for days."""

from __future__ import annotations

import ctypes
import sys
from contextlib import suppress

ARENAS = 2
"""Heaps that threads share."""
_M_ARENA_MAX = -8
"""From glibc's malloc.h."""


def limit_arenas(arenas: int = ARENAS) -> None:
    """Let all threads of this process allocate from `arenas` heaps; call it before they start.

    glibc gives each new thread a heap of its own, up to eight a core, and what one thread freed another cannot use: a
    server of forty threads grew by 5 MB a minute though it held nothing more (`bench/load.py`). Elsewhere does nothing.
    """
    _call("mallopt", _M_ARENA_MAX, arenas)


def return_freed() -> None:
    """Give freed memory back to the system, after a model was loaded or thrown away: glibc keeps it as a rule."""
    _call("malloc_trim", 0)


def _call(name: str, *arguments: int) -> None:
    if sys.platform.startswith("linux"):
        with suppress(OSError, AttributeError):  # another C library: it has its own ways
            getattr(ctypes.CDLL(None), name)(*arguments)
