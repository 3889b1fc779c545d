"""How much of the machine this process may take: for one that opens a file which nobody trusts."""

from __future__ import annotations

import contextlib
import sys

import psutil

SECONDS = 120
SECONDS_A_GB = 60
"""Of processor time. Hashing and loading a gigabyte takes a few seconds on a slow machine."""
MEMORY = 3 << 30
"""Bytes of address space for libraries, header, vocabulary and what llama.cpp computes in, the weights aside."""
WRITTEN = 256 << 20
"""Bytes of one file that it writes."""


class Limits:
    """On this process, for the rest of its life. Where a system knows none, only whoever waits for it sets one."""

    def __init__(self, size: int) -> None:
        """For a file of `size` bytes, which is not opened yet. What is in memory already is not counted."""
        self._memory = psutil.Process().memory_info().vms + 2 * size + MEMORY
        if sys.platform != "win32":
            import resource

            self.allow(0)
            _set(resource.RLIMIT_CPU, SECONDS + SECONDS_A_GB * (size >> 30))
            _set(resource.RLIMIT_FSIZE, WRITTEN)
            _set(resource.RLIMIT_CORE, 0)

    def allow(self, more: int) -> None:
        """So many bytes of memory more than at the beginning."""
        if sys.platform != "win32":
            import resource

            _set(resource.RLIMIT_AS, self._memory + more)


def _set(kind: int, most: int) -> None:
    """The soft limit, as far as whoever started this process lets it rise."""
    import resource

    hard = resource.getrlimit(kind)[1]
    wanted = most if hard == resource.RLIM_INFINITY else min(most, hard)
    with contextlib.suppress(OSError, ValueError):  # a system may not know the kind
        resource.setrlimit(kind, (wanted, hard))
