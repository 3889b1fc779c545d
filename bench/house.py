"""A Lab of its own for a measurement: a fresh home, the starter pack, everything warm."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from chatlab.lab import Lab
from chatlab.settings import PACKAGE, Settings


@contextmanager
def warm_lab(pack: str = "stage", base: Path | None = None, warmed: list[float] | None = None) -> Iterator[Lab]:
    """With the pack loaded, the engine open and the trainer waiting. Without a base, CHATLAB_BASE or the embedded one.

    `warmed` is given the seconds that the trainer took.
    """
    base = base or Path(os.environ.get("CHATLAB_BASE", PACKAGE / "models" / "embedded"))
    with tempfile.TemporaryDirectory() as home:
        lab = Lab(Settings(home=Path(home), base=base))
        try:
            lab.demonstrations.load_pack(pack)
            lab.machine.engine.load(lab.variants.get())
            took = warm_up(lab)
            if warmed is not None:
                warmed.append(took)
            yield lab
        finally:
            lab.close()


def warm_up(lab: Lab) -> float:
    """Seconds until the trainer is ready for a run."""
    began = time.perf_counter()
    lab.training.warm()
    while lab.training.status().state == "warming":
        time.sleep(0.05)
    return time.perf_counter() - began
