"""One page left open for 4,000 turns: how much the server's process grows.

`python -m bench.page [--turns N] [--each N] [--base] [--json FILE]`
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil

from bench.load import slope
from bench.open_page import OpenPage
from bench.table import show
from chatlab.engines.fake import FakeEngine
from chatlab.lab import Lab
from chatlab.settings import PACKAGE, Settings
from chatlab.system.malloc import limit_arenas
from chatlab.system.ports import listening
from chatlab.web.app import serve
from chatlab.web.health import PATH
from chatlab.web.shutdown import Shutdown

TURNS, EACH, MARKS = 4000, 20, 20
"""Turns in all, turns of each conversation, and looks at the memory."""
WARM_UP = 0.1
"""Share of the turns that is left out of the slope."""
TARGET = 100.0
ASKED = "This is message {number}. Tell me of the harbour, and of the sea beyond it."


def measure(rounds: int = 5, turns: int = TURNS, each: int = EACH, real: bool = False) -> dict[str, float]:
    """MB of the server's process; once, whatever `rounds` says. With `real` the embedded base answers."""
    with tempfile.TemporaryDirectory() as home, app(Path(home), real) as (address, process):
        marks = list(_lived(OpenPage(address), psutil.Process(process), turns, each))
    later = [(turn, size) for turn, size in marks if turn >= WARM_UP * turns]
    figures = {"turns": float(turns), "turns_of_a_conversation": float(each)}
    figures |= {f"memory_after_{turn}_mb": size for turn, size in marks}
    figures |= {"growth_mb": marks[-1][1] - marks[0][1], "slope_kb_a_turn": 1024 * slope(later)}
    targets = {"growth_mb": TARGET}
    show([{"": name, "value": value, "target": targets.get(name, "")} for name, value in figures.items()])
    return figures


def _lived(page: OpenPage, process: psutil.Process, turns: int, each: int) -> Iterator[tuple[int, float]]:
    """The memory before the first turn, and at each mark."""
    began = time.monotonic()
    page.tick()
    for turn in range(turns + 1):
        if turn:
            if turn % each == 0:
                page.press("new")
            page.say(ASKED.format(number=turn))
            page.tick()
        if turn % max(1, turns // MARKS) == 0:
            size = process.memory_info().rss / 2**20
            print(f"{turn:5d} turns  {size:6.1f} MB  {time.monotonic() - began:5.0f} s", flush=True)
            yield turn, size
    page.close()


@contextmanager
def app(home: Path, real: bool) -> Iterator[tuple[str, int]]:
    """A server in a process of its own; its address and its number."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    command = [sys.executable, "-m", "bench.page", "--serve", str(home), "--port", str(port)]
    process = subprocess.Popen(command + ["--base"] * real, stdout=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(1200):
            if _open(address):
                break
            time.sleep(0.1)
        yield address, process.pid
    finally:
        process.terminate()
        process.wait(60)


def _open(address: str) -> bool:
    try:
        return bool(httpx.get(address + PATH, trust_env=False, verify=False, timeout=5).json()["engine"] == "open")
    except httpx.TransportError:
        return False


def serve_alone(home: Path, port: int, real: bool) -> None:
    """The app as it is started by hand, but for the fake engine."""
    limit_arenas()
    base = Path(os.environ.get("CHATLAB_BASE", PACKAGE / "models" / "embedded"))
    with Shutdown() as ending, listening(Settings(home=home, base=base, port=port)) as (sock, settings):
        lab = Lab(settings) if real else Lab(settings, open_engine=lambda base: FakeEngine(context=1_000_000))
        try:
            serve(lab, settings, sock, open_browser=False, ending=ending)
        finally:
            lab.close()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.page", description=__doc__)
    parser.add_argument("--turns", type=int, default=TURNS)
    parser.add_argument("--each", type=int, default=EACH, help="turns of a conversation before a new one begins")
    parser.add_argument("--base", action="store_true", help="let the embedded base answer")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        serve_alone(given.serve, given.port, given.base)
        return
    figures = measure(turns=given.turns, each=given.each, real=given.base)
    if given.json:
        from bench.__main__ import machine

        written = {"machine": machine(), "figures": figures}
        given.json.write_text(json.dumps(written, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
