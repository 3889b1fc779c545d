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
def warm_lab(pack: str = "stage") -> Iterator[Lab]:
    """With the pack loaded, the engine open and the trainer waiting. The base is CHATLAB_BASE, or the embedded one."""
    base = Path(os.environ.get("CHATLAB_BASE", PACKAGE / "models" / "embedded"))
    with tempfile.TemporaryDirectory() as home:
        lab = Lab(Settings(home=Path(home), base=base))
        try:
            lab.demonstrations.load_pack(pack)
            lab.training.warm()
            lab.machine.engine.load(lab.variants.get())
            while lab.training.status().state == "warming":
                time.sleep(0.05)
            yield lab
        finally:
            lab.close()
