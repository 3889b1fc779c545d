"""The kill loop: `python -m tests.support.kills.store FOLDER TIMES`. A process of its own, so that its forks are clean.

A child changes a store, announcing each change before and confirming it after; at a random moment it is killed, and
what it left must be all that it confirmed, and at most the one change that it had announced.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sys
import time
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from chatlab.store import Store
from tests.support.hostile.store import kept, said


def live(folder: Path, seed: int, tell: Connection) -> None:
    """Change after change until the end comes."""
    rng = random.Random(seed)
    store = Store.open(folder)
    shelf, mine = store.demonstrations, list(kept(store))
    tell.send(("opened", mine))
    for number in range(1_000_000):
        text = f"{seed}.{number} " + "x" * rng.choice([1, 100, 5_000])
        wish = rng.choice(["add", "add", "add", "put", "remove", "compact", "back up"]) if mine else "add"
        if wish == "add":
            many = rng.choice([1, 1, 5])
            tell.send(("add", [text] * many))
            ids = shelf.add_many([said(text)] * many)
            mine += ids
            tell.send(("done", ids))
        elif wish == "compact":
            store.compact()
        elif wish == "back up":
            store.backups.make()
        else:
            id = rng.choice(mine)
            tell.send((wish, (id, text)))
            if wish == "put":
                shelf.put(id, said(text))
            else:
                shelf.remove([id])
                mine.remove(id)
            tell.send(("done", None))


class Witness:
    """What a child said before it died: what is kept for certain, and the one change in doubt."""

    def __init__(self) -> None:
        self.sure: dict[int, str] = {}
        self.wish: tuple[str, Any] | None = None
        self.highest = 0
        self.confirmed = 0

    def hear(self, word: str, what: Any) -> None:
        if word == "opened":
            assert sorted(what) == sorted(self.sure), "what the judge found is what the next child finds"
        elif word == "done":
            self.sure = self.after(what)
            self.wish = None
            self.confirmed += 1
        else:
            self.wish = (word, what)

    def after(self, ids: list[int] | None = None) -> dict[int, str]:
        """The state if the wish went through."""
        assert self.wish
        wish, what = self.wish
        if wish == "add":
            ids = ids or [self.highest + 1 + place for place in range(len(what))]
            assert min(ids) > self.highest, "an id was used twice"
            self.highest = max(ids)
            return {**self.sure, **dict(zip(ids, what, strict=True))}
        id, text = what
        return {**self.sure, id: text} if wish == "put" else {i: t for i, t in self.sure.items() if i != id}

    def judge(self, found: dict[int, str]) -> None:
        if found != self.sure:
            assert self.wish, "what is there is not what was confirmed, and nothing was under way"
            assert found == self.after()
        self.sure, self.wish = found, None


def heard(hear: Connection, pid: int, seconds: float) -> list[tuple[str, Any]]:
    """All that the child said until it was killed, `seconds` after it was born."""
    words: list[tuple[str, Any]] = []
    dies = time.monotonic() + seconds
    while (left := dies - time.monotonic()) > 0:
        if hear.poll(left):
            words.append(hear.recv())
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    with contextlib.suppress(EOFError, OSError):  # the last word may be cut short
        while True:
            words.append(hear.recv())
    return words


def main(folder: Path, times: int) -> None:
    witness, rng, halves = Witness(), random.Random(times), 0
    for kill in range(times):
        hear, tell = Pipe(duplex=False)
        pid = os.fork()
        if pid == 0:
            hear.close()
            live(folder, kill, tell)
        tell.close()
        for word, what in heard(hear, pid, rng.uniform(0.001, 0.06)):
            witness.hear(word, what)
        hear.close()
        halves += witness.wish is not None
        with Store.open(folder) as store:
            assert not store.warnings, store.warnings
            witness.judge(kept(store))
            if len(witness.sure) > 200:
                store.demonstrations.remove(witness.sure)
                witness.sure = {}
    print(f"{times} kills, {halves} of them within a change, {witness.confirmed} confirmed changes, nothing lost")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
