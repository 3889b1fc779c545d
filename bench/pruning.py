"""What keeping the hardest 100 / 50 / 25 / 10 % of a training set does to the loss on answers kept aside.

`python -m bench.pruning [--rows N] [--aside N] [--seeds N] [--workers N]`. Dolly rows; LoRA on the embedded base, no KL
penalty. Hardest by the base's own loss, hardest by how little the instruction helps (Li et al. 2024), and as many drawn
at random; each trained for as many passes as the whole set (fewer steps: cheaper) and for as many steps (more passes:
as dear). A cell is written down as it is done, in `bench/results/pruning.tmp`; a run that was stopped goes on there.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from statistics import mean, stdev
from typing import TYPE_CHECKING, Any, Literal

from bench.quality import dolly
from bench.table import show
from chatlab.evaluation.difficulty import Difficulty
from chatlab.models.base import Base
from chatlab.quality.pruning import pruned
from chatlab.records import Message, TrainSettings
from chatlab.settings import PACKAGE

if TYPE_CHECKING:
    from chatlab.training.data import Example
    from chatlab.training.model import LoraModel

By = Literal["loss", "ratio", "random"]
Match = Literal["passes", "steps"]
SHARES = (100, 50, 25, 10)
CHOICES: tuple[By, ...] = ("loss", "ratio", "random")
MATCHES: tuple[Match, ...] = ("passes", "steps")
PASSES = 2
CELLS = Path("bench/results/pruning.tmp")


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What all cells of an experiment share."""

    rows: int = 480
    aside: int = 240
    base: str = os.environ.get("CHATLAB_BASE", str(PACKAGE / "models" / "embedded"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One training."""

    share: int
    """Per cent of the rows that are kept."""
    by: By
    match: Match
    seed: int


def measure(rounds: int = 3, setting: Setting | None = None, workers: int = 2) -> dict[str, Any]:
    """`rounds` are seeds. Nats a token, mean and standard deviation over them."""
    setting = setting or Setting()
    known = read(setting)
    todo = [cell for cell in cells(rounds) if cell not in known]
    print(f"{len(known)} cells known, {len(todo)} to train", flush=True)
    began = time.perf_counter()
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_open, initargs=(setting,)) as pool:
        # The longest first, so that none is left alone at the end.
        todo.sort(key=lambda cell: -cell.share if cell.match == "passes" else -100)
        for done in as_completed([pool.submit(_train, cell) for cell in todo]):
            cell, found = done.result()
            known[cell] = found
            write(setting, cell, found)
            print(f"{time.perf_counter() - began:6.0f} s  {cell}  {found['after']:.4f}", flush=True)
    figures = {"setting": {"rows": setting.rows, "aside": setting.aside, "passes": PASSES, "seeds": rounds}}
    figures["held-out loss"] = summary(known, rounds)  # type: ignore[assignment]
    show([{"": name, **row} for name, row in figures["held-out loss"].items()])
    return figures


def cells(seeds: int) -> list[Cell]:
    """The whole set once for each seed; every smaller share by both choices and both matches."""
    whole = [Cell(share=100, by="loss", match="passes", seed=seed) for seed in range(seeds)]
    rest = [
        Cell(share=share, by=by, match=match, seed=seed)
        for seed in range(seeds)
        for share in SHARES[1:]
        for by in CHOICES
        for match in MATCHES
    ]
    return [*whole, *rest]


def summary(known: dict[Cell, dict[str, float]], seeds: int) -> dict[str, dict[str, float]]:
    """By choice and match, over the seeds that are done."""
    rows: dict[str, dict[str, float]] = {}
    for share in SHARES:
        for match, by in product(MATCHES, CHOICES):
            some = [f for c, f in known.items() if (c.share, c.by, c.match) == (share, by, match) and c.seed < seeds]
            if some:
                after = [f["after"] for f in some]
                name = "all" if share == 100 else f"{share} % by {by}, same {match}"
                rows[name] = {
                    "seeds": len(some),
                    "steps": some[0]["steps"],
                    "before": round(mean(f["before"] for f in some), 4),
                    "after": round(mean(after), 4),
                    "spread": round(stdev(after), 4) if len(after) > 1 else 0.0,
                }
    return rows


def read(setting: Setting) -> dict[Cell, dict[str, float]]:
    """Cells of this very setting that were trained before."""
    lines = CELLS.read_text(encoding="utf-8").splitlines() if CELLS.exists() else []
    raw = [json.loads(line) for line in lines if line.endswith("}")]
    return {Cell(**row["cell"]): row["found"] for row in raw if row["setting"] == asdict(setting)}


def write(setting: Setting, cell: Cell, found: dict[str, float]) -> None:
    CELLS.parent.mkdir(parents=True, exist_ok=True)
    with CELLS.open("a", encoding="utf-8") as file:
        file.write(json.dumps({"setting": asdict(setting), "cell": asdict(cell), "found": found}) + "\n")


# In a worker: one learner, one set of rows, kept between cells.


class Bench:
    """Examples to train on with their difficulties, held-out ones, and a model."""

    def __init__(self, setting: Setting) -> None:
        import torch

        from chatlab.evaluation.scorer import open_model

        torch.set_num_threads(1)
        base = Base.open(Path(setting.base))
        chosen = random.Random("pruning").sample(dolly(), setting.rows + setting.aside)
        talks = {i: d.messages for i, d in chosen}
        self.model: LoraModel = open_model(base)
        self.rows = {i: row for i in talks if (row := _row(base, i, talks[i])) and len(row.ids) <= 256}
        ids = [i for i in talks if i in self.rows]
        self.pool, self.aside = ids[: setting.rows], ids[setting.rows :]
        self.difficulty = dict(self._difficulties(base, talks))
        del self.model
        self.model = _model(base)
        self.before = self._loss()

    def train(self, cell: Cell) -> dict[str, float]:
        """Held-out loss before and after, and what it took."""
        from chatlab.training.loop import train
        from chatlab.training.sft import SFTLoss

        kept = self._kept(cell)
        times = 100 / cell.share if cell.match == "steps" else 1
        settings = TrainSettings(
            batch_size=8,
            epochs=max(1, round(PASSES * times)),
            kl_weight=0.0,
            seed=cell.seed,
            held_out=0.0,
            learning_rate=1e-3,
        )
        self.model.reset(settings)
        began, steps = time.perf_counter(), 0
        examples = [self.rows[i] for i in kept]
        for _ in train(self.model, examples, settings, SFTLoss(settings), lambda step, of: {}):
            steps += 1
        took = time.perf_counter() - began
        return {
            "before": self.before,
            "after": self._loss(),
            "steps": steps,
            "rows": len(kept),
            "seconds": round(took, 1),
        }

    def _kept(self, cell: Cell) -> Sequence[int]:
        """A draw at random is a hardness at random."""
        rng = random.Random(f"random {cell.seed}")
        hardness = {
            "loss": {i: each.loss for i, each in self.difficulty.items()},
            "ratio": {i: each.ratio for i, each in self.difficulty.items()},
            "random": {i: rng.random() for i in self.pool},
        }
        return pruned(self.pool, (), hardness[cell.by], cell.share / 100).kept

    def _difficulties(self, base: Base, talks: dict[int, tuple[Message, ...]]) -> Iterator[tuple[int, Difficulty]]:
        from chatlab.evaluation.scorer import difficulties

        for start in range(0, len(self.pool), 16):
            some = self.pool[start : start + 16]
            found: list[Difficulty | None] = difficulties(
                self.model, base.template, base.context, [talks[i] for i in some]
            )
            yield from ((i, each) for i, each in zip(some, found, strict=True) if each)

    def _loss(self) -> float:
        from chatlab.training.metrics import nll

        return round(nll(self.model, [self.rows[i] for i in self.aside]).mean, 5)


def _row(base: Base, number: int, messages: Sequence[Message]) -> Example | None:
    from chatlab.training.data import Example

    encoded = base.template.encode(messages)
    return Example(demonstration=number, ids=encoded[0].ids, labels=encoded[0].labels) if len(encoded) == 1 else None


def _model(base: Base) -> LoraModel:
    from accelerate import Accelerator

    from chatlab.system.host import bfloat16_is_faster
    from chatlab.training.model import LoraModel

    return LoraModel(base.folder, TrainSettings(), Accelerator(cpu=True), bfloat16_is_faster())


_bench: Bench | None = None
"""Of this worker process, which the pool gives no other place to keep it in."""


def _open(setting: Setting) -> None:
    global _bench
    _bench = Bench(setting)


def _train(cell: Cell) -> tuple[Cell, dict[str, float]]:
    assert _bench is not None
    return cell, _bench.train(cell)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m bench.pruning", description=__doc__)
    parser.add_argument("--rows", type=int, default=Setting().rows)
    parser.add_argument("--aside", type=int, default=Setting().aside)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    given = parser.parse_args()
    result = measure(given.seeds, Setting(rows=given.rows, aside=given.aside), given.workers)
    if given.json:
        given.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
