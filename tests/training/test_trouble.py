"""The trainer stopped, killed, out of memory, on a full disk: that is said, chat goes on, and so does the run."""

from __future__ import annotations

import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from chatlab.engines.base import Sampling
from chatlab.engines.fake import FakeEngine
from chatlab.lab import Lab
from chatlab.lab.chat.reply_stream import ReplyOptions
from chatlab.settings import Settings
from chatlab.training.process.client import TrainerClient
from chatlab.training.process.status import TrainerStatus

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="needs prlimit and its signals")]
PATIENCE = 240.0


@pytest.fixture
def lab(settings: Settings) -> Iterator[Lab]:
    lab = Lab(settings, open_engine=lambda base: FakeEngine())
    lab._trainer = lab.training._trainer = TrainerClient(settings.base, settings.cache, silence=3.0)  # silent sooner
    lab.demonstrations.load_pack("stage")
    yield lab
    lab.close()


def until(lab: Lab, ready: Callable[[TrainerStatus], bool]) -> TrainerStatus:
    ends = time.monotonic() + PATIENCE
    while not ready(status := lab.training.status()):
        assert time.monotonic() < ends, status
        time.sleep(0.01)
    return status


def talks(lab: Lab) -> bool:
    return lab.chat.reply(lab.chat.new(), "Are you there?", ReplyOptions(sampling=Sampling(max_tokens=5))).finish().done


def learning(lab: Lab, run: str, past: int) -> int:
    """The worker's pid, once it has made steps and kept its place."""
    until(lab, lambda s: bool(s.steps) and s.steps[-1].step > past)
    folder = lab.training.run(run).folder
    place = folder / "checkpoint" / "state.safetensors"
    ends = time.monotonic() + PATIENCE
    while not place.exists():
        assert time.monotonic() < ends
        time.sleep(0.02)
    return int((folder / "worker.pid").read_text())


def test_whatever_befalls_the_trainer_is_said_and_chat_and_the_run_go_on(lab: Lab) -> None:
    run = lab.training.retrain("steady", epochs=12)
    pid = learning(lab, run, 3)

    os.kill(pid, signal.SIGSTOP)
    status = until(lab, lambda s: "has not responded" in s.message)
    assert status.state == "training" and talks(lab)
    os.kill(pid, signal.SIGCONT)
    until(lab, lambda s: not s.message)

    os.kill(pid, signal.SIGSTOP)
    lab.training.stop()
    status = until(lab, lambda s: s.state != "training")
    assert "did not respond" in status.message and lab.training.run(run).state == "stopped" and talks(lab)
    lab.training.wait(10)
    lab.training.resume(run)
    pid = learning(lab, run, lab.training.run(run).steps[-1].step)

    os.kill(pid, signal.SIGKILL)
    status = until(lab, lambda s: s.state != "training")
    assert "killed by signal 9" in status.message and "can be resumed" in status.message and talks(lab)
    lab.training.wait(10)
    reached = lab.training.run(run).steps[-1].step
    lab.training.resume(run)
    pid = learning(lab, run, reached)

    room = psutil.Process(pid).memory_info().vms
    resource.prlimit(pid, resource.RLIMIT_AS, (room, resource.RLIM_INFINITY))
    resource.prlimit(pid, resource.RLIMIT_DATA, (2**20, resource.RLIM_INFINITY))
    status = until(lab, lambda s: s.state != "training")
    assert status.message and talks(lab)
    print("out of memory:", status.message)
    assert "memory" in status.message or "ended" in status.message or "killed" in status.message
    lab.training.wait(10)
    os.kill(pid, signal.SIGKILL)
    until(lab, lambda s: s.state != "ready")

    trap = lab.training.run(run).folder / "trap"
    trap.mkdir()
    (trap / "adapter_model.safetensors").symlink_to("/dev/full")
    (trap.parent / "adapter.partial").symlink_to(trap)
    lab.training.resume(run)
    until(lab, lambda s: s.state != "training")
    lab.training.wait(10)
    found = lab.training.run(run)
    assert found.state == "failed" and "disk is full" in found.error and talks(lab)
    (trap.parent / "adapter.partial").unlink()
    lab.training.resume(run)
    lab.training.wait(PATIENCE)
    assert lab.training.run(run).state == "finished" and "steady" in lab.variants.names(), lab.training.news
    steps = [step.step for step in lab.training.run(run).steps]
    assert steps == sorted(set(steps)), "no step is missing or counted twice"
    assert Path(lab.training.run(run).adapter).is_dir()
