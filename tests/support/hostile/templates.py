"""Templates rendered in processes of their own, with limits on memory and processor time: none of them can end a test.

`python -m tests.support.hostile.templates` reads cases from standard input, a JSON list of sources, and writes what
became of each. It forks itself for every case, so nothing is imported twice.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

MEMORY = 1 << 30
"""Bytes that a case may claim beside what is imported; four times as much as it may take, so that taking shows."""
SECONDS = 8
"""Of processor time, at which the system ends a case."""
MESSAGES = [{"role": "user", "content": "What is the moon made of?"}, {"role": "assistant", "content": "Of rock."}]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a template."""

    ended: str
    """"refused", "rendered", "out of memory", or how the process died."""
    said: str
    seconds: float
    """Of processor time."""
    megabytes: float
    """That were taken at most."""


def rendered(sources: Sequence[str]) -> list[Outcome]:
    run = subprocess.run(
        [sys.executable, "-m", "tests.support.hostile.templates"],
        input=json.dumps(list(sources)),
        capture_output=True,
        text=True,
        cwd=Path(__file__).resolve().parents[3],
    )
    assert run.returncode == 0, run.stderr
    return [Outcome(**told) for told in json.loads(run.stdout)]


def _one(source: str) -> dict[str, object]:
    read, write = os.pipe()
    if (child := os.fork()) == 0:
        os.close(read)
        _in_child(source, write)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        said = pipe.read()
    _, status, usage = os.wait4(child, 0)
    told = json.loads(said) if said else {"ended": f"died: {status}", "said": "", "megabytes": 0.0}
    return told | {"seconds": round(usage.ru_utime + usage.ru_stime, 3)}


def _in_child(source: str, pipe: int) -> None:
    from chatlab.errors import TemplateRefused
    from chatlab.template.sandbox import Sandbox

    pages = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (pages + MEMORY, pages + MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        ended, said = "rendered", Sandbox(source, date(2024, 7, 26)).render(messages=MESSAGES, tools=None)[:200]
    except TemplateRefused as refusal:
        ended, said = "refused", str(refusal)
        if isinstance(refusal.__cause__, MemoryError):
            ended = "out of memory"
    taken = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    os.write(pipe, json.dumps({"ended": ended, "said": said, "megabytes": round(taken, 1)}).encode())
    os._exit(0)


if __name__ == "__main__":
    import chatlab.template.sandbox  # noqa: F401 - once, before the forks

    print(json.dumps([_one(source) for source in json.loads(sys.stdin.read())]))
