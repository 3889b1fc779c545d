"""Settings tried on real models: rate, KL weight, layers, rank and epochs, on a voice, a strict format and a domain.

    python -m bench.settings NAME=MODEL.gguf ... --work FOLDER [--device cuda] [--workers N] [--side-by-side]

Every trial trains as the app does and is judged by its replies to unseen prompts, by forty everyday questions asked
before and after, by forgetting, and by the loss on demonstrations put aside. FOLDER keeps what was computed; what is
there is not computed again. A GPU takes one trial after the other in each of its workers (`--device cuda`); two CPU
cores are faster with adapters side by side (`--side-by-side`). `--texts` makes what needs a tokenizer and stops,
`--table` only judges what FOLDER has.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.__main__ import machine
from bench.table import show
from bench.trials.job import Job, write_jobs
from bench.trials.judge import judged
from bench.trials.run import run
from bench.trials.side_by_side import run_sweep
from bench.trials.texts import PACKS, ROWS, model_ids, open_base
from chatlab.models.base import Base
from chatlab.system.host import bfloat16_is_faster

OUT = Path(__file__).with_name("results") / "settings.json"
RATES = (3e-4, 5e-4, 1e-3, 2e-3)
WEIGHTS = (0.0, 1.0, 3.5)
"""Of the KL penalty."""
SIDE_BY_SIDE = 4
SHOWN = {"stage": ("in voice", "archaic"), "triage": ("valid", "team", "urgency"), "dolly": ("F1",)}


def grid(models: Sequence[str]) -> Iterator[Job]:
    """The best-known settings first, so that an early end leaves the trials that say most."""
    for model in models:
        for pack in PACKS:
            yield Job(model=model, pack=pack)
            for rate in RATES:
                for weight in WEIGHTS:
                    yield job(model, pack, learning_rate=rate, kl_weight=weight)
            for rate in (1e-3, 2e-3, 4e-3):
                yield job(model, pack, 0.5, learning_rate=rate)
            for rate in (5e-4, 1e-3):
                for times in (0.5, 1.5):
                    yield job(model, pack, learning_rate=rate, epochs=round(_epochs(pack) * times))
            for rank in (8, 32):
                yield job(model, pack, rank=rank, alpha=2.0 * rank)
            for seed in (1, 2):
                for rate, weight in ((5e-4, 1.0), (1e-3, 1.0), (1e-3, 3.5)):
                    yield job(model, pack, learning_rate=rate, kl_weight=weight, seed=seed)


def job(model: str, pack: str, layers: float = 1.0, **overrides: Any) -> Job:
    """A trial that differs from rate 1e-3, KL weight 1 and rank 16 in `overrides`."""
    many = pack == "dolly"
    settings = {
        "rank": 16,
        "alpha": 32.0,
        "learning_rate": 1e-3,
        "epochs": _epochs(pack),
        "batch_size": 8 if many else 4,
        "kl_weight": 1.0,
        "kl_samples": 2 if many else 1,
        "held_out": 0.1,
        "seed": 0,
    }
    return Job(model=model, pack=pack, layers=layers, settings=settings | overrides)


def _epochs(pack: str) -> int:
    return 4 if pack == "dolly" else 6


def sweeps(jobs: Sequence[Job]) -> list[list[Job]]:
    """Jobs that may be trained side by side: those that read the same rows in the same order at the same rank."""
    groups: dict[tuple[Any, ...], list[Job]] = defaultdict(list)
    for one in jobs:
        if one.settings:
            s = one.settings
            groups[one.model, one.pack, s["epochs"], s["batch_size"], s["rank"], s["seed"]].append(one)
    return [own[n : n + SIDE_BY_SIDE] for own in groups.values() for n in range(0, len(own), SIDE_BY_SIDE)]


def table(bases: Mapping[str, Base], work: Path) -> dict[str, Any]:
    """Every trial with what its replies show, replies and all."""
    rows = [json.loads(line) for line in (work / "trials.jsonl").read_text(encoding="utf-8").splitlines()]
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
                show([_line(t) for t in sorted(own, key=lambda t: (-t["layers"], *map(str, t["settings"].values())))])
    return {"trials": trials, "dolly rows": ROWS}


def _line(trial: Mapping[str, Any]) -> dict[str, object]:
    settings = trial["settings"]
    return {
        "rate": settings.get("learning_rate", "base"),
        "KL": settings.get("kl_weight", ""),
        "layers": trial["layers"] if settings else "",
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
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--side-by-side", action="store_true")
    parser.add_argument("--texts", action="store_true")
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
    jobs = list(grid(list(bases)))
    write_jobs(work / "grid.jsonl", jobs)
    if given.texts:
        return
    if given.side_by_side:
        for group in sweeps(jobs):
            run_sweep(group, work, trials, bf16=bfloat16_is_faster())
    elif not given.table:
        run(jobs, work, trials, workers=given.workers, device=given.device)
    figures = table(bases, work)
    told = {"machine": machine() | {"note": given.note}, "figures": figures}
    OUT.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
