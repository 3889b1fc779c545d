"""Twenty people chat over HTTP while a run is always under way: errors, waits, memory, and who hears whom.

`python -m bench.load [--minutes N] [--people N] [--json FILE]`
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import quantiles

import httpx
import psutil

from bench.crowd import WORD, Heard, crowd, signed_in
from bench.table import show
from chatlab.lab import Lab
from chatlab.settings import PACKAGE, Settings
from chatlab.store import Store
from chatlab.system.malloc import limit_arenas
from chatlab.system.ports import listening
from chatlab.web.app import serve
from chatlab.web.shutdown import Shutdown

PEOPLE, MINUTES = 20, 10.0
WARM_UP = 0.2
"""Share of the time whose memory is left out of the slope: engine, caches and heap come to their size."""


def measure(rounds: int = 5, minutes: float = MINUTES, people: int = PEOPLE) -> dict[str, float]:
    """Once, whatever `rounds` says: it takes `minutes`."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        with app(home, people) as (address, process), Memory(process) as memory:
            heard = crowd(address, signed_in(people), 60 * minutes)
            runs = len(list((home / "store" / "runs").glob("*/run.json")))
        figures = told(heard) | {"runs_begun": float(runs)} | memory.figures() | stored(home, heard)
    figures = {"people": float(people), "minutes": minutes} | figures
    show([{"": name, "value": value} for name, value in figures.items()])
    for error in {error for one in heard for error in one.errors}:
        print("error:", error)
    return figures


def told(heard: Sequence[Heard]) -> dict[str, float]:
    """Of what came over the wire; seconds."""
    first = [wait for one in heard for wait in one.first]
    whole = [wait for one in heard for wait in one.whole]
    return {
        "answers": float(len(whole)),
        "errors": float(sum(len(one.errors) for one in heard)),
        "others_words_heard": float(sum(len(one.others) for one in heard)),
        "first_words_p50_s": share(first, 50),
        "first_words_p95_s": share(first, 95),
        "whole_answer_p50_s": share(whole, 50),
        "whole_answer_p95_s": share(whole, 95),
    }


def stored(home: Path, heard: Sequence[Heard]) -> dict[str, float]:
    """Of what was kept: every conversation holds the word of one person."""
    words = {one.word for one in heard}
    mixed = kept = 0
    with Store.open(home / "store") as store:
        for _, conversation in store.conversations.rows():
            there = {word for turn in conversation.turns for word in WORD.findall(turn.content)} & words
            kept += 1
            mixed += len(there) > 1
    return {"conversations_kept": float(kept), "conversations_mixed": float(mixed)}


class Memory:
    """Looks at a process's resident memory every two seconds."""

    def __init__(self, process: int) -> None:
        self._process = psutil.Process(process)
        self._seen: list[tuple[float, float]] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Memory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def figures(self) -> dict[str, float]:
        """MB, and MB an hour by a straight line through all but the warm-up."""
        if len(self._seen) < 3:
            return {}
        start = self._seen[0][0] + WARM_UP * (self._seen[-1][0] - self._seen[0][0])
        later = [(at, size) for at, size in self._seen if at >= start]
        return {
            "memory_first_mb": self._seen[0][1],
            "memory_last_mb": self._seen[-1][1],
            "memory_slope_mb_per_hour": 3600 * slope(later),
        }

    def _look(self) -> None:
        while not self._over.wait(2.0):
            try:
                self._seen.append((time.monotonic(), self._process.memory_info().rss / 2**20))
            except psutil.Error:
                return


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Of the line that fits best."""
    middle_x = sum(x for x, _ in points) / len(points)
    middle_y = sum(y for _, y in points) / len(points)
    spread = sum((x - middle_x) ** 2 for x, _ in points)
    return sum((x - middle_x) * (y - middle_y) for x, y in points) / spread if spread else 0.0


def share(values: Sequence[float], per_cent: int) -> float:
    if len(values) < 2:
        return float(next(iter(values), 0.0))
    return round(quantiles(values, n=100, method="inclusive")[per_cent - 1], 3)


@contextmanager
def app(home: Path, people: int) -> Iterator[tuple[str, int]]:
    """A server in a process of its own, always training; its address and its number."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    command = [sys.executable, "-m", "bench.load", "--serve", str(home), "--port", str(port)]
    command += ["--people", str(people)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(1200):
            if running(address, signed_in(1)[0]):
                break
            time.sleep(0.1)
        yield address, process.pid
    finally:
        process.terminate()
        process.wait(60)


def running(address: str, auth: tuple[str, str]) -> bool:
    """Whether it answers, with the engine open and a run under way."""
    try:
        said = httpx.get(f"{address}/chatlab/health", trust_env=False, verify=False, timeout=5, auth=auth).json()
    except httpx.TransportError:
        return False
    return bool(said["engine"] == "open" and said["trainer"] == "training")


def serve_and_train(home: Path, port: int, people: int) -> None:
    limit_arenas()
    base = Path(os.environ.get("CHATLAB_BASE", PACKAGE / "models" / "embedded"))
    wanted = Settings(home=home, base=base, port=port, auth=signed_in(people))
    with Shutdown() as ending, listening(wanted) as (sock, settings):
        lab = Lab(settings)
        lab.demonstrations.load_pack("stage")
        threading.Thread(target=train_on, args=(lab, ending), daemon=True).start()
        try:
            serve(lab, settings, sock, open_browser=False, ending=ending)
        finally:
            lab.close()


def train_on(lab: Lab, ending: Shutdown) -> None:
    """One run after the other."""
    while not lab.machine.started:
        time.sleep(0.1)
    while not ending.asked:
        lab.training.retrain(live=False, epochs=30)
        lab.training.wait()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.load", description=__doc__)
    parser.add_argument("--minutes", type=float, default=MINUTES)
    parser.add_argument("--people", type=int, default=PEOPLE)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        serve_and_train(given.serve, given.port, given.people)
        return
    figures = measure(minutes=given.minutes, people=given.people)
    if given.json:
        from bench.__main__ import machine

        written = {"machine": machine(), "figures": figures}
        given.json.write_text(json.dumps(written, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
