"""The whole app killed again and again under mixed use: `python -m tests.support.kills.app FOLDER TIMES`.

Three pages at once chat, rate, rewrite, import, approve, train, go live, vote, add documents, export, back up, restore
and talk incognito. At a random moment, or at a chosen one, the app is ended; it is opened again on the same home, and
everything that it had acknowledged has to be there, nothing half, no process of it alive.

Real: the app, its server, the base, the trainer and every other child. Nine of ten lives are forked from a process that
has imported the app's modules; every tenth is `python app.py`. The same FOLDER again goes on where it was.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import signal
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import httpx

from tests.support.kills.judge import Judge, leftovers
from tests.support.kills.lives import App
from tests.support.kills.pages import Doors, Layout, Page, Person, Receipts

PAGES = 3
GONE = 2.0
"""Seconds after the app's end in which its last child has to be gone."""
MOMENTS = {
    "any": 30,
    "opening": 8,
    "publish": 14,
    "go live": 12,
    "closing": 12,
    "backup": 8,
    "restore": 6,
    "ingestion": 10,
}
KINDS = {
    "KILL, the app alone": 45,
    "KILL, with all children": 20,
    "TERM": 10,
    "INT": 8,
    "INT twice": 9,
    "trainer, then KILL": 8,
}
FIRST = {
    "publish": ["chat", "rewrite", "retrain"],
    "go live": ["chat", "rewrite", "go_live"],
    "backup": ["chat", "backup"],
    "restore": ["chat", "restore"],
    "ingestion": ["document"],
}
WAITS_FOR = {"backup": "backup", "restore": "restore", "ingestion": "document", "go live": "go_live"}
DELAY = {"any": 8.0, "publish": 0.25, "go live": 0.4, "backup": 0.06, "restore": 0.2, "ingestion": 1.5}
"""Seconds at most from the moment that was waited for to the kill."""
PATIENCE = float(os.environ.get("CHATLAB_KILLS_PATIENCE", "40"))
"""Seconds that a moment is waited for."""


class Sweep:
    """One home, many lives."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.home = folder, folder / "home"
        folder.mkdir(parents=True, exist_ok=True)
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            port = sock.getsockname()[1]
        self.environment = {
            "CHATLAB_HOME": str(self.home),
            "CHATLAB_PORT": str(port),
            "CHATLAB_THREADS": "1",
            "OMP_NUM_THREADS": "1",
            "TMPDIR": str(folder / "tmp"),
            "GRADIO_TEMP_DIR": str(folder / "tmp" / "uploads" / "gradio"),
            "GRADIO_ANALYTICS_ENABLED": "False",
        }
        Path(self.environment["GRADIO_TEMP_DIR"]).mkdir(parents=True, exist_ok=True)
        self.receipts = Receipts(folder / "receipts.jsonl")
        self.judge = Judge(self.home, self.receipts)
        self.tally = folder / "kills.jsonl"
        self.refusals: Counter[str] = Counter()

    @property
    def lives(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.tally.read_text().splitlines()] if self.tally.exists() else []

    def prepare(self) -> None:
        """A life that is not killed: two adapters, to vote on and to put live."""
        app = App(self.environment, self.folder / "said-0.txt", forked=True)
        app.opened()
        page = Page(app.address, _layout(app))
        person = Person(page, "life0page0", 0, self.receipts, Doors(), threading.Event())
        for act in (person.chat, person.rewrite, person.chat, person.rewrite):
            act()
        for number in (1, 2):
            person.train()
            ends = time.monotonic() + 300
            while len(list(self.home.glob("store/runs/*/published.json"))) < number:
                assert time.monotonic() < ends, "the first run does not end"
                time.sleep(0.1)
        os.kill(app.pid, signal.SIGTERM)
        assert app.ended(60)

    def one(self, number: int) -> None:
        """Open, look, use, end, and see that nothing of it is left running."""
        rng = random.Random(number)
        moment = rng.choices([*MOMENTS], [*MOMENTS.values()])[0]
        kind = "closing" if moment == "closing" else rng.choices([*KINDS], [*KINDS.values()])[0]
        app = App(self.environment, self.folder / f"said-{number}.txt", forked=number % 10 != 0)
        opened = None
        if moment == "opening":
            time.sleep(rng.uniform(0.05, 4.0))
        else:
            opened = app.opened()
            self.judge.look()
            self._use(app, number, moment, rng)
        kind, closing, children = self._end(app, kind, rng)
        last = self._gone(app, children)
        self._said(app, number)
        life = {
            "number": number,
            "moment": moment,
            "kind": kind,
            "opened": opened,
            "forked": number % 10 != 0,
            "closing": closing,
            "children": children,
            "last child": last,
        }
        with self.tally.open("a", encoding="utf-8") as file:
            file.write(json.dumps(life) + "\n")
        if self.judge.losses:
            raise AssertionError(f"life {number} ({moment}, {kind}): {self.judge.losses}")

    def _use(self, app: App, number: int, moment: str, rng: random.Random) -> None:
        layout, about, doors = _layout(app), threading.Event(), Doors()
        people = [
            Person(Page(app.address, layout), f"life{number}page{n}", 10 * number + n, self.receipts, doors, about)
            for n in range(PAGES)
        ]
        people[0].waits_for = WAITS_FOR.get(moment, "")
        threads = [
            threading.Thread(
                target=one.live, args=(list(FIRST.get(moment, ["chat"])) if one is people[0] else [],), daemon=True
            )
            for one in people
        ]
        for thread in threads:
            thread.start()
        if moment == "publish":
            self._wait(app, self._publishing())
        elif moment in WAITS_FOR:
            self._wait(app, about.is_set)
        if moment != "closing":
            time.sleep(rng.uniform(0.0, DELAY[moment]))
        else:
            time.sleep(rng.uniform(0.5, 4.0))
        for one in people:
            self.refusals.update(re.sub(r"[\d'\"].*", "", refused) for refused in one.refusals)
            self.judge.losses += one.losses
        broken = [thread for thread in threads if not thread.is_alive()]
        assert not broken or not app.alive(), f"a page of life {number} ended before the app did"

    def _publishing(self) -> Callable[[], bool]:
        """Whether a run has just finished, or an adapter is just being written."""
        before = {file.parent for file in self.home.glob("store/runs/*/result.json")}

        def now() -> bool:
            finished = {file.parent for file in self.home.glob("store/runs/*/result.json")} - before
            return bool(finished) or any(self.home.glob("adapters/.publish-*"))

        return now

    def _wait(self, app: App, ready: Callable[[], bool]) -> None:
        ends = time.monotonic() + PATIENCE
        while not ready() and time.monotonic() < ends and app.alive():
            time.sleep(0.005)

    def _end(self, app: App, kind: str, rng: random.Random) -> tuple[str, float | None, dict[int, str]]:
        """How it was ended, how long that took where it was asked, and the children that it had."""
        children = app.children()
        began = time.monotonic()
        if kind == "trainer, then KILL":
            trainers = [pid for pid, what in children.items() if "training.process.worker" in what]
            if not trainers:
                kind = "KILL, the app alone"
            for pid in trainers:
                os.kill(pid, signal.SIGKILL)
                time.sleep(rng.uniform(0.0, 2.0))
            children = app.children()
        if kind == "KILL, with all children":
            for pid in [app.pid, *children]:
                _kill(pid)
        elif kind.startswith(("KILL", "trainer")):
            _kill(app.pid)
        else:
            os.kill(
                app.pid,
                signal.SIGTERM if kind == "TERM" or (kind == "closing" and rng.random() < 0.5) else signal.SIGINT,
            )
            if kind == "INT twice":
                time.sleep(rng.uniform(0.0, 0.3))
                os.kill(app.pid, signal.SIGINT)
            if kind == "closing":  # as the last snapshot is written, or anywhere near
                draft, ends = self.home / "store" / "chatlab.json.tmp", time.monotonic() + rng.uniform(0.0, 3.0)
                while app.alive() and time.monotonic() < ends and not draft.exists():
                    time.sleep(0.0005)
                _kill(app.pid)
                kind = "TERM or INT, then KILL while closing"
        asked = kind in ("TERM", "INT", "INT twice")
        assert app.ended(60 if asked else 10), f"the app does not end after {kind}"
        return kind, round(time.monotonic() - began, 2) if asked else None, children

    def _gone(self, app: App, children: dict[int, str]) -> float:
        """Seconds until the last child was gone; a loss if that took too long."""
        began = time.monotonic()
        while left := app.children():
            if time.monotonic() - began > GONE:
                self.judge.losses.append(f"alive {GONE} s after the app: {left}")
                break
            time.sleep(0.02)
        return round(time.monotonic() - began, 2)

    def _said(self, app: App, number: int) -> None:
        for file in (app.said, *(self.home / "store" / "log").glob("*")):
            text = file.read_text(errors="replace")
            if found := re.search(r"Traceback| ERROR ", text):
                self.judge.losses.append(f"an error in {file.name}: {text[found.start() :][:3000]}")
                if file != app.said:
                    file.rename(self.folder / f"log-{number}-{file.name}")

    def last(self, number: int) -> None:
        """A last opening: everything is there, it answers, finished runs come on the shelf, it closes cleanly."""
        app = App(self.environment, self.folder / "said-last.txt", forked=False)
        print(f"the last opening: {app.opened():.1f} s")
        self.judge.look()
        page = Page(app.address, _layout(app))
        page.press("say", "composer", composer="Are you there?", budget=16)
        finished = {file.parent for file in self.home.glob("store/runs/*/result.json")}
        ends = time.monotonic() + 3 * PATIENCE
        while (
            left := [run.name for run in finished if not (run / "published.json").exists()]
        ) and time.monotonic() < ends:
            time.sleep(0.2)
        if left:
            self.judge.losses.append(f"finished and never published: {left}")
        os.kill(app.pid, signal.SIGTERM)
        assert app.ended(60)
        self._gone(app, {})
        if (self.home / "store" / "chatlab.owner").exists():
            self.judge.losses.append("the store still names an owner")

    def report(self) -> None:
        lives = self.lives
        print(f"{len(lives)} kills")
        for title, key in (("by moment", "moment"), ("by kind", "kind")):
            print(
                f"  {title}:",
                ", ".join(f"{name} {n}" for name, n in Counter(str(one[key]) for one in lives).most_common()),
            )
        done = Counter(line["kind"] for line in self.receipts.lines if line["what"] == "done")
        open_ = sum(line["what"] == "about" for line in self.receipts.lines)
        print(f"  {sum(done.values())} acts acknowledged, of {open_} announced: {dict(done)}")
        print(f"  {sum(self.judge.checked.values())} receipts checked: {dict(self.judge.checked)}")
        print(f"  refused by the app, with words: {sum(self.refusals.values())}")
        for forked in (True, False):
            times = [
                float(str(one["opened"])) for one in lives if one["opened"] is not None and one["forked"] is forked
            ]
            if times:
                print(
                    f"  {'forked' if forked else 'python app.py'}: slowest opening {max(times):.1f} s of {len(times)}"
                )
        print(f"  slowest closing when asked: {max((one['closing'] or 0 for one in lives), default=0)} s")
        print(f"  slowest last child: {max((one['last child'] for one in lives), default=0)} s after the app")
        print(f"  left behind: {dict(leftovers(self.home, self.folder / 'tmp')) or 'nothing'}")
        print(f"  losses: {len(self.judge.losses)} {self.judge.losses or ''}")


def _layout(app: App) -> Layout:
    """Read in every life: the outputs of an event stand in another order in each process."""
    return Layout(httpx.get(f"{app.address}/config", trust_env=False, verify=False, timeout=60).json())


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def main(folder: Path, times: int) -> int:
    sweep = Sweep(folder)
    os.environ.update({name: sweep.environment[name] for name in ("TMPDIR", "GRADIO_TEMP_DIR")})
    began = time.monotonic()
    try:
        if not list(sweep.home.glob("store/runs/*/published.json")):
            sweep.prepare()
        for number in range(len(sweep.lives) + 1, times + 1):
            sweep.one(number)
            print(sweep.lives[-1] | {"children": len(sweep.lives[-1]["children"])}, flush=True)  # type: ignore[arg-type]
        sweep.last(times)
    finally:
        for pid in App.children(_Any(sweep.home)):  # type: ignore[arg-type]
            _kill(pid)
        sweep.report()
        print(f"  {time.monotonic() - began:.0f} s")
    return int(bool(sweep.judge.losses))


class _Any:
    """Stands for an app that could not be opened, to find its processes by."""

    def __init__(self, home: Path) -> None:
        self.pid, self.home = 0, str(home)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).resolve(), int(sys.argv[2])))
