"""Published whole or not at all: a disk that fills up, a process that dies, a folder that may not be written."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from chatlab.adapters import Adapters
from chatlab.errors import (
    ChatlabError,
    DiskFull,
)
from chatlab.records import AdapterCard
from chatlab.system.files import sha256_of
from tests.adapters.test_registry import CARD_OF_STAGE, visible


@pytest.fixture
def small_disk() -> Iterator[None]:
    """No file can grow beyond a million bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_leaves_nothing_half_published_and_the_run_as_it_was(shelf, source, tmp_path, small_disk):
    before = {path.name: sha256_of(path) for path in source.iterdir()}
    with pytest.raises(DiskFull) as full:
        shelf.publish(source, CARD_OF_STAGE)
    assert full.value.hint
    assert visible(shelf, tmp_path) == []
    assert {path.name: sha256_of(path) for path in source.iterdir()} == before


DIES = """
import os, signal, sys
from pathlib import Path
step = int(sys.argv[3])
def trace(event, args):
    global step
    if event in ("open", "os.rename", "os.mkdir") and str(args[0]).startswith(sys.argv[2]):
        step -= 1
        if step == 0:
            os.kill(os.getpid(), signal.SIGKILL)
from chatlab.adapters import Adapters
from chatlab.records import AdapterCard
shelf = Adapters(Path(sys.argv[2]))
sys.addaudithook(trace)
print(shelf.publish(Path(sys.argv[1]), AdapterCard(name="stage", base="f")).name)
"""


@pytest.mark.parametrize("step", range(1, 12))
def test_a_process_killed_while_publishing_leaves_the_whole_adapter_or_none(step, source, tmp_path):
    folder = tmp_path / "adapters"
    run = subprocess.run([sys.executable, "-c", DIES, str(source), str(folder), str(step)], capture_output=True)
    shelf = Adapters(folder)
    assert shelf.problems == {}
    assert [path for path in folder.iterdir() if path.name.startswith(".publish")] == []
    if run.returncode == 0 or shelf.names():
        assert shelf.open("stage", "f")
    assert shelf.publish(source, AdapterCard(name="stage", base="f")).name in ("stage", "stage-2")


class Stumbling:
    """Lets `steps` calls pass and fails the next with a full disk."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    def __call__(self, real):
        def call(*args, **kwargs):
            self.left -= 1
            if self.left < 0:
                raise OSError(28, "No space left on device")
            return real(*args, **kwargs)

        return call


@pytest.mark.parametrize("step", range(16))
def test_wherever_the_disk_fills_up_nothing_is_half_published(step, shelf, source, tmp_path, monkeypatch):
    stumbling = Stumbling(step)
    monkeypatch.setattr(os, "fsync", stumbling(os.fsync))
    for name in ("mkdir", "rename"):
        monkeypatch.setattr(Path, name, stumbling(getattr(Path, name)))
    try:
        shelf.publish(source, CARD_OF_STAGE)
    except DiskFull:
        monkeypatch.undo()
        assert [name for name in visible(shelf, tmp_path) if name.startswith(".")] == []
        assert shelf.problems == {}
        assert shelf.names() == []
    else:
        assert step >= 8


def test_a_folder_that_may_not_be_written_is_named_and_not_a_bug(shelf, source, monkeypatch):
    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(ChatlabError, match="Permission denied"):
        shelf.publish(source, CARD_OF_STAGE)
