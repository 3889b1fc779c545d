"""One training run, from its request to its result: examples, steps, checkpoints, evaluation, the adapter's folder."""

from __future__ import annotations

import gc
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from filelock import Timeout

from chatlab.errors import RunBusy, TrainingError, WrongBase
from chatlab.measurements import Step
from chatlab.system.files import write_whole
from chatlab.system.host import gc_paused
from chatlab.training import checkpoint as checkpoints
from chatlab.training.checkpoint import Checkpoint
from chatlab.training.evaluator import Evaluator, FinalMetrics
from chatlab.training.loop import Loss, check_finite, train
from chatlab.training.model import LoraModel
from chatlab.training.process.runs import Request, Result, lock_of, read_request, read_steps, write_json
from chatlab.training.resources import TrainingResources
from chatlab.training.task import Task, read_task

StopMode = Literal["", "keep", "stop", "leave"]
"""None; end early and keep what was learned; stop, to go on later; leave, because the app is gone."""
Outcome = Literal["finished", "stopped", "interrupted"]
CHECKPOINT_SECONDS = 2.0
"""Between two checkpoints, at least; and so long that writing them takes no more than CHECKPOINT_SHARE of a run."""
CHECKPOINT_SHARE = 0.03
LOCK_SECONDS = 15.0
"""How long a worker that lost its app may take to write its checkpoint and let go of a run."""


@dataclass(slots=True)
class PhaseSeconds:
    """Seconds spent in each phase."""

    queue: float = 0.0
    tokenise: float = 0.0
    steps: float = 0.0
    evaluate: float = 0.0
    save: float = 0.0


Phase = Literal["tokenise", "evaluate", "save"]


class TrainingRun:
    """Works on the run in `folder`.

    `stop_request` is called after every step; `emit` tells the app what happens.
    """

    def __init__(
        self,
        resources: TrainingResources,
        folder: Path,
        emit: Callable[..., None],
        stop_request: Callable[[], StopMode],
        requested_at: float,
    ) -> None:
        """`requested_at` is when the app asked for it, seconds since the epoch."""
        self.resources, self.folder, self.emit, self.stop_request = resources, folder, emit, stop_request
        self.steps_made = 0
        self.began_warm = resources.warmed
        self.seconds = PhaseSeconds(queue=max(0.0, time.time() - requested_at))

    def run(self) -> Outcome:
        """Raises errors of the tree for what a person can mend; the folder can be resumed in any case."""
        try:
            with lock_of(self.folder).acquire(timeout=LOCK_SECONDS):
                (self.folder / "worker.pid").write_text(str(os.getpid()), encoding="ascii")
                for name in ("stopped", "error.json"):
                    (self.folder / name).unlink(missing_ok=True)
                return self._work(read_request(self.folder))
        except Timeout:
            raise RunBusy(
                "Another process is still working on this run.", "Resume it when that has finished."
            ) from None

    def _work(self, request: Request) -> Outcome:
        with self._phase("tokenise"):
            task = self._read(request)
            model = self.resources.model(request.settings)
            if (self.folder / "start").exists():
                model.load(self.folder / "start")
        self.emit("phase", phase="steps")
        gc.collect()
        with gc_paused():
            with self._clock("evaluate"):
                evaluator, loss = task.evaluator(self.resources), task.loss(self.resources)
            stopped = self._train(request, task, model, loss, evaluator)
        if stopped in ("stop", "leave"):
            if stopped == "stop":
                (self.folder / "stopped").touch()
            return "stopped" if stopped == "stop" else "interrupted"
        self._finish(request, task, model, evaluator)
        return "finished"

    def _read(self, request: Request) -> Task:
        if request.base != self.resources.base.fingerprint:
            raise WrongBase("This run uses another base model.", "Switch to that model, or start a new run.")
        snapshot = self.folder / "snapshot.jsonl"
        if hashlib.sha256(snapshot.read_bytes()).hexdigest() != request.snapshot:
            raise TrainingError("The run's snapshot of demonstrations has been changed.", "Start a new run.")
        return read_task(request, snapshot, self.resources.base)

    def _train(self, request: Request, task: Task, model: LoraModel, loss: Loss[Any], evaluator: Evaluator) -> StopMode:
        """All steps still to be made, or those until a stop is requested."""
        checkpoint = checkpoints.read(self.folder / "checkpoint")
        if checkpoint:
            model.load_state_dict(checkpoint.state)
        done, spent = (checkpoint.step, checkpoint.seconds) if checkpoint else (0, 0.0)
        began = time.perf_counter()
        elsewhere = self.seconds.evaluate + self.seconds.save
        stopped: StopMode = ""
        with self._log(done) as log:
            if not checkpoint:
                with self._clock("evaluate"):
                    before = evaluator.before_training()
                check_finite(before, request.settings)
                log(before)
            saved_at, pause = time.perf_counter(), CHECKPOINT_SECONDS

            def evaluate(step: int, steps: int) -> dict[str, float | None]:
                return self._evaluate(step, steps, evaluator, model)

            settings, examples, steps = request.settings, task.examples, task.steps
            made = train(model, examples, settings, loss, evaluate, steps=steps, done=done, seconds=spent)
            for step in made:
                log(step)
                self.steps_made += 1
                stopped = self.stop_request()
                last = step.step == step.steps and task.is_usual  # else nothing is measured after it
                if stopped or last or time.perf_counter() - saved_at > pause:
                    saved_at = time.perf_counter()
                    with self._clock("save"):
                        state = Checkpoint(step.step, step.seconds, model.state_dict())
                        checkpoints.write(self.folder / "checkpoint", state)
                    pause = max(CHECKPOINT_SECONDS, (time.perf_counter() - saved_at) / CHECKPOINT_SHARE)
                    saved_at = time.perf_counter()
                if stopped:
                    break
        elsewhere = self.seconds.evaluate + self.seconds.save - elsewhere
        self.seconds.steps += time.perf_counter() - began - elsewhere
        return stopped

    def _evaluate(self, step: int, steps: int, evaluator: Evaluator, model: LoraModel) -> dict[str, float | None]:
        """What is measured after an evaluation step; the adapter as it was there is kept, to be tried and compared."""
        if not evaluator.is_eval_step(step):
            return {}
        if step < steps:
            with self._clock("save"):
                self._save(model, self.folder / "kept" / str(step))
        else:
            self.emit("phase", phase="evaluate")
        with self._clock("evaluate"):
            return evaluator.quick_eval(step)

    def _finish(self, request: Request, task: Task, model: LoraModel, evaluator: Evaluator) -> None:
        """Measure, save the adapter whole, and write the result last of all."""
        steps = list(read_steps(self.folder))
        with self._phase("evaluate"):
            final = evaluator.final(steps[-1].step)
            measured = replace(steps[-1], held_out_loss=final.held_out_loss, forgetting=final.forgetting, kl=final.kl)
            check_finite(measured, request.settings)
        with self._phase("save"):
            sha256 = self._save(model, self.folder / "adapter")
        self._write_result(request, task, model, steps, sha256, final)
        if task.is_usual:
            self._correct_throughput(request, task, steps)
        shutil.rmtree(self.folder / "checkpoint", ignore_errors=True)

    def _correct_throughput(self, request: Request, task: Task, steps: list[Step]) -> None:
        """Let a whole run correct the estimate for the next one, unless it paid for what is kept from now on."""
        if self.began_warm and steps[-1].step == steps[-1].steps and self.steps_made == steps[-1].steps:
            ids = [example.ids for example in task.examples]
            self.resources.correct_throughput(request.settings, ids, len(steps) - 1, asdict(self.seconds))

    def _save(self, model: LoraModel, to: Path) -> str:
        """Whole or not at all; sha256 of the weights."""
        partial = to.with_name(f"{to.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        try:
            sha256 = model.save(partial, self.resources.base.name)
        except OSError:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        shutil.rmtree(to, ignore_errors=True)
        partial.rename(to)
        return sha256

    def _write_result(
        self, request: Request, task: Task, model: LoraModel, steps: list[Step], sha256: str, final: FinalMetrics
    ) -> None:
        made = [step for step in steps if step.step > 0]
        per_epoch = max(1, made[-1].steps // request.settings.epochs)
        last = made[-per_epoch:]
        result = Result(
            adapter=sha256,
            template=self.resources.base.template.sha256,
            steps=made[-1].step,
            stopped_early=made[-1].step < made[-1].steps,
            demonstrations=task.learned,
            held_out=task.held_out,
            questions=task.questions,
            held_out_questions=task.held_out_questions,
            dropped=task.dropped,
            loss=sum(s.loss for s in last) / len(last),
            held_out_before=steps[0].held_out_loss,
            held_out_after=final.held_out_loss,
            forgetting=final.forgetting,
            forgetting_interval=final.interval,
            kl=final.kl,
            preferences=final.preferences,
            parameters=model.flat.numel(),
            base_parameters=self.resources.base.parameters,
            tokens=sum(step.tokens for step in made),
            seconds={name: round(value, 4) for name, value in asdict(self.seconds).items()},
        )
        write_json(self.folder / "result.json", asdict(result))

    @contextmanager
    def _log(self, done: int) -> Iterator[Callable[[Step], None]]:
        """Append steps to the run's file and emit them; steps after `done`, which are made again, are cut off."""
        path = self.folder / "steps.jsonl"
        kept = [s for s in read_steps(self.folder) if s.step <= done] if done else []
        write_whole(path, "".join(json.dumps(asdict(s)) + "\n" for s in kept).encode())
        with path.open("a", encoding="utf-8") as file:

            def log(step: Step) -> None:
                file.write(json.dumps(asdict(step)) + "\n")
                file.flush()
                self.emit("step", **asdict(step))

            yield log

    @contextmanager
    def _phase(self, name: Phase) -> Iterator[None]:
        self.emit("phase", phase=name)
        with self._clock(name):
            yield

    @contextmanager
    def _clock(self, name: Phase) -> Iterator[None]:
        began = time.perf_counter()
        try:
            yield
        finally:
            spent = getattr(self.seconds, name) + time.perf_counter() - began
            setattr(self.seconds, name, spent)
