"""Every measurement in one go: `python -m bench [name ...] [--rounds N] [--out FOLDER]`.

Each prints a table and leaves its figures in FOLDER/<name>.json, with the machine they were taken on.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
from pathlib import Path
from typing import Any

from chatlab.system.host import bfloat16_is_faster

NAMES = (
    "models",
    "training",
    "seconds",
    "corrections",
    "beside",
    "engines",
    "gguf",
    "stream",
    "store",
    "quality",
    "formats",
    "retrieval",
    "tools",
    "load",
    "page",
)


def machine() -> dict[str, Any]:
    """What the figures were taken on."""
    return {
        "cores": os.cpu_count(),
        "bfloat16": bfloat16_is_faster(),
        "system": platform.system(),
        "python": platform.python_version(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help=f"of {', '.join(NAMES)}; all unless named")
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each figure; medians are shown")
    parser.add_argument("--out", type=Path, default=Path("bench/results"))
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    for name in given.names or NAMES:
        print(f"\n== {name} ==", flush=True)
        figures = importlib.import_module(f"bench.{name}").measure(rounds=given.rounds)
        path = given.out / f"{name}.json"
        path.write_text(json.dumps({"machine": machine(), "figures": figures}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
