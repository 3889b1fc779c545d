"""Runs in the trainer process: reproducible, resumable after any kill, clear about every trouble. Real training."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from chatlab.errors import RunBusy, TrainingError
from chatlab.models.base import Base
from chatlab.records import TrainSettings
from chatlab.settings import PACKAGE
from chatlab.training.process.client import TrainerClient
from chatlab.training.process.runs import Request, RunView, list_runs, lock_of, read_run, write_request
from chatlab.training.process.status import TrainerStatus
from chatlab.training.process.watchdog import Silence

SETTINGS = TrainSettings(rank=4, epochs=3, batch_size=4, kl_samples=1, held_out=0)
PATIENCE = 240.0

MakeRun = Callable[..., Path]


@pytest.fixture(scope="module")
def base(base_folder: Path) -> Base:
    return Base.open(base_folder)


@pytest.fixture(scope="module")
def trainer(base: Base, cache_folder: Path) -> Iterator[TrainerClient]:
    own = TrainerClient(base.folder, cache_folder, silence=3.0)
    yield own
    own.close()


@pytest.fixture
def make_run(base: Base, tmp_path: Path) -> MakeRun:
    def make(name: str = "run", demonstrations: int = 8, settings: TrainSettings = SETTINGS, **request: str) -> Path:
        lines = (PACKAGE / "data" / "packs" / "stage.jsonl").read_text(encoding="utf-8").splitlines()
        chosen = [json.loads(line)["messages"] for line in lines[:demonstrations]]
        return run_on(tmp_path / "runs" / name, base, chosen, settings, **request)

    return make


def run_on(folder: Path, on: Base, demonstrations: list, settings: TrainSettings = SETTINGS, **request: str) -> Path:
    folder.mkdir(parents=True)
    data = "".join(json.dumps({"id": n, "messages": m}) + "\n" for n, m in enumerate(demonstrations, 1)).encode()
    (folder / "snapshot.jsonl").write_bytes(data)
    fields = {"base": on.fingerprint, "snapshot": hashlib.sha256(data).hexdigest()} | request
    write_request(folder, Request(base_folder=str(on.folder), settings=settings, **fields))
    return folder


def finish(trainer: TrainerClient, run: Path) -> RunView:
    trainer.start(run)
    trainer.wait(PATIENCE)
    return read_run(run)


def until(trainer: TrainerClient, ready: Callable[[TrainerStatus], bool]) -> TrainerStatus:
    ends = time.monotonic() + PATIENCE
    while not ready(status := trainer.status()):
        assert time.monotonic() < ends, status
        time.sleep(0.005)
    return status


def weights(run: Path) -> bytes:
    return (run / "adapter" / "adapter_model.safetensors").read_bytes()


@pytest.fixture(scope="module")
def whole(base: Base, trainer: TrainerClient, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of eight demonstrations that nothing disturbed."""
    lines = (PACKAGE / "data" / "packs" / "stage.jsonl").read_text(encoding="utf-8").splitlines()[:8]
    run = run_on(tmp_path_factory.mktemp("runs") / "whole", base, [json.loads(line)["messages"] for line in lines])
    assert finish(trainer, run).state == "finished", trainer.status().message
    return run


def test_a_finished_run_says_what_it_did(whole: Path) -> None:
    view = read_run(whole)
    assert view.result is not None
    assert [step.step for step in view.steps] == list(range(7))
    assert view.steps[-1].loss < view.steps[1].loss
    assert view.steps[0].steps == view.steps[-1].steps == 6
    assert view.result.adapter == hashlib.sha256(weights(whole)).hexdigest()
    assert view.result.forgetting is not None and view.result.forgetting_interval is not None
    low, high = view.result.forgetting_interval
    assert low <= view.result.forgetting <= high
    assert view.result.demonstrations == tuple(range(1, 9)) and not view.result.held_out
    assert {"queue", "tokenise", "steps", "evaluate", "save"} == set(view.result.seconds)
    assert 0 < view.result.parameters < view.result.base_parameters
    assert not (whole / "checkpoint").exists()


def test_a_run_is_looked_at_on_its_way_and_what_it_was_there_is_kept(whole: Path) -> None:
    view = read_run(whole)
    looked = [step.step for step in view.steps if step.forgetting is not None]
    assert looked == [0, 2, 4, 6] and list(view.checkpoints) == [2, 4]
    assert view.steps[0].forgetting == 0, "an adapter that has learned nothing has forgotten nothing, to the bit"
    assert view.steps[0].kl == 0 and view.result is not None and (view.result.kl or 0) > 0
    kept = {(folder / "adapter_model.safetensors").read_bytes() for folder in view.checkpoints.values()}
    assert len(kept | {weights(whole)}) == 3


def test_a_run_with_another_rank_in_between_changes_nothing(
    trainer: TrainerClient, whole: Path, make_run: MakeRun
) -> None:
    other = make_run("other", settings=TrainSettings(rank=2, epochs=1, kl_weight=0, held_out=0))
    assert finish(trainer, other).state == "finished"
    again = make_run("again")
    assert finish(trainer, again).state == "finished"
    assert weights(again) == weights(whole) != weights(other)
    configs = [(run / "adapter" / "adapter_config.json").read_bytes() for run in (again, whole)]
    assert configs[0] == configs[1]


def test_a_killed_run_goes_on_and_a_stop_is_heeded_while_the_next_trainer_warms_up(
    trainer: TrainerClient, whole: Path, make_run: MakeRun
) -> None:
    """From any step: see `test_a_run_that_goes_on_from_any_step_equals_one_that_never_stopped`."""
    run = make_run()
    trainer.start(run)
    until(trainer, lambda s: (bool(s.steps) and s.steps[-1].step >= 3) or s.state != "training")
    kill(run)
    status = until(trainer, lambda s: s.state == "dead")
    assert "killed" in status.message and "resumed" in status.message
    assert read_run(run).state == "interrupted"
    trainer.start(run)
    trainer.stop(keep=False)
    trainer.wait(PATIENCE)
    assert read_run(run).state == "stopped"
    view = finish(trainer, run)
    assert view.state == "finished"
    assert weights(run) == weights(whole)
    assert [step.step for step in view.steps] == list(range(7))
    assert [step.loss for step in view.steps] == [step.loss for step in read_run(whole).steps]


def kill(run: Path) -> None:
    os.kill(int((run / "worker.pid").read_text()), signal.SIGTERM if sys.platform == "win32" else signal.SIGKILL)


def test_a_stopped_run_can_go_on_to_the_same_end(trainer: TrainerClient, whole: Path, make_run: MakeRun) -> None:
    run = make_run()
    trainer.start(run)
    until(trainer, lambda s: bool(s.steps))
    trainer.stop(keep=False)
    trainer.wait(PATIENCE)
    stopped = read_run(run)
    assert stopped.state == "stopped" and stopped.result is None and not stopped.adapter.exists()
    assert finish(trainer, run).state == "finished"
    assert weights(run) == weights(whole)


def test_stop_and_keep_saves_what_was_learned_so_far(trainer: TrainerClient, whole: Path, make_run: MakeRun) -> None:
    run = make_run()
    trainer.start(run)
    until(trainer, lambda s: bool(s.steps))
    trainer.stop(keep=True)
    trainer.wait(PATIENCE)
    view = read_run(run)
    assert view.state == "finished" and view.result is not None
    assert view.result.stopped_early and 1 <= view.result.steps < 6
    assert weights(run) != weights(whole)


def test_one_run_at_a_time(trainer: TrainerClient, make_run: MakeRun) -> None:
    first, second = make_run("first"), make_run("second")
    trainer.start(first)
    with pytest.raises(RunBusy):
        trainer.start(second)
    with pytest.raises(RunBusy):
        trainer.start(first)
    trainer.stop(keep=False)
    trainer.wait(PATIENCE)
    assert read_run(second).state == "waiting"


def test_a_run_that_another_process_works_on_is_left_to_it(trainer: TrainerClient, make_run: MakeRun) -> None:
    run = make_run()
    with lock_of(run):
        assert read_run(run).state == "running"
        with pytest.raises(RunBusy):
            trainer.start(run)
    assert read_run(run).state == "interrupted"


def test_a_finished_run_is_not_begun_again(trainer: TrainerClient, whole: Path) -> None:
    with pytest.raises(TrainingError, match="finished"):
        trainer.start(whole)


def test_closing_the_app_puts_the_run_down_and_the_next_app_goes_on(
    base: Base, trainer: TrainerClient, cache_folder: Path, whole: Path, make_run: MakeRun
) -> None:
    first = TrainerClient(base.folder, cache_folder)
    run = make_run()
    first.start(run)
    until(first, lambda s: bool(s.steps))
    first.close(timeout=60)
    assert read_run(run).state == "interrupted"
    assert (run / "checkpoint").exists()
    assert finish(trainer, run).state == "finished", "in another process"
    assert weights(run) == weights(whole)


@pytest.mark.skipif(sys.platform == "win32", reason="no such signal")
def test_a_paused_trainer_is_said_to_be_silent_and_nothing_hangs(trainer: TrainerClient, make_run: MakeRun) -> None:
    run = make_run()
    trainer.start(run)
    until(trainer, lambda s: bool(s.steps))
    pid = int((run / "worker.pid").read_text())
    os.kill(pid, signal.SIGSTOP)
    try:
        status = until(trainer, lambda s: bool(s.message))
        assert "not responded" in status.message and status.state == "training"
    finally:
        os.kill(pid, signal.SIGCONT)
    trainer.wait(PATIENCE)
    assert read_run(run).state == "finished"


@pytest.mark.skipif(sys.platform == "win32", reason="no such signal")
def test_a_stop_ends_a_frozen_trainer_and_the_run_goes_on_from_its_place_to_the_same_end(
    trainer: TrainerClient, whole: Path, make_run: MakeRun
) -> None:
    run = make_run()
    trainer.start(run)
    until(trainer, lambda s: len(s.steps) > 2)
    pid = int((run / "worker.pid").read_text())
    os.kill(pid, signal.SIGSTOP)
    seen = len(trainer.status().steps)
    trainer.stop(keep=False)
    status = until(trainer, lambda s: s.state != "training")
    assert "did not respond" in status.message and "Resume the run" in status.message
    assert read_run(run).state == "stopped" and not psutil.pid_exists(pid)
    assert len(status.steps) >= seen, "no event is lost"
    assert finish(trainer, run).state == "finished"
    assert weights(run) == weights(whole)


@pytest.mark.skipif(sys.platform == "win32", reason="no such signal")
def test_a_stop_that_keeps_the_adapter_keeps_it_though_the_trainer_is_frozen(
    trainer: TrainerClient, make_run: MakeRun
) -> None:
    run = make_run(settings=replace(SETTINGS, epochs=40))
    trainer.start(run)
    until(trainer, lambda s: bool(s.steps) and (run / "checkpoint" / "state.safetensors").exists())
    os.kill(int((run / "worker.pid").read_text()), signal.SIGSTOP)
    trainer.stop(keep=True)
    until(trainer, lambda s: "restarted" in s.message)
    status = until(trainer, lambda s: s.state == "ready")
    view = read_run(run)
    assert view.state == "finished" and view.result is not None and view.result.stopped_early
    assert "progress is kept" in status.message


def test_a_clock_that_jumps_is_no_silence() -> None:
    now = [100.0]
    silence = Silence(lambda: now[0])
    for _ in range(6):
        now[0] += 0.5
        silence.tick()
    assert silence.seconds == pytest.approx(3.0)
    for jump in (28_800.0, -3_600.0):  # a night's sleep; a clock set back
        now[0] += jump
        silence.tick()
        assert silence.seconds == 0, "the trainer slept as well, and gets a new start"
        now[0] += 0.5
        silence.tick()
        assert silence.seconds == pytest.approx(0.5)
    silence.reset()
    assert silence.seconds == 0


MUTE = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": ""}]


@pytest.mark.parametrize("demonstrations", [[], [MUTE]])
def test_nothing_to_learn_is_said(trainer: TrainerClient, base: Base, tmp_path: Path, demonstrations: list) -> None:
    view = finish(trainer, run_on(tmp_path / "run", base, demonstrations))
    assert view.state == "failed" and "demonstrations" in view.error and view.hint
    assert trainer.status().message == view.error


def test_a_run_for_another_base_is_refused(trainer: TrainerClient, make_run: MakeRun) -> None:
    view = finish(trainer, make_run(base="0" * 64))
    assert view.state == "failed" and "another base" in view.error


def test_a_snapshot_that_was_changed_is_refused(trainer: TrainerClient, make_run: MakeRun) -> None:
    run = make_run()
    with (run / "snapshot.jsonl").open("a", encoding="utf-8") as file:
        file.write("\n")
    view = finish(trainer, run)
    assert view.state == "failed" and "changed" in view.error


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_while_saving_costs_nothing_but_the_saving(
    trainer: TrainerClient, whole: Path, make_run: MakeRun, tmp_path: Path
) -> None:
    run = make_run()
    trap = tmp_path / "trap"
    trap.mkdir()
    (trap / "adapter_model.safetensors").symlink_to("/dev/full")
    (run / "adapter.partial").symlink_to(trap)
    view = finish(trainer, run)
    assert view.state == "failed" and "disk is full" in view.error and view.hint
    assert not view.adapter.exists()
    (run / "adapter.partial").unlink()
    steps = len(view.steps)
    again = finish(trainer, run)
    assert again.state == "finished" and len(again.steps) == steps
    assert weights(run) == weights(whole)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_while_keeping_the_place_is_said(trainer: TrainerClient, whole: Path, make_run: MakeRun) -> None:
    run = make_run()
    (run / "checkpoint").mkdir()
    (run / "checkpoint" / "state.safetensors.partial").symlink_to("/dev/full")
    view = finish(trainer, run)
    assert view.state == "failed" and "disk is full" in view.error
    assert finish(trainer, run).state == "finished"
    assert weights(run) == weights(whole)


def test_a_torn_checkpoint_costs_time_only(trainer: TrainerClient, whole: Path, make_run: MakeRun) -> None:
    run = make_run()
    trainer.start(run)
    until(trainer, lambda s: len(s.steps) > 1)
    trainer.stop(keep=False)
    trainer.wait(PATIENCE)
    state = run / "checkpoint" / "state.safetensors"
    state.write_bytes(state.read_bytes()[:-1000])
    assert finish(trainer, run).state == "finished"
    assert weights(run) == weights(whole)


def test_a_base_that_cannot_be_opened_is_said(tmp_path: Path) -> None:
    broken = TrainerClient(tmp_path / "nowhere", tmp_path / "cache")
    broken.warm()
    status = broken.wait(PATIENCE)
    assert status.state == "dead" and status.message
    broken.close()


def test_what_is_wrong_with_a_base_does_not_wait_for_torch(tmp_path: Path) -> None:
    worker = [
        sys.executable,
        "-X",
        "importtime",
        "-m",
        "chatlab.training.process.worker",
        tmp_path / "nowhere",
        tmp_path,
    ]
    said = subprocess.run(worker, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert '"fatal"' in said.stdout
    imported = {line.rpartition("|")[2].strip() for line in said.stderr.splitlines() if line.startswith("import time")}
    assert "chatlab.models" in imported and not {"torch", "transformers", "peft"} & imported


def test_runs_are_listed_newest_first_and_survive_a_torn_line(make_run: MakeRun) -> None:
    old, new = make_run("old", created="2026-01-01"), make_run("new", created="2026-02-01")
    (new / "steps.jsonl").write_text('{"step": 0, "steps": 6, "loss": 5.0}\n{"step": 1, "st', encoding="utf-8")
    assert [view.id for view in list_runs(old.parent)] == ["new", "old"]
    assert len(read_run(new).steps) == 1
    shutil.rmtree(old)
    assert [view.id for view in list_runs(new.parent)] == ["new"]


@pytest.mark.skipif(sys.platform == "win32", reason="no such signal")
def test_an_app_that_closes_does_not_wait_for_a_frozen_trainer(trainer: TrainerClient, make_run: MakeRun) -> None:
    """The last of those that need the trainer, which ends here."""
    run = make_run()
    trainer.start(run)
    until(trainer, lambda s: bool(s.steps))
    pid = int((run / "worker.pid").read_text())
    os.kill(pid, signal.SIGSTOP)
    began = time.monotonic()
    trainer.close(timeout=PATIENCE)
    assert time.monotonic() - began < PATIENCE / 4
    assert not psutil.pid_exists(pid) and read_run(run).state == "interrupted"
