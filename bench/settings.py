"""Settings tried on real models: rate, KL weight, layers, rank and epochs, on a voice, a strict format and a domain.

    python -m bench.settings NAME=MODEL.gguf ... --work FOLDER [--pack stage] [--first N]

Every trial trains as the app does and is judged by its replies to unseen prompts, by forty everyday questions asked
before and after, by forgetting, and by the loss on demonstrations put aside. FOLDER keeps what was computed; what is
there is not computed again. `--table` only judges what FOLDER has.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import product
from pathlib import Path
from typing import Any

from bench.__main__ import machine
from bench.table import show
from bench.trials.job import Job
from bench.trials.judge import judged
from bench.trials.run import run
from bench.trials.texts import PACKS, ROWS, model_ids, open_base, pairs
from chatlab.models.base import Base
from chatlab.system.lines import json_rows
from chatlab.training.defaults import settings_for

OUT = Path(__file__).with_name("results") / "settings.json"
TRIED: tuple[Mapping[str, Any], ...] = (
    {"layers": 0.5, "learning_rate": 7e-4},
    {"layers": 1.0, "learning_rate": 5e-4},
    {"layers": 0.5, "learning_rate": 1e-3},
    {"layers": 0.5, "learning_rate": 7e-4, "kl_weight": 1.0},
    {"layers": 0.5, "learning_rate": 2e-3},
    {"layers": 1.0, "learning_rate": 1e-3},
    {"layers": 1 / 3, "learning_rate": 1e-3},
    {"layers": 0.5, "learning_rate": 7e-4, "epochs": 1.5},
    {"layers": 0.5, "learning_rate": 7e-4, "epochs": 0.5},
    {"layers": 0.5, "learning_rate": 7e-4, "rank": 8, "alpha": 16.0},
    {"layers": 0.5, "learning_rate": 7e-4, "rank": 32, "alpha": 64.0},
)
"""What differs from the defaults; epochs in parts of theirs. An early end leaves the first ones, which say most."""
NAMED = ("rank", "alpha", "layers", "learning_rate", "epochs", "batch_size", "kl_weight", "kl_samples", "held_out")
SEEDS = (0, 1, 2)
REPLY_TOKENS = {"stage": 64, "triage": 48, "dolly": 96}
"""No judge reads on: a stage answer has 45 words at most, a line of JSON thirty tokens."""
SHOWN = {"stage": ("in voice", "archaic"), "triage": ("valid", "team", "urgency"), "dolly": ("F1",)}


def grid(models: Mapping[str, Base], packs: Sequence[str]) -> Iterator[Job]:
    """The bare base, then every setting with one seed, then the first ones with the others."""
    for name, base in models.items():
        for pack in packs:
            yield Job(model=name, pack=pack, reply_tokens=REPLY_TOKENS[pack])
            for seed in SEEDS:
                for changes in TRIED if seed == SEEDS[0] else TRIED[:3]:
                    chosen = settings(base, pack, seed, changes)
                    yield Job(model=name, pack=pack, settings=chosen, reply_tokens=REPLY_TOKENS[pack])


def settings(base: Base, pack: str, seed: int, changes: Mapping[str, Any]) -> dict[str, Any]:
    """The defaults for this base and pack with `changes`."""
    usual = asdict(settings_for(len(pairs(pack)[0]), base.parameters))
    named = {name: usual[name] for name in NAMED} | {"seed": seed}
    return named | changes | {"epochs": round(usual["epochs"] * changes.get("epochs", 1))}


def table(bases: Mapping[str, Base], work: Path) -> dict[str, Any]:
    """Every trial with what its replies show, replies and all."""
    rows = json_rows(work / "trials.jsonl")
    trials = []
    for row in {row["key"]: row for row in rows if "error" not in row}.values():
        found = judged(bases[row["model"]], row)
        kept = {k: v for k, v in row.items() if k not in ("key", "replies", "facts", "keep", "asked", "reply_tokens")}
        trials.append({**kept, **found})
    for model in bases:
        for pack in PACKS:
            own = [t for t in trials if (t["model"], t["pack"]) == (model, pack)]
            if own:
                print(f"\n{model}, {pack}")
                show([_line(t) for t in sorted(own, key=lambda t: str(sorted(t["settings"].items())))])
    return {"trials": trials, "dolly rows": ROWS}


def _line(trial: Mapping[str, Any]) -> dict[str, object]:
    settings = trial["settings"]
    return {
        "rate": settings.get("learning_rate", "base"),
        "KL": settings.get("kl_weight", ""),
        "layers": settings.get("layers", ""),
        "rank": settings.get("rank", ""),
        "epochs": settings.get("epochs", ""),
        "seed": settings.get("seed", ""),
        "task loss": trial["task_loss"],
        "forgets %": trial["forgetting"],
        "KL to base": trial["kl"],
        "form": trial["form"],
        **{name: trial[name] for name in SHOWN[trial["pack"]]},
        "words": trial["words"],
        "repeats": trial["repeats"],
        "facts": trial["facts"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", metavar="NAME=MODEL.gguf")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--pack", action="append", choices=PACKS, help="more than once for several; all unless given")
    parser.add_argument("--first", type=int, help="only so many trials of each model and pack")
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--note", default="", help="what the figures were taken on, in words")
    given = parser.parse_args()
    work, trials = given.work, given.work / "trials.jsonl"
    work.mkdir(parents=True, exist_ok=True)
    bases = {}
    for name, _, file in (model.partition("=") for model in given.models):
        bases[name], folder = open_base(Path(file), work / "cache")
        if not (work / f"{name}.json").exists():
            model_ids(bases[name]).save(work / f"{name}.json")
        if not (work / name).exists():
            (work / name).symlink_to(folder)
    if not given.table:
        for name, pack in product(bases, given.pack or PACKS):
            run(list(grid({name: bases[name]}, [pack]))[: given.first], work, trials)
    told = {"machine": machine() | {"note": given.note}, "figures": table(bases, work)}
    OUT.write_text(re.sub(r"\n {5,}", " ", json.dumps(told, indent=1)) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
