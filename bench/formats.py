"""Import and export of many rows: how long they take, and what memory they need beyond the store's own.

`python -m bench.formats [--count N] [--rounds N] [--json FILE]`. Each figure comes from a process of its own. The
store's own memory is that of a process that is handed the same records, ready made, in the same batches.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path

from bench.store import demonstration
from bench.table import middle, show
from chatlab.formats import DatasetReader, Imported, format_of, sniff, write
from chatlab.lab.data.datasets import Datasets, ExportFilter
from chatlab.lab.data.import_job import BATCH
from chatlab.lab.data.unseen import Unseen
from chatlab.records import Demonstration
from chatlab.store import Store

COUNT = 100_000
FORMATS = ("openai", "sharegpt", "alpaca", "csv", "parquet")


def measure(rounds: int = 1, count: int = COUNT) -> dict[str, dict[str, float]]:
    """Seconds, rows a second and MB at the peak, of each way in and out. They take long: a fifth of the rounds do."""
    rounds = max(1, rounds // 5)
    figures: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in FORMATS:
            write(Path(folder) / name, records(count), format_of(name))
            write(Path(folder) / f"{name}-small", records(count // 10), format_of(name))
        own = taken("store", Path(folder), "", count, rounds)
        figures["the store alone"] = own
        for name in FORMATS:
            small, whole = (taken("read", Path(folder), file, count, rounds) for file in (f"{name}-small", name))
            figures[f"read {name}"] = whole | {"MB at a tenth": small["MB"]}
            done = taken("import", Path(folder), name, count, rounds)
            figures[f"import {name}"] = done | {"MB beyond the store": round(done["MB"] - own["MB"], 1)}
        for name in FORMATS:
            figures[f"export {name}"] = taken("export", Path(folder), name, count, rounds)
    columns = ("seconds", "CPU seconds", "rows/s", "MB", "MB at a tenth", "MB beyond the store")
    show([{"": name, **{c: row.get(c, "") for c in columns}} for name, row in figures.items()])
    return figures


def taken(what: str, folder: Path, file: str, count: int, rounds: int) -> dict[str, float]:
    """One figure, the middle of so many processes."""
    runs = []
    for _ in range(rounds):
        command = [sys.executable, "-m", "bench.formats", "--one", what, str(folder / file), "--count", str(count)]
        runs.append(json.loads(subprocess.run(command, check=True, capture_output=True).stdout))
    seconds, computed, memory = (middle([run[name] for run in runs]) for name in ("seconds", "CPU seconds", "MB"))
    spent = {"seconds": round(seconds, 2), "CPU seconds": round(computed, 2)}
    return {**spent, "rows/s": round(runs[0]["rows"] / seconds), "MB": round(memory, 1)}


def one(what: str, file: Path, count: int) -> dict[str, float]:
    """Done here and now, in a process that has done nothing else."""
    with tempfile.TemporaryDirectory() as folder, Store.open(Path(folder) / "store") as store:
        act = {"read": read, "import": brought, "export": exported, "store": handed}[what](store, file, count)
        began, computed, before = time.perf_counter(), cpu_seconds(), peak_from_here()
        rows = act()
        spent = {"seconds": time.perf_counter() - began, "CPU seconds": cpu_seconds() - computed}
        return {"rows": rows, **spent, "MB": memory_mb() - before}


def read(store: Store, file: Path, count: int) -> Callable[[], int]:
    """The file alone, without a store."""
    return lambda: sum(isinstance(outcome, Imported) for outcome in DatasetReader(file, sniff(file)))


def brought(store: Store, file: Path, count: int) -> Callable[[], int]:
    exchange = Datasets(store, file.parent, Unseen(store))

    def act() -> int:
        *_, last = exchange.import_file(file, exchange.sniff(file))
        assert last.kept == count, last
        return last.kept

    return act


def exported(store: Store, file: Path, count: int) -> Callable[[], int]:
    for batch in batches(records(count)):
        store.demonstrations.add_many(batch)
    list(store.demonstrations.rows())
    return lambda: Datasets(store, file.parent, Unseen(store)).export(file.name, ExportFilter(), file.parent).records


def handed(store: Store, file: Path, count: int) -> Callable[[], int]:
    return lambda: sum(len(store.demonstrations.add_many(batch)) for batch in batches(records(count)))


def records(count: int) -> Iterator[Demonstration]:
    """Of about 1 KB each, no two alike."""
    return (demonstration(random.Random(number)) for number in range(count))


def batches(given: Iterable[Demonstration]) -> Iterator[list[Demonstration]]:
    left = iter(given)
    while batch := list(islice(left, BATCH)):
        yield batch


def cpu_seconds() -> float:
    """Of this process and those that it waited for: the same on a busy machine as on an idle one, nearly."""
    spent = os.times()
    return spent.user + spent.system + spent.children_user + spent.children_system


def peak_from_here() -> float:
    """Forget earlier peaks, where the system can; MB that are in use."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return memory_mb()


def memory_mb() -> float:
    """The most that this process has used since."""
    try:
        found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    except OSError:
        found = None
    return int(found[1]) / 1024 if found else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.formats", description=__doc__)
    parser.add_argument("--count", type=int, default=COUNT)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--one", nargs=2, metavar=("WHAT", "FILE"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        print(json.dumps(one(given.one[0], Path(given.one[1]), given.count)))
        return
    figures = measure(given.rounds, given.count)
    if given.json:
        given.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
