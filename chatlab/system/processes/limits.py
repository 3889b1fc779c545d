"""How much of the machine this process may take: for one that opens a file which nobody trusts.

Where a system knows no such limit (Windows knows none, macOS few), only whoever waits for the process sets one.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

SECONDS = 120
SECONDS_A_GB = 60
"""Processor time. Hashing and loading a gigabyte takes a few seconds on a slow machine."""
MEMORY = 2 << 30
"""Bytes of address space for the header, the vocabulary and what llama.cpp computes in, the weights aside."""
WRITTEN = 256 << 20
"""Bytes of one file that it writes."""


def limit_memory(size: int) -> None:
    """At most `size` bytes of address space for the rest of this process's life, and no core dump."""
    if sys.platform != "win32":
        _set_hard("RLIMIT_AS", size)
        _set_hard("RLIMIT_CORE", 0)


def forbid_writing() -> None:
    """No byte may be written to a file from now on; pipes stay open."""
    if sys.platform != "win32":
        _set_hard("RLIMIT_FSIZE", 0)


def limit_cpu_time(seconds: float) -> None:
    """From now on, so much processor time and no more; the system ends the process that takes it."""
    if sys.platform != "win32":
        _set("RLIMIT_CPU", math.ceil(time.process_time() + seconds))


class Limits:
    """The limits of a process that opens one model file, for the rest of its life."""

    def __init__(self, size: int) -> None:
        """`size` is that of the file in bytes, which is not opened yet."""
        self._size = size
        if sys.platform != "win32":
            _set("RLIMIT_CPU", SECONDS + SECONDS_A_GB * (size >> 30))
            _set("RLIMIT_FSIZE", WRITTEN)
            _set("RLIMIT_CORE", 0)
            self.allow(0)

    def allow(self, more: int) -> None:
        """Memory for the file, and so many bytes more, on top of what is taken already."""
        if sys.platform != "win32":
            import psutil

            taken = psutil.Process().memory_info().vms
            _set("RLIMIT_AS", taken + 2 * self._size + MEMORY + more)

    @contextmanager
    def lifted(self) -> Iterator[None]:
        """A block to import in: libraries map gigabytes that nobody uses. What they take is not counted after."""
        if sys.platform == "win32":
            yield
            return
        import resource

        _set("RLIMIT_AS", resource.RLIM_INFINITY)
        yield
        self.allow(0)


def _set(name: str, most: int) -> None:
    """The soft limit, as far as whoever started this process lets it rise. One that a system refuses or does not know
    leaves the others as they are.
    """
    import resource

    with suppress(OSError, ValueError, AttributeError):
        kind = getattr(resource, name)
        hard = resource.getrlimit(kind)[1]
        resource.setrlimit(kind, (_below(most, hard), hard))


def _set_hard(name: str, most: int) -> None:
    """Soft and hard limit: not even this process can raise it again."""
    import resource

    with suppress(OSError, ValueError, AttributeError):
        kind = getattr(resource, name)
        wanted = _below(most, resource.getrlimit(kind)[1])
        resource.setrlimit(kind, (wanted, wanted))


def _below(most: int, hard: int) -> int:
    """`most`, or the hard limit where that is less; either may be infinite, which is no large number everywhere."""
    import resource

    if hard == resource.RLIM_INFINITY:
        return most
    return hard if most == resource.RLIM_INFINITY else min(most, hard)
