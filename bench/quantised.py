"""One model in files of several quantisations, adapters trained on the weights in bf16 and on each file unpacked, and
what llama.cpp makes of both: loss on demonstrations put aside, forgetting, distance to the base, form.

    python -m bench.quantised MODEL.gguf --work FOLDER [--seeds N] [--threads N]

MODEL.gguf is unpacked and stands for the weights in bf16; llama.cpp quantises that. FOLDER keeps everything, about 3 GB
for 135M parameters, and what is there is not computed again. `--table` only judges what FOLDER has.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from bench.__main__ import machine
from bench.settings import NAMED
from bench.table import show
from bench.trials.judge import judged_replies
from bench.trials.run import run
from bench.trials.serve import ASKED, BF16, DOCUMENTS, KINDS, prepare, servings, sizes, training_jobs
from bench.trials.serve import run as run_servings
from bench.trials.texts import model_ids, open_base
from chatlab.system.lines import json_rows
from chatlab.training.defaults import settings_for

NAME, PACK = "smollm2", "stage"
OUT = Path(__file__).with_name("results") / "quantised.json"


def measure(model: Path, work: Path, *, seeds: int = 3, threads: int = 2, only_table: bool = False) -> dict[str, Any]:
    """Everything that is not there yet, then the table."""
    base, folder = open_base(model, work / "cache")
    if not (work / f"{NAME}.json").exists():
        model_ids(base).save(work / f"{NAME}.json")
    settings = settings_for(40, base.parameters)
    chosen = {name: getattr(settings, name) for name in NAMED}
    if not only_table:
        prepare(work, model, NAME, folder)
        for seed in range(seeds):  # whole seeds, so that an early end leaves a table of fewer
            run(training_jobs(NAME, PACK, chosen, [seed]), work, work / "runs.jsonl")
            run_servings(work, NAME, work / "served.jsonl", servings(PACK, [seed]), threads=threads)
    return table(base, work, chosen)


def table(base: Any, work: Path, settings: Mapping[str, Any]) -> dict[str, Any]:
    """What each file gives, with the adapter trained on bf16 and on itself; means over the seeds that are there."""
    rows = json_rows(work / "served.jsonl")
    bare = {row["file"]: row for row in rows if not row["trained"]}
    groups: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for row in (row for row in rows if row["file"] in bare):
        found = judged_replies(base, PACK, row["replies"])
        rise = row["prose_nll"] - bare[row["file"]]["prose_nll"]
        groups[row["file"], row["trained"]].append({**row, **found, "forgetting": 100 * math.expm1(rise)})
    figures = []
    for kind in (BF16, *KINDS):
        for trained in dict.fromkeys(("", BF16, kind)):
            if own := groups.get((kind, trained)):
                figures.append({"file": kind, "trained on": trained or "-", **_means(own)})
    show([{k: v for k, v in row.items() if k != "spread"} for row in figures])
    return {
        "model": NAME,
        "pack": PACK,
        "settings": dict(settings),
        "asked": ASKED,
        "documents": DOCUMENTS,
        "files": sizes(work, NAME),
        "table": figures,
        "replies": [
            {"file": row["file"], "trained on": row["trained"], "seed": row["seed"], "replies": row["said"][:8]}
            for own in groups.values()
            for row in own
        ],
    }


COLUMNS = {
    "task_loss": "task loss",
    "prose_nll": "nats a token, general text",
    "forgetting": "forgetting, %",
    "kl": "KL to the base",
    "form": "good form",
    "in voice": "in voice",
}


def _means(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {"seeds": len(rows)}
    for key, name in COLUMNS.items():
        found[name] = round(mean(row[key] for row in rows), 4)
    if len(rows) > 1:
        found["spread"] = {name: round(stdev(row[key] for row in rows), 4) for key, name in COLUMNS.items()}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 2)
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--note", default="", help="what the figures were taken on, in words")
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    figures = measure(given.model, given.work, seeds=given.seeds, threads=given.threads, only_table=given.table)
    told = {"machine": machine() | {"note": given.note}, "figures": figures}
    OUT.write_text(re.sub(r"\n {6,}", " ", json.dumps(told, indent=1)) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
