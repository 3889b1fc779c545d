"""Kills and failing disks beside the store: adapters, the knowledge index, a run's place. Counts are printed."""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from chatlab.errors import ChatlabError
from chatlab.retrieval.library import Library
from chatlab.retrieval.vectors import Vectors
from tests.support.hostile.store import FailingDisk, scratch
from tests.support.kills.beside import MODEL, document, row

ROOT = Path(__file__).parent.parent
HERE, IN_SWEEP = 12, {"store": 400, "publish": 250, "index": 250, "train": 100}
"""Kills of each kind in `make test`, beside the store's 50, and in `make sweep`."""


@pytest.fixture
def memory() -> Iterator[Path]:
    with scratch() as folder:
        yield folder


def killed(module: str, *arguments: object) -> None:
    command = [sys.executable, "-m", module, *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    print(done.stdout)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("kind", ["publish", "index"])
def test_kill_9_at_a_random_moment_leaves_what_was_acknowledged_and_nothing_half(memory: Path, kind: str) -> None:
    killed("tests.support.kills.beside", kind, memory, HERE)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["publish", "index", "train"])
def test_kill_9_many_times(memory: Path, kind: str) -> None:
    killed("tests.support.kills.beside", kind, memory, IN_SWEEP[kind])


@pytest.mark.slow
def test_kill_9_of_the_store_many_times(memory: Path) -> None:
    killed("tests.support.kills.store", memory, IN_SWEEP["store"])


@pytest.mark.parametrize("for_good", [False, True], ids=["once", "for good"])
@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO], ids=["full", "broken"])
def test_a_disk_failing_at_any_call_leaves_the_documents_that_were_kept(
    memory: Path, error: int, for_good: bool
) -> None:
    for nth in range(1, 500):
        folder, disk = memory / str(nth), FailingDisk(nth, error, for_good=for_good)
        sure, maybe = told(folder, disk)
        library = Library(folder / "library")
        found = {papers.name for papers in library.all()}
        assert sure <= found <= sure | maybe and library.problems == {}, f"call {nth}"
        for papers in library.all():
            library.text(papers.id)
        keys = {span.key for papers in library.all() for span in papers.spans}
        vectors = Vectors(folder / "vectors", MODEL, keys)
        assert vectors.known <= keys and vectors.damaged <= 1
        if not disk.failed:
            assert vectors.known == keys
            break
    print(f"{nth - 1} failing calls of the knowledge index, nothing lost")
    assert nth > 20


def told(folder: Path, disk: FailingDisk) -> tuple[set[str], set[str]]:
    """Keep, remove and bring back documents; names kept for certain, and those in doubt."""
    import random

    sure: set[str] = set()
    maybe: set[str] = set()
    library = Library(folder / "library", disk)
    vectors = Vectors(folder / "vectors", MODEL, (), disk)

    def tried(what: Callable[[], Any], name: str, there: bool) -> None:
        try:
            done = what()
        except ChatlabError:
            maybe.add(name)
            sure.discard(name)
            return
        if done or not there:
            (sure.add if there and done else sure.discard)(name)

    for number in range(3):
        papers, text = document(f"d{number}", random.Random(number))
        tried(lambda p=papers, t=text: library.keep(p, t), papers.name, True)  # type: ignore[misc]
        if papers.id in library:
            for span in papers.spans:
                vectors.add([span.key], row(span.key)[None])
        try:
            vectors.flush()
        except ChatlabError:
            continue
    first = next(iter(library.all()), None)
    if first is not None:
        tried(lambda: library.remove([first.id]), first.name, False)
        maybe.add(first.name)
        tried(lambda: library.restore([first.id]), first.name, True)
    with contextlib.suppress(ChatlabError):
        vectors.flush()
    return sure, maybe


def test_wherever_keeping_its_place_fails_a_run_has_the_place_before(memory: Path, monkeypatch) -> None:
    import torch

    from chatlab.training import checkpoint

    def place(step: int) -> checkpoint.Checkpoint:
        return checkpoint.Checkpoint(step, 1.0, {"weights": torch.full((1000,), float(step))})

    for nth in range(1, 50):
        folder = memory / str(nth)
        checkpoint.write(folder, place(1))
        left = [nth]
        with monkeypatch.context() as patched:
            patched.setattr(Path, "open", stumbling(Path.open, left))
            patched.setattr(Path, "replace", stumbling(Path.replace, left))
            patched.setattr(os, "fsync", stumbling(os.fsync, left))
            with contextlib.suppress(OSError):
                checkpoint.write(folder, place(2))
        found = checkpoint.read(folder)
        assert found is not None and (found.state["weights"] == found.step).all()
        assert not list(folder.glob("*.partial"))
        if left[0] > 0:
            assert found.step == 2
            break
        assert found.step == 1
    print(f"{nth - 1} failing calls while a run keeps its place")
    assert nth == 4


def stumbling(real: Callable[..., Any], left: list[int]) -> Callable[..., Any]:
    def call(*given: Any, **named: Any) -> Any:
        left[0] -= 1
        if left[0] == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(*given, **named)

    return call
