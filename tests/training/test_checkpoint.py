"""The state of a run on the disk."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from chatlab.training import checkpoint
from chatlab.training.checkpoint import FILE, Checkpoint

STATE = {"weights": torch.arange(6.0), "step": torch.tensor(3.0)}


def test_what_was_written_is_read_and_what_is_torn_is_none(tmp_path: Path) -> None:
    checkpoint.write(tmp_path, Checkpoint(step=3, seconds=0.1 + 0.2, state=STATE))
    found = checkpoint.read(tmp_path)
    assert found is not None and (found.step, found.seconds) == (3, 0.1 + 0.2)
    assert all(torch.equal(found.state[name], tensor) for name, tensor in STATE.items())
    whole = (tmp_path / FILE).read_bytes()
    for torn in (b"", whole[:7], whole[:40], whole[:-1], b"\xff" * 80, whole.replace(b"seconds", b"minutes")):
        (tmp_path / FILE).write_bytes(torn)
        assert checkpoint.read(tmp_path) is None


@pytest.mark.skipif(sys.platform != "linux", reason="asks /proc what is mapped")
def test_one_that_was_read_is_not_held_so_that_the_next_can_take_its_place_on_every_system(tmp_path: Path) -> None:
    checkpoint.write(tmp_path, Checkpoint(step=3, seconds=1.0, state=STATE))
    found = checkpoint.read(tmp_path)
    assert found is not None and FILE not in Path("/proc/self/maps").read_text(encoding="utf-8")
    checkpoint.write(tmp_path, Checkpoint(step=4, seconds=2.0, state=found.state))
    again = checkpoint.read(tmp_path)
    assert again is not None and again.step == 4 and torch.equal(again.state["weights"], STATE["weights"])
