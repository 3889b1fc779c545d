"""Ablation of the loss mask: the same demonstrations trained with and without it, both adapters asked the same."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from chatlab.engines.base import Sampling
from chatlab.errors import ChatlabError, RunBusy, TrainingError
from chatlab.evaluation.replies import ReplyForm
from chatlab.evaluation.reply_metrics import reply_metrics
from chatlab.evaluation.unseen import FIRST, Reply, ask, unseen
from chatlab.former_names import current_fields
from chatlab.lab.models import ModelHost
from chatlab.lab.runs.training import Training
from chatlab.lab.variants import Variants
from chatlab.measurements import ReplyMetrics
from chatlab.system.clock import now
from chatlab.system.files import private_folder
from chatlab.training.process.runs import RunView, write_json

log = logging.getLogger("chatlab.lab")

FILE = "mask-trial.json"
NAMES = {True: "with-mask", False: "without-mask"}
SAMPLING = Sampling(temperature=0.7, max_tokens=96, seed=0)
"""As chat samples, but with one seed for both."""
SECONDS_A_REPLY = 0.5
"""For the estimate only."""

AblationState = Literal["running", "paused", "finished"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One way of training, as far as it has come."""

    mask: bool
    run: str
    adapter: str = ""
    """Empty until it is published."""
    replies: tuple[Reply, ...] = ()

    @property
    def reply_metrics(self) -> ReplyMetrics:
        return reply_metrics(self.replies)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ablation:
    """The comparison that was asked for last."""

    created: str
    prompts: tuple[str, ...]
    sides: tuple[Side, Side]
    """With the mask, and without."""
    state: AblationState = "paused"
    problem: str = ""
    """Why it does not go on by itself."""

    @property
    def complete(self) -> bool:
        return all(side.adapter and len(side.replies) == len(self.prompts) for side in self.sides)


class MaskAblation:
    """Two ordinary runs, one after the other, neither of which goes live; then the same unseen prompts to both.

    Everything is in the runs' folders and one file beside them, so it can be stopped, closed and gone on with anywhere.
    """

    def __init__(self, folder: Path, training: Training, variants: Variants, machine: ModelHost) -> None:
        self._folder = folder
        self._training = training
        self._variants = variants
        self._machine = machine
        self._lock = threading.Lock()
        self._leave = threading.Event()
        self._driver: threading.Thread | None = None
        self._problem = ""

    def seconds(self) -> float:
        """Estimate for all of it. Raises what `plan` raises."""
        return 2 * self._training.plan().seconds + 2 * FIRST * SECONDS_A_REPLY

    def start(self, kind: str = "", **overrides: Any) -> Ablation:
        """Freeze the approved demonstrations twice and begin. `kind` names a pack that has unseen prompts of its own.

        Overrides are fields of TrainSettings, for both runs. An earlier trial's runs and adapters stay. Raises what
        `retrain` raises.
        """
        with self._lock:
            self._check_idle()
            if self._training.status().state == "training":
                raise RunBusy("A run is already in progress.", "Wait for it, or stop it first.")
            sides = (self._side(True, overrides), self._side(False, overrides))
            self._check_same(sides)
            ablation = Ablation(created=now(), prompts=tuple(unseen(kind, FIRST)), sides=sides)
            self._keep(ablation)
            self._begin()
        return self.latest() or ablation

    def go_on(self) -> None:
        """With a trial that was stopped or interrupted. Raises TrainingError where there is none."""
        with self._lock:
            self._check_idle()
            if self._read() is None:
                raise TrainingError("There is no comparison to continue.", "Start one.")
            self._begin()

    def stop(self) -> None:
        """After the present step or reply; `go_on` takes it up there."""
        self._leave.set()
        ablation = self._read()
        status = self._training.status()
        if ablation and status.run and status.run.name in {side.run for side in ablation.sides}:
            self._training.stop(keep=False)

    def discard(self) -> None:
        """Throw the trial away: its runs, and its adapters into the trash."""
        with self._lock:
            self._check_idle()
            ablation = self._read()
            for side in ablation.sides if ablation else ():
                if name := self._training.adapter_of(side.run):
                    self._variants.remove(name)
                with suppress(TrainingError):  # thrown away already
                    self._training.discard(side.run)
            (self._folder / FILE).unlink(missing_ok=True)
            self._problem = ""

    def latest(self) -> Ablation | None:
        """The trial as it stands; None before the first."""
        ablation = self._read()
        if ablation is None:
            return None
        running = self._driver is not None and self._driver.is_alive()
        state: AblationState = "running" if running else "finished" if ablation.complete else "paused"
        return replace(ablation, state=state, problem="" if running else self._problem)

    def run(self, side: Side) -> RunView | None:
        """The run of a side, unless it has been thrown away."""
        try:
            return self._training.run(side.run)
        except TrainingError:
            return None

    def wait(self, timeout: float | None = None) -> None:
        if self._driver is not None:
            self._driver.join(timeout)

    def close(self) -> None:
        """Leave it where it is: it ends by itself once training is closed."""
        self._leave.set()

    def _side(self, mask: bool, overrides: dict[str, Any]) -> Side:
        return Side(mask=mask, run=self._training.prepare(NAMES[mask], live=False, **overrides | {"mask": mask}))

    def _check_same(self, sides: Sequence[Side]) -> None:
        runs = [self._training.run(side.run) for side in sides]
        if len({run.request.snapshot for run in runs}) > 1:
            for run in runs:
                self._training.discard(run.id)
            raise TrainingError("The demonstrations changed at that moment.", "Start the comparison again.")

    def _check_idle(self) -> None:
        if self._driver is not None and self._driver.is_alive():
            raise RunBusy("The comparison is already running.", "Wait for it, or stop it first.")

    def _begin(self) -> None:
        self._problem = ""
        self._leave.clear()
        self._driver = threading.Thread(target=self._drive, name="mask ablation", daemon=True)
        self._driver.start()

    def _drive(self) -> None:
        """All that is still to be done, in a thread of its own."""
        try:
            for mask in (True, False):
                self._train(mask)
            for mask in (True, False):
                self._ask(mask)
        except ChatlabError as error:
            self._problem = f"{error} {error.hint}".strip()
        except Exception:
            log.exception("The comparison with and without the mask failed")
            self._problem = "Something went wrong inside Chatlab. The log has details."

    def _train(self, mask: bool) -> None:
        side = self._now(mask)
        if side.adapter or self._leave.is_set():
            return
        if self._training.run(side.run).state != "finished":
            self._training.resume(side.run)
            if self._leave.is_set():  # said while it was being begun
                self._training.stop(keep=False)
        self._training.wait()
        run = self._training.run(side.run)
        adapter = self._training.adapter_of(side.run)
        if adapter:
            self._change(replace(side, adapter=adapter))
        elif not self._leave.is_set():
            raise TrainingError(
                run.error or self._training.news or f"The run {NAMES[mask]} did not finish.", "Continue it."
            )

    def _ask(self, mask: bool) -> None:
        """What has not been asked yet, each reply kept as it comes."""
        side = self._now(mask)
        if not side.adapter or self._leave.is_set():
            return
        left = self._prompts()[len(side.replies) :]
        with self._machine.lease() as model:
            variant = self._variants.get(side.adapter, model=model)
            for reply in ask(model.engine, model.base, variant, left, SAMPLING):
                side = replace(side, replies=(*side.replies, reply))
                self._change(side)
                if self._leave.is_set():
                    return

    def _now(self, mask: bool) -> Side:
        return next(side for side in self._ablation().sides if side.mask == mask)

    def _prompts(self) -> tuple[str, ...]:
        return self._ablation().prompts

    def _ablation(self) -> Ablation:
        ablation = self._read()
        if ablation is None:
            raise TrainingError("The comparison was discarded.")
        return ablation

    def _change(self, side: Side) -> None:
        ablation = self._ablation()
        first, second = (side if one.mask == side.mask else one for one in ablation.sides)
        self._keep(replace(ablation, sides=(first, second)))

    def _keep(self, ablation: Ablation) -> None:
        private_folder(self._folder)
        document = asdict(ablation)
        write_json(self._folder / FILE, {name: document[name] for name in ("created", "prompts", "sides")})

    def _read(self) -> Ablation | None:
        """None also for a file that cannot be read: a trial can be run again."""
        try:
            raw = json.loads((self._folder / FILE).read_text(encoding="utf-8"))
            first, second = (side_from_json(one) for one in raw["sides"])
            return Ablation(created=raw["created"], prompts=tuple(raw["prompts"]), sides=(first, second))
        except (OSError, ValueError, KeyError, TypeError):
            return None


def side_from_json(raw: dict[str, Any]) -> Side:
    replies = tuple(
        Reply(**{**one, "form": ReplyForm(**current_fields(ReplyForm, one["form"]))}) for one in raw["replies"]
    )
    return Side(mask=raw["mask"], run=raw["run"], adapter=raw["adapter"], replies=replies)
