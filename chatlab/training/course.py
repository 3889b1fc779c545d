"""One run, from its request to its result: rows, steps, checkpoints, measurements, the adapter's folder."""

from __future__ import annotations

import gc
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Literal

from filelock import Timeout

from chatlab.errors import RunBusy, TrainingError, WrongBase
from chatlab.records import Step
from chatlab.training import checkpoint
from chatlab.training.batches import Rows, read_rows
from chatlab.training.checkpoint import Checkpoint
from chatlab.training.defaults import LEASH_TOKENS
from chatlab.training.gauge import Found, Gauge
from chatlab.training.learner import Learner
from chatlab.training.leash import Leash
from chatlab.training.loop import train
from chatlab.training.runs import Request, Result, lock_of, read_request, read_steps, write_json
from chatlab.training.workshop import Workshop

Wish = Literal["", "keep", "stop", "leave"]
End = Literal["finished", "stopped", "interrupted"]
CHECKPOINT_SECONDS = 2.0
LOCK_SECONDS = 15.0
"""How long a worker that lost its app may take to put its place down and let go of a run."""


class Course:
    """Works on the run in `folder`.

    `wish` is asked after every step: to end early and "keep" what was learned, to "stop" so that it can go on later,
    or to "leave" because the app is gone. `say` tells the app what happens.
    """

    def __init__(
        self, shop: Workshop, folder: Path, say: Callable[..., None], wish: Callable[[], Wish], asked: float
    ) -> None:
        self.shop, self.folder, self.say, self.wish = shop, folder, say, wish
        self.steps_made = 0
        self.seconds = {"queue": max(0.0, time.time() - asked), "tokenise": 0.0, "steps": 0.0, "evaluate": 0.0,
                        "save": 0.0}  # fmt: skip

    def run(self) -> End:
        """Raises errors of the tree for what a person can mend; the folder can be resumed in any case."""
        try:
            with lock_of(self.folder).acquire(timeout=LOCK_SECONDS):
                (self.folder / "worker.pid").write_text(str(os.getpid()), encoding="ascii")
                for name in ("stopped", "error.json"):
                    (self.folder / name).unlink(missing_ok=True)
                return self._work(read_request(self.folder))
        except Timeout:
            raise RunBusy("Another process is still at work on this run.", "Resume it once that has ended.") from None

    def _work(self, request: Request) -> End:
        with self._phase("tokenise"):
            rows = self._rows(request)
            learner = self.shop.learner(request.settings)
            leash = self.shop.leash() if request.settings.leash > 0 else None
        self.say("phase", phase="steps")
        with unhurried_garbage():
            with self._clock("evaluate"):
                gauge = Gauge(self.shop, request, rows)
            wish = self._learn(request, rows, learner, leash, gauge)
        if wish in ("stop", "leave"):
            if wish == "stop":
                (self.folder / "stopped").touch()
            return "stopped" if wish == "stop" else "interrupted"
        self._finish(request, rows, learner, gauge)
        return "finished"

    def _rows(self, request: Request) -> Rows:
        if request.base != self.shop.base.fingerprint:
            raise WrongBase("This run was asked for on another base model.", "Open that base, or start a new run.")
        snapshot = self.folder / "snapshot.jsonl"
        if hashlib.sha256(snapshot.read_bytes()).hexdigest() != request.snapshot:
            raise TrainingError("The run's snapshot of demonstrations has been changed.", "Start a new run.")
        return read_rows(snapshot, self.shop.base.template, request.settings, self.shop.base.context)

    def _learn(self, request: Request, rows: Rows, learner: Learner, leash: Leash | None, gauge: Gauge) -> Wish:
        """All steps still to be taken, or those until a wish."""
        place = checkpoint.read(self.folder / "checkpoint")
        if place:
            learner.restore(place.state)
        done, spent = (place.step, place.seconds) if place else (0, 0.0)
        began = time.perf_counter()
        else_spent = self.seconds["evaluate"] + self.seconds["save"]
        wish: Wish = ""
        with self._log(done) as log:
            if not place:
                with self._clock("evaluate"):
                    log(gauge.first())
            kept = time.perf_counter()
            for step in train(
                learner, rows.learn, request.settings, leash, lambda n, of: self._look(n, of, gauge, learner),
                done=done, seconds=spent,
            ):  # fmt: skip
                log(step)
                self.steps_made += 1
                wish = self.wish()
                last = step.step == step.steps
                if wish or last or time.perf_counter() - kept > CHECKPOINT_SECONDS:
                    self._keep_place(learner, step)
                    kept = time.perf_counter()
                if wish:
                    break
        else_spent = self.seconds["evaluate"] + self.seconds["save"] - else_spent
        self.seconds["steps"] += time.perf_counter() - began - else_spent
        return wish

    def _look(self, step: int, steps: int, gauge: Gauge, learner: Learner) -> dict[str, float | None]:
        """What is measured after a step, now and then; what the adapter was there is kept to be tried and compared."""
        if not gauge.marks(step):
            return {}
        if step < steps:
            with self._clock("save"):
                self._save(learner, self.folder / "kept" / str(step))
        with self._clock("evaluate"):
            return gauge.quick()

    def _keep_place(self, learner: Learner, step: Step) -> None:
        with self._clock("save"):
            checkpoint.write(self.folder / "checkpoint", Checkpoint(step.step, step.seconds, learner.state()))

    def _finish(self, request: Request, rows: Rows, learner: Learner, gauge: Gauge) -> None:
        """Measure, save the adapter whole, and write the result last of all."""
        steps = list(read_steps(self.folder))
        with self._phase("evaluate"):
            found = gauge.whole(steps[-1])
        with self._phase("save"):
            sha256 = self._save(learner, self.folder / "adapter")
        self._result(request, rows, learner, steps, sha256, found)
        self._pace(request, steps)
        shutil.rmtree(self.folder / "checkpoint", ignore_errors=True)

    def _pace(self, request: Request, steps: list[Step]) -> None:
        """Let a whole run correct the estimate for the next one."""
        texts = request.settings.leash_texts * LEASH_TOKENS if request.settings.leash else 0
        if steps[-1].step == steps[-1].steps and self.steps_made == steps[-1].steps:
            tokens = sum(step.tokens + texts for step in steps[1:])
            self.shop.correct_pace(len(steps) - 1, tokens, self.seconds)

    def _save(self, learner: Learner, to: Path) -> str:
        """Whole or not at all; sha256 of the weights."""
        partial = to.with_name(f"{to.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        try:
            sha256 = learner.save(partial, self.shop.base.name)
        except OSError:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        shutil.rmtree(to, ignore_errors=True)
        partial.rename(to)
        return sha256

    def _result(
        self, request: Request, rows: Rows, learner: Learner, steps: list[Step], sha256: str, found: Found
    ) -> None:
        made = [step for step in steps if step.step > 0]
        a_pass = max(1, made[-1].steps // request.settings.passes)
        last = made[-a_pass:]
        write_json(self.folder / "result.json", asdict(Result(
            adapter=sha256, template=self.shop.base.template.sha256,
            steps=made[-1].step, stopped_early=made[-1].step < made[-1].steps,
            demonstrations=tuple(dict.fromkeys(row.demonstration for row in rows.learn)),
            held_out=tuple(dict.fromkeys(row.demonstration for row in rows.aside)), dropped=rows.dropped,
            loss=sum(s.loss for s in last) / len(last),
            held_out_before=steps[0].held_out_loss, held_out_after=found.held_out_loss,
            forgetting=found.forgetting, forgetting_interval=found.interval, kl=found.kl,
            parameters=learner.flat.numel(), base_parameters=self.shop.base.parameters,
            tokens=sum(step.tokens for step in made),
            seconds={name: round(value, 4) for name, value in self.seconds.items()},
        )))  # fmt: skip

    @contextmanager
    def _log(self, done: int) -> Iterator[Callable[[Step], None]]:
        """Appends steps to the run's file and tells the app; steps after `done`, which are made again, are cut off."""
        path = self.folder / "steps.jsonl"
        kept = [s for s in read_steps(self.folder) if s.step <= done] if done else []
        path.write_text("".join(json.dumps(asdict(s)) + "\n" for s in kept), encoding="utf-8")
        with path.open("a", encoding="utf-8") as file:

            def log(step: Step) -> None:
                file.write(json.dumps(asdict(step)) + "\n")
                file.flush()
                self.say("step", **asdict(step))

            yield log

    @contextmanager
    def _phase(self, name: str) -> Iterator[None]:
        self.say("phase", phase=name)
        with self._clock(name):
            yield

    @contextmanager
    def _clock(self, name: str) -> Iterator[None]:
        began = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] += time.perf_counter() - began


@contextmanager
def unhurried_garbage() -> Iterator[None]:
    """Without collection of cycles, which the steps make none of and pay several milliseconds for."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
