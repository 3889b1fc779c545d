"""Freed memory is shared by threads: however many there are, they allocate from a few heaps."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

COUNT = """
import ctypes, re, threading
from chatlab.system.malloc import limit_arenas
{before}
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
together = threading.Barrier(12)

def allocate():
    together.wait()
    for _ in range(200):
        libc.free(ctypes.c_void_p(libc.malloc(5000)))
    together.wait()

threads = [threading.Thread(target=allocate) for _ in range(12)]
for thread in threads: thread.start()
for thread in threads: thread.join()
libc.fopen.restype = ctypes.c_void_p
out = ctypes.c_void_p(libc.fopen(b"/dev/stdout", b"w"))
libc.malloc_info(0, out)
libc.fclose(out)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="heaps for each thread are glibc's way")
def test_a_dozen_threads_allocate_from_two_heaps() -> None:
    assert heaps("") > 2, "without it there are more, or this test shows nothing"
    assert heaps("limit_arenas()") <= 2


def heaps(before: str) -> int:
    done = subprocess.run(
        [sys.executable, "-c", COUNT.format(before=before)], capture_output=True, text=True, check=True, timeout=120
    )
    return done.stdout.count("<heap nr=")
