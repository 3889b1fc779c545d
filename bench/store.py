"""The store against TinyDB's own JSONStorage: the same demonstrations, on the same disk, in the same run.

`python -m bench.store [--count N] [--rounds N] [--json FILE]`
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, replace
from pathlib import Path
from statistics import quantiles

from tinydb import TinyDB, where

from bench.table import show
from chatlab.conversation import Conversation
from chatlab.records import Demonstration, Message
from chatlab.store import Store

COUNT = 50_000
WORDS = (
    "the",
    "of",
    "and",
    "to",
    "in",
    "that",
    "it",
    "is",
    "was",
    "for",
    "on",
    "with",
    "as",
    "his",
    "they",
    "at",
    "be",
)
TARGETS = {
    "insert": "p50 < 2, p99 < 20",
    "update": "p50 < 2, p99 < 20",
    "put a conversation of 100 turns": "< 5",
    "open": "< 1000",
    "page of the list": "< 50",
    "page of the approved": "< 50",
    "search": "< 50",
}


def measure(rounds: int = 5, count: int = COUNT) -> dict[str, dict[str, float]]:
    """Milliseconds, p50, p99 and the worst of each operation, with `count` demonstrations of 1 KB in the store."""
    figures: dict[str, dict[str, float]] = {}
    demonstrations = [demonstration(random.Random(number)) for number in range(count)]
    with tempfile.TemporaryDirectory() as folder:
        figures |= ours(Path(folder), demonstrations, rounds)
        figures |= theirs(Path(folder) / "plain.json", demonstrations, rounds)
    show([{"": name, **row, "target": TARGETS.get(name, "")} for name, row in figures.items()])
    return figures


def ours(folder: Path, demonstrations: list[Demonstration], rounds: int) -> dict[str, dict[str, float]]:
    """The store's own face, as the app uses it."""
    with Store.open(folder) as store:
        store.demonstrations.add_many(demonstrations)
    before = memory_mb()
    opened = timed(rounds, lambda _: Store.open(folder).close())
    store = Store.open(folder)
    memory = memory_mb() - before
    shelf, rng = store.demonstrations, random.Random(0)
    first_search = timed(1, lambda _: shelf.find("no such words"))
    first_filter = timed(1, lambda _: shelf.find(where=approved))
    figures = {
        "insert": timed(400 * rounds, lambda i: shelf.add(demonstrations[i])),
        "update": timed(400 * rounds, lambda i: shelf.put(1 + i, replace(demonstrations[i], status="waiting"))),
        "insert 1000 at once": timed(rounds, lambda _: shelf.add_many(demonstrations[:1000])),
        "open": opened,
        "page of the list": timed(20 * rounds, lambda _: shelf.find(offset=rng.randrange(40_000))),
        "page of the approved, first": first_filter,
        "page of the approved": timed(4 * rounds, lambda _: shelf.find(where=approved)),
        "search, first": first_search,
        "search": timed(20 * rounds, lambda i: shelf.find(f"{WORDS[i % 17]} {WORDS[i % 13]} {WORDS[i % 7]}")),
    }
    talk = conversation(100)
    number = store.conversations.add(talk)
    figures["put a conversation of 100 turns"] = timed(40 * rounds, lambda _: store.conversations.put(number, talk))
    figures["write a snapshot of the store"] = timed(rounds, lambda _: store.compact())
    figures["close"] = timed(1, lambda _: store.close())
    figures["memory, MB"] = {"p50": memory, "p99": memory, "worst": memory}
    return figures


def theirs(file: Path, demonstrations: list[Demonstration], rounds: int) -> dict[str, dict[str, float]]:
    """Plain TinyDB with the same documents."""
    documents = [asdict(demonstration) for demonstration in demonstrations]
    with TinyDB(file) as db:
        table = db.table("demonstrations")
        table.insert_multiple(documents)
        return {
            "TinyDB: insert": timed(2 * rounds, lambda i: table.insert(documents[i])),
            "TinyDB: update": timed(2 * rounds, lambda i: table.update({"status": "waiting"}, doc_ids=[1 + i])),
            "TinyDB: open": timed(rounds, lambda _: reopen(file)),
            "TinyDB: page of the list": timed(rounds, lambda _: table.all()[-50:]),
            "TinyDB: search": timed(rounds, lambda i: table.search(where("messages").test(holds, f"{WORDS[i]} and"))),
        }


def timed(times: int, operation: Callable[[int], object]) -> dict[str, float]:
    """Milliseconds."""
    took = []
    for i in range(times):
        began = time.perf_counter()
        operation(i)
        took.append(1000 * (time.perf_counter() - began))
    steps = quantiles(took, n=100, method="inclusive") if times > 1 else took * 99
    return {"p50": round(steps[49], 2), "p99": round(steps[98], 2), "worst": round(max(took), 2)}


def approved(demonstration: Demonstration) -> bool:
    return demonstration.status == "approved"


def holds(messages: Iterable[dict[str, str]], text: str) -> bool:
    return any(text in message["content"].casefold() for message in messages)


def reopen(file: Path) -> None:
    """TinyDB reads nothing until it is asked."""
    with TinyDB(file) as db:
        len(db.table("demonstrations"))


def demonstration(rng: random.Random) -> Demonstration:
    """About 1 KB as JSON."""
    asked, answer = said(rng, 200), said(rng, 650)
    return Demonstration(
        messages=(Message(role="user", content=asked), Message(role="assistant", content=answer)),
        tags=("bench",),
        created="2026-01-01T00:00:00.000+00:00",
    )


def conversation(turns: int) -> Conversation:
    """Turns of about 500 characters."""
    talk, rng = Conversation(title="Long"), random.Random(0)
    for turn in range(turns):
        talk = talk.grown(role="assistant" if turn % 2 else "user", content=said(rng, 500), created="2026-01-01")
    return talk


def said(rng: random.Random, size: int) -> str:
    return " ".join(rng.choices(WORDS, k=size // 4))[:size]


def memory_mb() -> float:
    """The most that this process has used so far."""
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.store", description=__doc__)
    parser.add_argument("--count", type=int, default=COUNT)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    given = parser.parse_args()
    figures = measure(given.rounds, given.count)
    if given.json:
        given.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
