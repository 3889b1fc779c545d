"""The disk fills up or fails just while an adapter is published, put live or exported: nothing is half, all is said."""

from __future__ import annotations

import errno
import importlib.util
import os
import resource
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from chatlab.engines.base import Sampling
from chatlab.errors import ChatlabError
from chatlab.lab import Lab
from chatlab.records import AdapterCard, TrainSettings
from chatlab.settings import Settings
from chatlab.training.process.runs import Request, Result, read_run, write_json, write_request
from tests.support.lora import make_adapter
from tests.support.report_figures import tiny_base

GREEDY = Sampling(max_tokens=2, temperature=0.0)
FAULTS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
WRITES = ("open", "os.mkdir", "os.rename", "os.link", "os.truncate")
"""What Python's audit tells of before it happens; an error raised then is an error of the disk."""
SIZES = (0, 1, 300, 1000, 10_000, 20_000, 100_000, 2_000_000)
"""Bytes that a file may have, in turn: so every write of every file is the one that does not fit."""


class Disk:
    """Fails the nth call that changes something below a folder, counted from when it is armed."""

    def __init__(self) -> None:
        self.folder = ""
        self.left = 0
        self.error = errno.ENOSPC
        sys.addaudithook(self._hear)

    def _hear(self, event: str, given: tuple[Any, ...]) -> None:
        if not self.left or event not in WRITES or not str(given[0]).startswith(self.folder):
            return
        if event == "open" and not (isinstance(given[2], int) and given[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)):
            return
        self.count()

    def count(self) -> None:
        self.left -= 1
        if self.left == 0:
            raise OSError(self.error, os.strerror(self.error))


pytestmark = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="asks Linux which file a handle is of")


@pytest.fixture(scope="module")
def disk() -> Disk:
    return Disk()


@contextmanager
def failing(disk: Disk, folder: Path, nth: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The nth call fails; `disk.left` is above nought afterwards where there were fewer."""
    real = os.fsync

    def fsync(handle: int) -> None:
        if disk.left and Path(f"/proc/self/fd/{handle}").readlink().name != "chatlab.journal":
            disk.count()  # a journal that was not confirmed asks for a restart: tests/store/test_faults.py
        real(handle)

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", fsync)
        disk.folder, disk.error, disk.left = str(folder), FAULTS[nth % len(FAULTS)], nth
        try:
            yield
        finally:
            disk.folder = "\0"


@contextmanager
def files_no_larger_than(size: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture(scope="module")
def lab(base_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """With "good" live, and a finished run that nobody has published."""
    home = tmp_path_factory.mktemp("home")
    tiny = tiny_base(base_folder, home / "tiny")
    wanted = "" if importlib.util.find_spec("llama_cpp") else "transformers"
    opened = Lab(Settings(home=home, base=tiny, threads=1, engine=wanted))  # type: ignore[arg-type]
    made = make_adapter(tiny, home / "made", seed=1)
    fingerprint = opened.machine.base.fingerprint
    opened._adapters.publish(made, AdapterCard(name="good", base=fingerprint))
    opened.variants.go_live("good")
    run = opened.settings.runs / "20260101-000000-aaaa"
    request = Request(
        base=fingerprint,
        base_folder=str(tiny),
        snapshot="",
        settings=TrainSettings(),
        demonstrations=(1,),
        name="next",
        parent="good",
        created="2026-01-01",
        live=True,
    )
    write_request(run, request)
    make_adapter(tiny, run / "adapter", seed=2)
    (run / "snapshot.jsonl").write_text('{"id":1,"messages":[]}\n', encoding="utf-8")
    write_json(run / "result.json", asdict(RESULT))
    yield opened
    opened.close()


RESULT = Result(
    adapter="",
    template="",
    steps=3,
    stopped_early=False,
    demonstrations=(1,),
    held_out=(),
    dropped=(),
    loss=1.0,
    held_out_before=None,
    held_out_after=None,
    forgetting=0.0,
    forgetting_interval=None,
    kl=None,
    parameters=10,
    base_parameters=100,
    tokens=10,
    seconds={},
)


def publish(lab: Lab) -> str:
    """Take the finished run: on the shelf, and live."""
    return str(lab.training._publisher.publish(read_run(lab.settings.runs / "20260101-000000-aaaa")))


def nothing_is_half(lab: Lab) -> None:
    shelf = lab.settings.adapters
    assert lab.variants.problems == {}
    assert [f.name for f in shelf.iterdir() if f.name.startswith(".publish")] == []
    for name in lab.variants.names()[1:]:
        lab.variants.get(name)
    assert not list(lab.settings.cache.rglob("*.half"))
    assert lab.variants.live in ("good", "next")
    assert lab.machine.engine.stream([5, 6, 7], GREEDY, lab.variants.get(), frozenset())


def back_to_before(lab: Lab) -> None:
    run = lab.settings.runs / "20260101-000000-aaaa"
    (run / "published.json").unlink(missing_ok=True)
    lab.unseen_evaluator.wait()
    for name in lab.variants.names()[1:]:
        if name != "good":
            lab.variants.remove(name)
    for file in (lab.settings.cache / "gguf").glob("*.lora*"):
        file.unlink()
    lab.machine.unload(lab.settings.adapters / "good")
    lab.variants.go_live("good")
    lab.backups.empty_trash()


def once_there_is_room(lab: Lab) -> None:
    assert publish(lab) == ""
    assert lab.variants.live == "next"
    nothing_is_half(lab)
    back_to_before(lab)


@pytest.mark.parametrize("step", [4, pytest.param(1, marks=pytest.mark.slow)])
def test_whatever_fails_while_an_adapter_is_published_and_put_live_is_said_and_leaves_nothing_half(
    step: int, lab: Lab, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    back_to_before(lab)
    for nth in range(1, 200, step):
        with failing(disk, lab.settings.home, nth, monkeypatch):
            news = publish(lab)
            spent, disk.left = disk.left > 0, 0
        if spent:
            back_to_before(lab)
            break
        assert "The log has details" not in news and news, (nth, news)
        nothing_is_half(lab)
        once_there_is_room(lab)
    print(f"{(nth - 1) // step} failing calls while an adapter is published and put live")
    assert nth > 20


@pytest.mark.parametrize("size", SIZES[:6])
def test_a_file_that_does_not_fit_while_publishing_is_said_and_leaves_nothing_half(lab: Lab, size: int) -> None:
    back_to_before(lab)
    with files_no_larger_than(size):
        news = publish(lab)
    assert news and "The log has details" not in news
    nothing_is_half(lab)
    once_there_is_room(lab)


KINDS = (
    "peft",
    "gguf-lora",
    "gguf",
    *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("safetensors", "ollama")),
)


@pytest.mark.parametrize("kind", KINDS)
def test_whatever_fails_while_an_adapter_is_exported_is_said_and_leaves_nothing(
    kind: str, lab: Lab, disk: Disk, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def make() -> Path:
        return lab.exports.make("good", kind, tmp_path)

    for size in SIZES:
        with files_no_larger_than(size):
            refused(make, tmp_path)
    for nth in range(1, 200):
        with failing(disk, tmp_path, nth, monkeypatch):
            refused(make, tmp_path)
            spent, disk.left = disk.left > 0, 0
        if spent:
            break
    print(f"{kind}: {len(SIZES)} sizes, {nth - 1} failing calls")
    assert nth > 3 and make().stat().st_size > 1000


def refused(make: Callable[[], Path], folder: Path) -> None:
    """In words, and nothing is left; or it was made."""
    try:
        make().unlink()
    except ChatlabError as error:
        assert str(error) and error.hint
    assert list(folder.iterdir()) == []


def test_what_a_killed_process_left_of_a_file_for_llama_cpp_is_given_back(lab: Lab) -> None:
    pytest.importorskip("llama_cpp")
    back_to_before(lab)
    left = lab.settings.cache / "gguf" / ".x.lora.gguf.4194999.half"
    left.write_bytes(b"x" * 1000)
    once_there_is_room(lab)
    assert not left.exists()
