"""Training runs: from the approved demonstrations to a live adapter."""

from __future__ import annotations

import contextlib
import re
import shutil
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from chatlab.errors import BaseRefused, ChatlabError, RunBusy, TrainingError
from chatlab.lab.data.demonstrations import Demonstrations
from chatlab.lab.models import ModelHost
from chatlab.lab.models.memory import check_training_memory
from chatlab.lab.runs.estimates import Estimates
from chatlab.lab.runs.publisher import Publisher
from chatlab.lab.runs.requests import Requests, check_template
from chatlab.models.base import Base
from chatlab.records import AdapterCard, TrainSettings
from chatlab.system.processes.forked import prepare
from chatlab.training.defaults import (
    Plan,
    settings_for,
)
from chatlab.training.process import IMPORTED
from chatlab.training.process.client import TrainerClient
from chatlab.training.process.runs import RunView, list_runs, read_forgetting, read_run, write_failure
from chatlab.training.process.status import TrainerStatus

_RUN = re.compile(r"[A-Za-z0-9_][\w.-]{0,99}")
"""What a run's folder can be called."""
SHAPE = ("rank", "alpha", "dropout", "layers")
"""Settings that say what an adapter is, whatever it learns."""
MEASURING = 300.0
"""Seconds after which nobody waits any more for what a correction forgot: the trainer has failed or has ended."""
UNPACKED_AT_ONCE = 500_000_000
"""Parameters of a GGUF that is unpacked for training when the app starts: at most 1 GB on the disk, and seconds."""


class Training:
    """Runs: planned, started, followed, stopped, resumed; and their adapters published and put live.

    A run belongs to the trainer process. What is here starts it, watches for its end from a thread, and can
    be thrown away with the app: the run's folder holds all that is needed to go on.
    """

    def __init__(
        self,
        *,
        folder: Path,
        cache: Path,
        demonstrations: Demonstrations,
        machine: ModelHost,
        requests: Requests,
        publisher: Publisher,
        trainer: TrainerClient,
    ) -> None:
        self._folder = folder
        self._estimates = Estimates(cache, demonstrations, machine)
        self._machine = machine
        self._requests = requests
        self._publisher = publisher
        self._trainer = trainer
        self._lock = threading.Lock()
        self._watcher: threading.Thread | None = None
        self._closing = threading.Event()
        self.news: str = ""
        """What became of the last run, when it needs saying: why it was not published, or did not go live."""

    def plan(self, **overrides: Any) -> Plan:
        """What `retrain` with these settings would do. Overrides are fields of TrainSettings."""
        return self._estimates.plan(**overrides)

    def retrain(self, name: str = "", live: bool = True, **overrides: Any) -> str:
        """Freeze the approved demonstrations and start a run on them; its id.

        The adapter is called `name`, or after the day and a number; it goes live when it is done, if `live`. Raises
        NothingToLearn, RunBusy, NameRefused, TemplateRefused, and what opening the base raises.
        """
        with self._lock, self._machine.lease() as model:
            self._check_idle()
            run = self._requests.retraining(model.base, name, live, overrides)
            self._start(run, model.base)
        return run.name

    def learn(self, demonstration_id: int) -> str:
        """Start a run of a few steps on one demonstration, going on from the live adapter; its id.

        What comes of it goes live, as the next version of that adapter. Raises InputError, and what `retrain` raises.
        """
        with self._lock, self._machine.lease() as model:
            self._check_idle()
            run = self._requests.correction(model, demonstration_id)
            self._start(run, model.base)
        return run.name

    def prefer(
        self, rows: Sequence[Mapping[str, Any]], settings: TrainSettings, name: str = "", live: bool = True
    ) -> str:
        """Start a run on preferences, going on from the live adapter; its id. Raises what `retrain` raises."""
        with self._lock, self._machine.lease() as model:
            self._check_idle()
            run = self._requests.preferring(model, rows, settings, name, live)
            self._start(run, model.base)
        return run.name

    def plan_correction(self) -> Plan:
        """What `learn` would do."""
        return self._estimates.plan_correction()

    def retrain_like(self, card: AdapterCard) -> str:
        """Train the approved demonstrations on the model that answers, with the settings of an adapter of another one.

        What was left as it suits the size of that model is chosen anew for this one. Raises what `retrain` raises.
        """
        usual = asdict(settings_for(len(card.demonstrations), card.base_parameters or 1))
        kept = SHAPE if card.preferences else usual  # the rest was for preferences, which are not trained again
        chosen = {name: value for name, value in asdict(card.settings).items() if name in kept and value != usual[name]}
        return self.retrain(card.name, **chosen)

    def prepare(self, name: str = "", live: bool = True, **overrides: Any) -> str:
        """Freeze the same as `retrain` would, for a run that `resume` begins later; its id."""
        with self._lock, self._machine.lease() as model:
            return self._requests.retraining(model.base, name, live, overrides).name

    def resume(self, run_id: str) -> None:
        """Begin a run that was prepared, or go on with a stopped or interrupted one from its last checkpoint.

        Raises TrainingError.
        """
        with self._lock, self._machine.lease() as model:
            self._check_idle()
            run = self.run(run_id)
            if run.state == "finished":
                raise TrainingError("That run is finished already.", "Its adapter is in the list.")
            self.check_same_base(run, model.base)
            check_template(model.base)
            self._start(run.folder, model.base)

    def stop(self, keep: bool = False) -> None:
        """End the run under way: `keep` publishes what it has learned so far, otherwise it can be resumed."""
        self._trainer.stop(keep)

    def discard(self, run_id: str) -> None:
        """Throw a run away, its checkpoint included. Its adapter, if one was published, stays."""
        run = self.run(run_id)
        if run.state == "running":
            raise RunBusy("That run is in progress.", "Stop it first.")
        shutil.rmtree(run.folder)

    def status(self) -> TrainerStatus:
        """The trainer process as it is now: state, steps so far, time left."""
        return self._trainer.status()

    def current(self) -> RunView | None:
        """The run under way, else the newest one; None before the first."""
        run = self._trainer.status().run
        if run is not None:
            with contextlib.suppress(FileNotFoundError, TrainingError):  # discarded, or damaged
                return read_run(run)
        return next(iter(self.runs()), None)

    def published(self, run: Path) -> bool:
        """Whether a finished run's adapter is published."""
        return self._publisher.is_published(run)

    def evaluated(self, run_id: str) -> bool:
        """Whether its adapter is not being asked the unseen prompts, which takes seconds after it was published."""
        return self._publisher.evaluated(run_id)

    def run(self, run_id: str) -> RunView:
        """Raises TrainingError for an id that is no run."""
        folder = self._folder / run_id
        if not _RUN.fullmatch(run_id) or not (folder / "run.json").exists():
            raise TrainingError(f"There is no run {run_id!r}.", "Choose one from the list.")
        return read_run(folder)

    def runs(self) -> list[RunView]:
        """All runs, newest first."""
        return list_runs(self._folder)

    def adapter_of(self, run_id: str) -> str | None:
        """Name of the adapter that a run became."""
        return self._publisher.adapter_of(run_id)

    def warm(self) -> None:
        """Start the trainer process, so that the first run does not wait for it.

        None for a base that has no runs or that the memory does not hold, and none yet for a large GGUF: that is
        unpacked for its first run.
        """
        if self._closing.is_set():
            return
        base = self._machine.base
        try:
            base.check_trainable()
            check_training_memory(base)
        except (BaseRefused, TrainingError):
            return
        if base.gguf is None or base.parameters < UNPACKED_AT_ONCE:
            prepare(IMPORTED)  # beside the unpacking
            self._trainer.use(self._machine.training_base(base))
            if self._trainer.status().state != "training":
                self._trainer.warm()
                if self._closing.is_set():  # nobody else would end it
                    self._trainer.close()
                threading.Thread(target=self._yield_to_warming, name="trainer warm-up", daemon=True).start()

    def adopt(self) -> None:
        """Publish the runs that finished while the app was closed."""
        for run in self.runs():
            if run.state == "finished" and not self.published(run.folder):
                self.news = self._publisher.publish(run)
            elif run.state == "finished":
                self._publisher.evaluate(run.id)
                self._publisher.note_forgetting(run)

    def wait(self, timeout: float | None = None) -> None:
        """Until the run under way has ended and been published."""
        if self._watcher is not None:
            self._watcher.join(timeout)

    def close(self) -> None:
        """Stop following; the trainer checkpoints its run and ends, and the run can be resumed."""
        self._closing.set()
        self._trainer.close()
        self.wait(timeout=10)

    def _check_idle(self) -> None:
        if self._trainer.status().state == "training" or (self._watcher is not None and self._watcher.is_alive()):
            raise RunBusy("A run is already in progress.", "Wait for it, or stop it first.")

    def check_same_base(self, run: RunView, base: Base) -> None:
        """Raises TrainingError for a run of another base than this."""
        if run.request.base != base.fingerprint:
            used = f" ({run.request.base_name})" if run.request.base_name else ""
            raise TrainingError(f"That run uses another base model{used}.", "Switch to that model, or start a new run.")

    def _start(self, run: Path, base: Base) -> None:
        """A run that cannot be started has failed, and its folder says why."""
        self.news = ""
        try:
            check_training_memory(base)
            self._trainer.use(self._machine.training_base(base))
            self._trainer.start(run)
        except ChatlabError as error:
            if not isinstance(error, RunBusy):
                write_failure(run, str(error), error.hint)
            raise
        self._machine.yield_cores(True)
        self._watcher = threading.Thread(target=self._watch, args=(run,), name="run watcher", daemon=True)
        self._watcher.start()

    def _yield_to_warming(self) -> None:
        """Leave it a core: what waits for a core that somebody else uses slows both down tenfold and more."""
        self._machine.yield_cores(True)
        while self._trainer.status().state == "warming" and not self._closing.wait(0.25):
            pass
        if self._trainer.status().state != "training":
            self._machine.yield_cores(False)

    def _watch(self, run: Path) -> None:
        """Wait for the run's end, then publish it. Runs in a thread of its own."""
        try:
            while self._trainer.wait(0.25).state == "training" and not self._closing.is_set():
                pass
        finally:
            self._machine.yield_cores(False)
        if not self._closing.is_set() and (ended := read_run(run)).state == "finished":
            self.news = self._publisher.publish(ended)
            if ended.request.corrections:
                threading.Thread(target=self._follow, args=(run,), name="forgetting", daemon=True).start()

    def _follow(self, run: Path) -> None:
        """Wait until the trainer has measured what a correction forgot; unless it is given another run before."""
        ends = time.monotonic() + MEASURING
        while not self._closing.wait(0.25) and self._trainer.status().run == run and time.monotonic() < ends:
            if read_forgetting(run):
                self.news = self._publisher.note_forgetting(read_run(run))
                return
