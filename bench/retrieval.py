"""Finding passages: how well, on Cranfield, and how fast, at 100,000 passages, alone and beside a training run.

`python -m bench.retrieval [--rounds N] [--json FILE] [--only quality|speed]`

Cranfield lies in ../shared/data/retrieval; where it is absent, only the speed is measured. Each abstract is an HTML
file that goes through all of the app's own path. nDCG@10 uses the grades as they are as gains; the first passage of
an abstract stands for it. Intervals are of 95 %, by bootstrap over the queries.

How the search's few numbers (`Tuning`) were chosen: by nDCG@10 over GRID on these queries. What that choice flatters
is shown by the row "fused, tuned on the other half": each query is answered with the numbers that did best on the
half of the queries that it is not in, over 50 random halvings.

The 100,000 passages are synthetic, of words drawn by Zipf's rule, a tenth of them from Cranfield's questions, and their
vectors are random: speed depends on how many there are, not on what they say. The questions are Cranfield's, and are
really embedded.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import resource
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from html import escape
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from bench.beside import LONG, wait_for_steps
from bench.house import warm_lab
from bench.table import show
from chatlab.lab import Lab
from chatlab.lab.chat.knowledge import Knowledge
from chatlab.retrieval.document import DocumentInfo, Span, indexed_text, key_of
from chatlab.retrieval.embedding.client import EmbeddingClient
from chatlab.retrieval.index import Index, SearchHit, Tuning
from chatlab.retrieval.library import Library
from chatlab.retrieval.vectors import Vectors
from chatlab.settings import PACKAGE
from chatlab.store import Store
from chatlab.system.lines import split_lines

CRANFIELD = PACKAGE.parent.parent / "shared" / "data" / "retrieval"
COUNT = 100_000
EACH = 200
"""Passages of a synthetic document."""
GRID = [
    Tuning(feedback_passages=feedback_passages, share=share, meaning=meaning)
    for feedback_passages, share, meaning in product((0, 2, 3, 5), (0.5, 0.8, 1.2), (1.0, 1.5, 2.0))
]
HALVINGS = 50


def measure(rounds: int = 5, only: str = "") -> dict[str, Any]:
    """Quality as scores with intervals; speed in milliseconds, passages a second and MB."""
    figures: dict[str, Any] = {}
    if only != "speed" and CRANFIELD.exists():
        figures["quality"] = quality()
    if only != "quality":
        figures["speed"] = speed(rounds)
    return figures


def quality() -> dict[str, Any]:
    """On Cranfield's 150 queries."""
    queries = [json.loads(line) for line in (CRANFIELD / "cranfield_queries.jsonl").open(encoding="utf-8")]
    with cranfield() as (knowledge, indexing):
        index, embed = knowledge._index, remembered(knowledge._indexer.embed)
        grades = [{int(id): grade for id, grade in query["relevant"].items()} for query in queries]

        def ranked(tuning: Tuning, count: int = 60) -> list[list[SearchHit]]:
            index.tuning = tuning
            return [index.search(query["query"], count, embed) for query in queries]

        found = ranked(Tuning(), 200)
        rows = {
            "words alone": [order(hits, lambda hit: hit.bm25_rank) for hits in found],
            "meaning alone": [order(hits, lambda hit: hit.vector_rank) for hits in found],
            "fused, one look": [documents(hits) for hits in ranked(Tuning(feedback_passages=0, meaning=1.0))],
            "fused": [documents(hits) for hits in found],
        }
        table = {name: scores(row, grades) for name, row in rows.items()}
        swept = np.array([[ndcg(documents(hits), g) for hits, g in zip(ranked(t), grades, strict=True)] for t in GRID])
        table["fused, tuned on the other half"] = {"nDCG@10": halved(swept)}
    show(
        [
            {"": name, **{k: row.get(k, "") for k in ("nDCG@10", "low", "high", "R@10", "MRR@10")}}
            for name, row in table.items()
        ]
    )
    print("indexing:", indexing)
    return {"scores": table, "indexing": indexing}


@contextmanager
def cranfield() -> Iterator[tuple[Knowledge, dict[str, float]]]:
    """All abstracts read and indexed. Vectors are kept in CHATLAB_BENCH_CACHE, if that is set."""
    with tempfile.TemporaryDirectory() as home:
        cache = Path(os.environ.get("CHATLAB_BENCH_CACHE", home)) / "knowledge"
        files = Path(home) / "files"
        files.mkdir()
        for line in (CRANFIELD / "cranfield_docs.jsonl").open(encoding="utf-8"):
            page = json.loads(line)
            title, text = escape(page["title"]), escape(page["text"])
            html = f"<!doctype html><title>{title}</title><body><p>{text}"
            (files / f"{page['id']}.html").write_text(html, encoding="utf-8")
        with Store.open(Path(home) / "store") as store:
            knowledge = Knowledge(store, Path(home) / "store" / "knowledge", cache)
            try:
                yield knowledge, indexed(knowledge, files)
            finally:
                knowledge.close()


def indexed(knowledge: Knowledge, files: Path) -> dict[str, float]:
    """How fast files are read, and passages embedded."""
    began = time.perf_counter()
    knowledge.add([files])
    while knowledge.reading:
        time.sleep(0.02)
    read = time.perf_counter() - began
    memory = 0.0
    while (state := knowledge.wait(1.0)).embedded < state.passages or not state.bm25_ready:
        memory = max(memory, memory_of_children())
    seconds = time.perf_counter() - began
    state = knowledge.state()
    return {
        "files": knowledge.adding.kept,
        "passages": state.passages,
        "files read a second": round(knowledge.adding.kept / read, 1),
        "seconds in all": round(seconds, 1),
        "passages embedded a second": round(state.passages / seconds, 1),
        "MB of all processes": round(memory),
    }


def remembered(embed: Callable[[str], np.ndarray]) -> Callable[[str], np.ndarray]:
    known: dict[str, np.ndarray] = {}

    def once(text: str) -> np.ndarray:
        if text not in known:
            known[text] = embed(text)
        return known[text]

    return once


def documents(hits: Sequence[SearchHit]) -> list[int]:
    """Numbers of the abstracts, each at its first passage."""
    return list(dict.fromkeys(int(hit.name.removesuffix(".html")) for hit in hits))


def order(hits: Sequence[SearchHit], rank: Callable[[SearchHit], int | None]) -> list[int]:
    """As one of the retrievers alone would have them."""
    own = [(place, hit) for hit in hits if (place := rank(hit)) is not None]
    return documents([hit for _, hit in sorted(own, key=lambda pair: pair[0])])


def ndcg(ranked: Sequence[int], grades: dict[int, int], depth: int = 10) -> float:
    discounts = 1 / np.log2(np.arange(2, depth + 2))
    got = np.array([grades.get(id, 0) for id in ranked[:depth]])
    best = np.array(sorted(grades.values(), reverse=True)[:depth])
    return float((got * discounts[: len(got)]).sum() / (best * discounts[: len(best)]).sum())


def scores(rankings: Sequence[Sequence[int]], grades: Sequence[dict[int, int]]) -> dict[str, float]:
    each = np.array([ndcg(ranked, wanted) for ranked, wanted in zip(rankings, grades, strict=True)])
    low, high = interval(each)
    recall = [len(set(r[:10]) & g.keys()) / len(g) for r, g in zip(rankings, grades, strict=True)]
    first = [
        next((1 / n for n, id in enumerate(r[:10], 1) if id in g), 0.0) for r, g in zip(rankings, grades, strict=True)
    ]
    return {
        "nDCG@10": round(float(each.mean()), 4),
        "low": round(low, 4),
        "high": round(high, 4),
        "R@10": round(float(np.mean(recall)), 4),
        "MRR@10": round(float(np.mean(first)), 4),
    }


def interval(each: np.ndarray, draws: int = 10_000) -> tuple[float, float]:
    rng = np.random.default_rng(0)
    means = each[rng.integers(0, len(each), (draws, len(each)))].mean(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def halved(swept: np.ndarray) -> float:
    """Mean over the queries, each answered by the tuning that did best on the half that it is not in."""
    rng = np.random.default_rng(0)
    means = []
    for _ in range(HALVINGS):
        mixed = rng.permutation(swept.shape[1])
        one, other = mixed[: len(mixed) // 2], mixed[len(mixed) // 2 :]
        best_on = [int(swept[:, half].mean(axis=1).argmax()) for half in (one, other)]
        means.append((swept[best_on[1], one].sum() + swept[best_on[0], other].sum()) / len(mixed))
    return round(float(np.mean(means)), 4)


def speed(rounds: int) -> dict[str, Any]:
    """Milliseconds from question to passages, with 100,000 of them."""
    figures: dict[str, Any] = {}
    with warm_lab() as lab:
        figures["build"] = synthetic(lab)
        figures["alone"] = timed(lab.knowledge, rounds)
        lab.training.retrain(live=False, **LONG)
        wait_for_steps(lab, 2)
        figures["beside training"] = timed(lab.knowledge, rounds)
        figures["beside training"]["still training"] = lab.training.status().state == "training"
        lab.training.stop()
        lab.training.wait(60)
        figures["MB of the app"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        figures["MB of the process for questions"] = round(process_memory(lab.knowledge._indexer._questions.pid))
    show([{"": name, **figures[name]} for name in ("alone", "beside training")])
    print({name: value for name, value in figures.items() if name not in ("alone", "beside training")})
    return figures


def timed(knowledge: Knowledge, rounds: int) -> dict[str, float]:
    """p50 and p95 over 60 questions a round, one every tenth of a second, as people ask and not as fast as it goes.

    `processor` is what a question takes of one core, in the app and in the process for questions: it tells a slow
    search from a machine that others keep busy.
    """
    rng, took = random.Random(1), []
    knowledge.search("a first question, which opens what has to be open", 6)
    process = psutil.Process(knowledge._indexer._questions.pid)
    spent = [time.process_time() + sum(process.cpu_times()[:2])]
    for question in questions(60 * rounds, rng):
        began = time.perf_counter()
        assert len(knowledge.search(question, 6)) == 6
        took.append((time.perf_counter() - began) * 1000)
        time.sleep(0.1)
    spent.append(time.process_time() + sum(process.cpu_times()[:2]))
    p50, p95 = np.percentile(took, [50, 95])
    return {
        "p50, ms": round(float(p50), 1),
        "p95, ms": round(float(p95), 1),
        "worst": round(max(took), 1),
        "processor, ms": round(1000 * (spent[1] - spent[0]) / len(took), 1),
        "load of the machine": round(os.getloadavg()[0], 1),
    }


def questions(count: int, rng: random.Random) -> list[str]:
    """Cranfield's, where they are at hand: of 17 words, as people ask."""
    if not CRANFIELD.exists():
        return [" ".join(word(rng) for _ in range(8)) for _ in range(count)]
    lines = split_lines((CRANFIELD / "cranfield_queries.jsonl").read_text(encoding="utf-8"))
    return [json.loads(rng.choice(lines))["query"] for _ in range(count)]


def synthetic(lab: Lab, count: int = COUNT) -> dict[str, float]:
    """Put a library of so many passages in the lab's place of it, with random vectors, and let it be opened."""
    folder, cache = lab.settings.store / "knowledge", lab.settings.cache / "knowledge"
    library, rng = Library(folder), random.Random(0)
    asked = " ".join(questions(150, random.Random(0))).split()
    began = time.perf_counter()
    for number in range(count // EACH):
        library.keep(*document(number, rng, asked))
    kept = time.perf_counter() - began
    keys = sorted(Index(library).keys)
    embedding = EmbeddingClient(lab.knowledge.model)
    model = embedding.model
    embedding.close()
    rows = np.random.default_rng(0).standard_normal((len(keys), model.dimension)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    vectors = Vectors(cache / model.sha256[:16], model, frozenset(keys))
    vectors.add(keys, rows)
    vectors.flush()
    began = time.perf_counter()
    lab.knowledge.warm()
    while not (state := lab.knowledge.wait(1.0)).bm25_ready or state.embedded < len(keys):
        pass
    opened = time.perf_counter() - began
    return {"passages": len(keys), "kept, s": round(kept, 1), "opened and words built, s": round(opened, 1)}


def document(number: int, rng: random.Random, asked: list[str]) -> tuple[DocumentInfo, str]:
    parts, spans, at = [], [], 0
    for _ in range(EACH):
        part = " ".join(rng.choice(asked) if rng.random() < 0.1 else word(rng) for _ in range(130))
        spans.append(Span(at, at + len(part), key_of(indexed_text(f"Document {number}", part)), at))
        parts.append(part)
        at += len(part) + 1
    text = "\n".join(parts)
    id = hashlib.sha256(text.encode()).hexdigest()
    info = DocumentInfo(
        id=id,
        name=f"{number}.txt",
        title=f"Document {number}",
        kind="text",
        size=len(text),
        characters=len(text),
        text_sha256=id,
        spans=tuple(spans),
    )
    return info, text


def word(rng: random.Random) -> str:
    """One of a few thousand, the n-th about n times rarer than the first."""
    rank = int(50_000 ** rng.random())
    return "".join("bdfgklmnprstvz"[(rank // 14**place) % 14] + "aeiou"[(rank + place) % 5] for place in range(3))


def memory_of_children() -> float:
    me = psutil.Process()
    total = me.memory_info().rss
    for child in me.children(recursive=True):
        total += process_memory(child.pid) * 2**20
    return total / 2**20


def process_memory(pid: int | None) -> float:
    try:
        return psutil.Process(pid).memory_info().rss / 2**20 if pid else 0.0
    except psutil.Error:
        return 0.0


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.retrieval", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", choices=("quality", "speed"), default="")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    figures = measure(given.rounds, given.only)
    if given.json:
        given.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
