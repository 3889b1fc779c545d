"""Limits of a process: each holds, though the system refuses another."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows knows no such limits")

CODE = """
import resource
from chatlab.system.processes import limits
HARD = 1 << 40
resource.setrlimit(resource.RLIMIT_AS, (HARD, HARD))
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 30, 1 << 30))
{}
for name in ("AS", "CORE", "FSIZE", "CPU"):
    print(name, *resource.getrlimit(getattr(resource, "RLIMIT_" + name)))
"""


def limits(code: str) -> dict[str, list[int]]:
    """Soft and hard limits by name, once the code has run in a process that others have limited before."""
    told = subprocess.run([sys.executable, "-c", CODE.format(code)], capture_output=True, text=True, check=True)
    return {name: [int(n) for n in values] for name, *values in map(str.split, told.stdout.splitlines())}


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere there is no limit of addresses")
def test_a_limit_that_cannot_be_raised_any_more_stays_and_the_others_hold() -> None:
    found = limits("limits.limit_memory(1 << 50); limits.forbid_writing(); limits.limit_cpu_time(30)")
    assert found["AS"] == [1 << 40, 1 << 40] and found["CORE"] == [0, 0] and found["FSIZE"] == [0, 0]
    assert 0 < found["CPU"][0] < 60


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere there is no limit of addresses")
def test_a_kind_that_the_system_does_not_know_is_passed_over() -> None:
    found = limits(
        "del resource.RLIMIT_AS, resource.RLIMIT_CPU; limits.Limits(10); resource.RLIMIT_AS, resource.RLIMIT_CPU = 9, 0"
    )
    assert found["FSIZE"][0] == 256 << 20 and found["CORE"][0] == 0 and found["AS"][0] == 1 << 40
