"""The kill loop beside the store: `python -m tests.support.kills.beside publish|index|train FOLDER TIMES`.

As in `store_kills`: a child announces each change before and confirms it after; it is killed at a random moment, and
what it left must be all that it confirmed, and at most the one change that it had announced.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import sys
from collections.abc import Callable, Iterator
from multiprocessing import Pipe
from pathlib import Path

import numpy as np

from chatlab.adapters import Adapters
from chatlab.adapters.manifest import CONFIG, WEIGHTS, check_bytes
from chatlab.records import AdapterCard
from chatlab.retrieval.document import DocumentInfo
from chatlab.retrieval.embedding.client import Model
from chatlab.retrieval.library import Library
from chatlab.retrieval.reading.chunking import spans
from chatlab.retrieval.vectors import Vectors
from tests.support.kills.store import heard

Change = tuple[str, str]
"""`+` or `-`, and what appears or goes."""
Life = Iterator[Change | None]
"""A change before it is made; None once it is."""
MODEL = Model("a" * 64, 8)


def publishing(folder: Path, seed: int) -> Life:
    """Adapters come, go to the trash and come back."""
    rng, source = random.Random(seed), folder / "source"
    shelf = Adapters(folder / "shelf")
    mine = shelf.names()
    for number in range(1_000_000):
        name = f"a{seed}-{number}"
        if mine and rng.random() < 0.4:
            gone = rng.choice(mine)
            yield "-", gone
            shelf.remove(gone)
            yield None
            yield "+", gone
            shelf.restore(gone)
        else:
            yield "+", name
            shelf.publish(source, AdapterCard(name=name, base="f"))
            mine.append(name)
        yield None


def published(folder: Path) -> set[str]:
    """What is there, every byte looked at."""
    shelf = Adapters(folder / "shelf")
    assert shelf.problems == {}
    assert not list((folder / "shelf").glob(".publish-*")), "half an adapter"
    for name in shelf.names():
        check_bytes(folder / "shelf" / name)
    return set(shelf.names())


def indexing(folder: Path, seed: int) -> Life:
    """Documents are kept and removed; their vectors follow, whose files may be lost but never wrong."""
    rng, library = random.Random(seed), Library(folder / "library")
    vectors = Vectors(folder / "vectors", MODEL, _keys(library))
    for number in range(1_000_000):
        mine = library.all()
        if mine and rng.random() < 0.3:
            gone = rng.choice(mine)
            yield "-", gone.name
            library.remove([gone.id])
            vectors.remove([span.key for span in gone.spans])
        else:
            info, text = document(f"{seed}-{number}", rng)
            yield "+", info.name
            library.keep(info, text)
            keys = [span.key for span in info.spans]
            vectors.add(keys, np.stack([row(key) for key in keys]))
        yield None
        vectors.flush()


def indexed(folder: Path) -> set[str]:
    library = Library(folder / "library")
    assert library.problems == {}
    library.purge()
    vectors = Vectors(folder / "vectors", MODEL, _keys(library))
    for info in library.all():
        library.text(info.id)
    for key in vectors.known:
        assert np.allclose(vectors.rows([key])[0], row(key), atol=1e-2), "a vector of other words"
    return {info.name for info in library.all()}


def training(folder: Path, seed: int) -> Life:
    """A run keeps its place again and again."""
    import torch

    from chatlab.training import checkpoint

    for step in range(1, 1_000_000):
        number = seed * 1_000_000 + step
        yield "=", str(number)
        state = {"weights": torch.full((200_000,), float(step))}
        checkpoint.write(folder / "checkpoint", checkpoint.Checkpoint(number, float(step), state))
        yield None


def trained(folder: Path) -> set[str]:
    from chatlab.training import checkpoint

    found = checkpoint.read(folder / "checkpoint")
    if found is None:
        return set()
    assert (found.state["weights"] == found.step % 1_000_000).all(), "half a checkpoint"
    return {str(found.step)}


def document(name: str, rng: random.Random) -> tuple[DocumentInfo, str]:
    text = f"{name} " + "words and more of them. " * rng.choice([1, 50, 500])
    id = hashlib.sha256(text.encode()).hexdigest()
    info = DocumentInfo(
        id=id,
        name=name,
        title=name,
        kind="text",
        size=len(text),
        characters=len(text),
        text_sha256=id,
        spans=spans(text, "text", name),
    )
    return info, text


def row(key: int) -> np.ndarray:
    """The vector that belongs to a key."""
    found = np.random.default_rng(abs(key)).standard_normal(8).astype(np.float32)
    return found / np.linalg.norm(found)


def _keys(library: Library) -> set[int]:
    return {span.key for info in library.all() for span in info.spans}


KINDS: dict[str, tuple[Callable[[Path, int], Life], Callable[[Path], set[str]]]] = {
    "publish": (publishing, published),
    "index": (indexing, indexed),
    "train": (training, trained),
}


def after(sure: set[str], change: Change) -> set[str]:
    sign, what = change
    return {what} if sign == "=" else sure | {what} if sign == "+" else sure - {what}


def main(kind: str, folder: Path, times: int) -> None:
    live, find = KINDS[kind]
    source = folder / "source"
    source.mkdir(parents=True)
    (source / CONFIG).write_text(json.dumps({"peft_type": "LORA", "r": 2, "target_modules": ["q_proj"]}))
    (source / WEIGHTS).write_bytes(bytes(300_000))
    rng, sure, confirmed, halves = random.Random(times), find(folder), 0, 0
    for kill in range(times):
        hear, tell = Pipe(duplex=False)
        pid = os.fork()
        if pid == 0:
            hear.close()
            for change in live(folder, kill):
                tell.send(change)
            os._exit(0)
        tell.close()
        wish: Change | None = None
        for said in heard(hear, pid, rng.uniform(0.005, 0.08)):
            if said is None and wish is not None:
                sure, confirmed = after(sure, wish), confirmed + 1
            wish = said
        hear.close()
        halves += wish is not None
        found = find(folder)
        assert found == sure or (wish is not None and found == after(sure, wish)), (found ^ sure, wish)
        sure = found
        if len(sure) > 100:
            for part in ("shelf", "library", "vectors"):
                shutil.rmtree(folder / part, ignore_errors=True)
            sure = set()
    print(f"{kind}: {times} kills, {halves} of them within a change, {confirmed} confirmed changes, nothing lost")


if __name__ == "__main__":
    if sys.argv[1] == "train":
        import chatlab.training.checkpoint  # noqa: F401 - once, before the forks
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
