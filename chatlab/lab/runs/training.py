"""Training runs: from the approved demonstrations to a live adapter."""

from __future__ import annotations

import contextlib
import re
import secrets
import shutil
import threading
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from chatlab.adapters import check_name
from chatlab.errors import BaseRefused, InputError, NothingToLearn, RunBusy, TemplateRefused, TrainingError
from chatlab.lab.data.demonstrations import Demonstrations
from chatlab.lab.models import ModelHost
from chatlab.lab.models.memory import check_training_memory
from chatlab.lab.runs.publisher import Publisher
from chatlab.lab.variants import Variants
from chatlab.models.base import Base
from chatlab.records import AdapterCard
from chatlab.store import Store
from chatlab.system.clock import now
from chatlab.system.files import private_folder
from chatlab.training.defaults import Plan, plan, read_throughput, settings_for
from chatlab.training.process.client import TrainerClient, TrainerStatus
from chatlab.training.process.runs import Request, RunView, list_runs, read_run, write_request

_RUN = re.compile(r"[A-Za-z0-9_][\w.-]{0,99}")
"""What a run's folder can be called."""
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
        store: Store,
        demonstrations: Demonstrations,
        machine: ModelHost,
        variants: Variants,
        publisher: Publisher,
        trainer: TrainerClient,
    ) -> None:
        self._folder = folder
        self._cache = cache
        self._store = store
        self._demonstrations = demonstrations
        self._machine = machine
        self._variants = variants
        self._publisher = publisher
        self._trainer = trainer
        self._lock = threading.Lock()
        self._watcher: threading.Thread | None = None
        self._closing = threading.Event()
        self.news: str = ""
        """What became of the last run, when it needs saying: why it was not published, or did not go live."""

    def plan(self, **overrides: Any) -> Plan:
        """What `retrain` with these settings would do. Overrides are fields of TrainSettings."""
        base = self._machine.base
        count = len(self._demonstrations.approved())
        settings = settings_for(count, base.parameters, **overrides)
        return plan(settings, count, base.parameters, throughput=read_throughput(self._cache, base.fingerprint))

    def retrain(self, name: str = "", live: bool = True, **overrides: Any) -> str:
        """Freeze the approved demonstrations and start a run on them; its id.

        The adapter is called `name`, or after the day and a number; it goes live when it is done, if `live`. Raises
        NothingToLearn, RunBusy, NameRefused, TemplateRefused, and what opening the base raises.
        """
        with self._lock, self._machine.lease() as model:
            self._check_idle()
            run = self._prepared(model.base, name, live, overrides)
            self._start(run, model.base)
        return run.name

    def retrain_like(self, card: AdapterCard) -> str:
        """Train the approved demonstrations on the model that answers, with the settings of an adapter of another one.

        What was left as it suits the size of that model is chosen anew for this one. Raises what `retrain` raises.
        """
        usual = asdict(settings_for(len(card.demonstrations), card.base_parameters or 1))
        chosen = {name: value for name, value in asdict(card.settings).items() if value != usual[name]}
        return self.retrain(card.name, **chosen)

    def prepare(self, name: str = "", live: bool = True, **overrides: Any) -> str:
        """Freeze the same as `retrain` would, for a run that `resume` begins later; its id."""
        with self._lock, self._machine.lease() as model:
            return self._prepared(model.base, name, live, overrides).name

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
            _check_template(model.base)
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

    def _prepared(self, base: Base, name: str, live: bool, overrides: dict[str, Any]) -> Path:
        began = now()
        checked = check_name(name) if name else ""
        ids = self._demonstrations.approved()
        if not ids:
            raise NothingToLearn(
                "There are no approved demonstrations to train on.",
                "Keep an answer in the chat, write one, or load the starter pack.",
            )
        _check_template(base)
        return self._freeze(base, ids, checked, began, live, overrides)

    def _freeze(
        self, base: Base, ids: list[int], name: str, created: str, live: bool, overrides: dict[str, Any]
    ) -> Path:
        """The run's folder, with everything it will ever read."""
        settings = settings_for(len(ids), base.parameters, **overrides)
        if settings.epochs < 1 or settings.batch_size < 1 or settings.rank < 1 or settings.learning_rate <= 0:
            raise InputError("Epochs, batch size, rank and learning rate must be above zero.", "Correct the settings.")
        run = self._folder / f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
        private_folder(run)
        request = Request(
            base=base.fingerprint,
            base_folder=str(base.folder),
            base_name=base.name,
            snapshot=self._store.snapshot(run / "snapshot.jsonl", ids),
            settings=settings,
            demonstrations=tuple(ids),
            name=name,
            parent=self._variants.live,
            created=created,
            live=live,
            held_back=tuple(self._demonstrations.held_back()),
        )
        write_request(run, request)
        return run

    def _start(self, run: Path, base: Base) -> None:
        self.news = ""
        check_training_memory(base)
        self._trainer.use(self._machine.training_base(base))
        self._trainer.start(run)
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
        if not self._closing.is_set() and read_run(run).state == "finished":
            self.news = self._publisher.publish(read_run(run))


def _check_template(base: Base) -> None:
    """Refuse a template whose training sequences would differ from chat's prompts."""
    base.check_trainable()
    if problems := base.template.check():
        raise TemplateRefused(
            " ".join(problems[:3]), "Choose another model, or put another chat_template.jinja into its folder."
        )
