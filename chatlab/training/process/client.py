"""The app's side of the trainer process: start it, give it runs, say how it is doing. Never imports torch.

A pipe each way carries JSON lines: commands down (`start`, `stop`; end of file means the app is gone), events up
(`alive`, `ready`, `phase`, `step`, `ended`, `fatal`). What matters is on disk in the run's folder; the events only
save the app from reading it again and again.
"""

from __future__ import annotations

import json
import os
import threading
import time
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import Any

from chatlab.errors import RunBusy, TrainingError
from chatlab.measurements import Step
from chatlab.models.unpacked import TrainingBase
from chatlab.system.files import open_private, private_folder
from chatlab.system.processes.child import ChildProcess
from chatlab.system.processes.forked import start_forked
from chatlab.training.process import IMPORTED
from chatlab.training.process.runs import read_run, read_steps, write_failure
from chatlab.training.process.status import TrainerState, TrainerStatus, eta
from chatlab.training.process.watchdog import FROZEN, GRACE, TICK, Silence, StopRequest, is_overdue

SILENCE = 10.0
"""Seconds without a sign of life after which the status says so; the worker gives one every second."""

WORKER = "chatlab.training.process.worker"
NICENESS = 5
LARGEST_LOG = 1_000_000
"""Bytes of trainer.log at which another is begun."""


class TrainerClient:
    """One worker process for one base: spawned once, kept warm, replaced when it dies. Safe to call from threads."""

    def __init__(self, base_folder: Path, cache: Path, threads: int | None = None, *, silence: float = SILENCE) -> None:
        self._cache, self._threads, self._silence_limit = cache, threads, silence
        self._wanted = self._spawned = (base_folder, "")
        """Folder of the base, and its fingerprint where that is not the folder's own: to train on from now on, and
        that of the worker there is."""
        self._changed = threading.Condition()
        self._process: ChildProcess | None = None
        self._ready = self._closing = False
        self._run: Path | None = None
        self._busy = False
        self._steps: list[Step] = []
        self._phase = self._message = ""
        self._silence = Silence()
        self._stop: StopRequest | None = None

    def use(self, base: TrainingBase) -> None:
        """Train on this base from the next start on. A worker that is idle with another one is ended.

        A run under way goes on with the base that it began with, also where its worker has to be replaced.
        """
        with self._changed:
            self._wanted = (base.folder, base.fingerprint if base.unpacked else "")
            self._end_of_another_base()

    def warm(self) -> None:
        """Spawn the worker, unless there is one, and return at once while it imports torch and loads the base."""
        with self._changed:
            self._end_of_another_base()
            if not self._is_alive():
                self._spawn(self._wanted)

    def start(self, run: Path) -> None:
        """Begin `run`, or go on with it where it was interrupted or stopped.

        Raises RunBusy while any run is under way, here or in another process, and TrainingError for a finished one.
        """
        with self._changed:
            self._refuse_if_busy(run)
            self._end_of_another_base()
            if not self._is_alive():
                self._spawn(self._wanted)
            self._begin(run)

    def stop(self, keep: bool) -> None:
        """End the run under way after its present step: `keep` saves the adapter as it is, else it can be resumed.

        Returns at once. A worker that does not answer is killed and replaced; the run is then at its last checkpoint,
        from which the new worker saves the adapter, if that was asked.
        """
        with self._changed:
            if not (self._busy and self._is_alive()):
                return
            if self._stop is None or (self._stop.keep != keep and not self._stop.forced):
                self._ask_to_stop(StopRequest(keep))

    def status(self) -> TrainerStatus:
        """Returns at once, whatever the worker is doing."""
        with self._changed:
            silent = self._silence.seconds
            message = self._message
            if self._is_alive() and silent > self._silence_limit:
                message = (
                    f"The trainer has not responded for {silent:.0f} s. It is paused, or the machine is overloaded."
                )
                if self._busy:
                    message += " Stop the run and resume it from the last checkpoint."
            return TrainerStatus(
                state=self._state(),
                run=self._run,
                steps=tuple(self._steps),
                message=message,
                phase=self._phase if self._busy else "",
                eta=eta(self._steps) if self._busy else None,
            )

    def wait(self, timeout: float) -> TrainerStatus:
        """Status once no run is under way and no warming up either, or after `timeout` seconds."""
        with self._changed:
            self._changed.wait_for(lambda: self._state() not in ("warming", "training"), timeout)
            return self.status()

    def close(self, timeout: float = 10.0) -> None:
        """Let the worker keep its place in the run under way, and end it; at once if it is frozen."""
        with self._changed:
            self._closing = True
            process = self._process
            if process is None:
                return
            assert process.stdin is not None
            with suppress(OSError):
                process.stdin.close()
            ends = time.monotonic() + (timeout if self._busy and self._ready else GRACE)  # else it has nothing to keep
            while process.poll() is None and time.monotonic() < ends and self._silence.seconds < FROZEN:
                self._changed.wait(TICK / 2)
        process.kill()
        process.wait()

    def _refuse_if_busy(self, run: Path) -> None:
        if self._busy and self._is_alive():
            raise RunBusy("A run is already in progress.", "Wait for it, or stop it first.")
        state = read_run(run).state
        if state == "running":
            raise RunBusy(
                "Another trainer process is still working on this run.",
                "It ends by itself soon after its app has closed; if it does not, end process "
                f"{_pid_at(run)} and resume the run.",
            )
        if state == "finished":
            raise TrainingError("This run is finished.", "Start a new one.")

    def _end_of_another_base(self) -> None:
        """End a worker that is idle and has another base open than the one that is wanted."""
        if self._spawned != self._wanted and self._process is not None and not self._busy:
            self._process.kill()
            self._process = None

    def _spawn(self, base: tuple[Path, str]) -> None:
        folder, fingerprint = self._spawned = base
        private_folder(self._cache)
        options = ["--threads", str(self._threads)] if self._threads else []
        options += ["--fingerprint", fingerprint] if fingerprint else []
        with open_private(_log(self._cache / "trainer.log"), os.O_CREAT | os.O_APPEND) as log:
            process = start_forked(
                WORKER,
                folder,
                self._cache,
                *options,
                imported=IMPORTED,
                niceness=NICENESS,
                stderr=log,
            )
        self._process, self._ready, self._closing = process, False, False
        self._busy, self._message, self._silence, self._stop = False, "", Silence(), None
        for task, name in ((self._listen, "trainer events"), (self._watch, "trainer watch")):
            threading.Thread(target=task, args=(process,), name=name, daemon=True).start()

    def _begin(self, run: Path) -> None:
        self._run, self._busy, self._stop = run, True, None
        self._steps = list(read_steps(run))
        self._phase, self._message = "waiting", ""
        self._send({"do": "start", "run": str(run), "requested_at": time.time()})

    def _ask_to_stop(self, stop: StopRequest) -> None:
        self._stop = stop
        self._send({"do": "stop", "keep": stop.keep})

    def _send(self, command: dict[str, Any]) -> None:
        assert self._process is not None
        self._process.send(command)  # should it have just died, the thread that listens will say so

    def _listen(self, process: ChildProcess) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            with self._changed:
                if process is self._process and line.endswith(b"\n"):  # a kill may tear the last one
                    self._on_event(json.loads(line))
                    self._changed.notify_all()
        code = process.wait()
        process.end()
        with self._changed:
            if process is self._process:
                self._on_exit(code)
            self._changed.notify_all()

    def _watch(self, process: ChildProcess) -> None:
        """Count the worker's silence, and kill it when a stop is overdue, as long as it lives."""
        with self._changed:
            while process is self._process and process.poll() is None:
                self._changed.wait(TICK)
                passed = self._silence.tick()
                if not process.has_begun:
                    self._silence.reset()
                stop = self._stop
                if stop is not None and self._busy and not self._closing:
                    stop.waited += passed
                    if not stop.forced and is_overdue(
                        stop, self._silence.seconds, self._phase if self._ready else "", self._steps
                    ):
                        stop.forced = True
                        process.kill()  # `_listen` reads its last events first, and goes on from there

    def _on_event(self, event: dict[str, Any]) -> None:
        self._silence.reset()
        kind = event.pop("event")
        if kind == "ready":
            self._ready = True
        elif kind == "phase":
            self._phase = event["phase"]
        elif kind == "step":
            step = Step(**{f.name: event[f.name] for f in fields(Step)})
            while self._steps and self._steps[-1].step >= step.step:  # A resumed run takes some steps again.
                self._steps.pop()
            self._steps.append(step)
        elif kind in ("ended", "fatal"):
            if kind == "fatal" and self._busy and self._run is not None:
                write_failure(self._run, event.get("message", ""), event.get("hint", ""))
            why = self._message if self._stop is not None and self._stop.second else ""
            self._busy, self._message, self._stop = False, event.get("message", "") or why, None

    def _on_exit(self, code: int) -> None:
        if self._closing or (code == 0 and not self._busy):
            self._process = None
            return
        if self._busy and self._stop is not None and self._stop.forced and self._run is not None:
            self._replace(self._run, self._stop)
            return
        if not self._message:
            how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
            self._message = f"The trainer process {how}."
            if self._busy and self._run is not None and code > 0 and not self._ready:
                write_failure(self._run, self._message, "See trainer.log in the cache folder, then resume the run.")
            elif self._busy:
                self._message += " The run can be resumed; nothing is lost."
        self._busy = False

    def _replace(self, run: Path, stop: StopRequest) -> None:
        """A new worker for one that was killed because it did not stop, which carries out what that one did not."""
        self._busy = False
        try:
            self._spawn(self._spawned)
        except OSError as error:
            why = error.strerror or error
            self._message = f"The trainer did not respond and cannot be restarted: {why}. Resume the run later."
            return
        if stop.keep and not stop.second:
            self._begin(run)
            self._ask_to_stop(StopRequest(keep=True, second=True))
            self._message = "The trainer did not respond and was restarted; progress is kept."
            return
        with suppress(OSError):  # on a full disk the run is interrupted, which comes to the same
            (run / "stopped").touch()
        self._message = "The trainer did not respond and was stopped. Resume the run; nothing is lost."

    def _state(self) -> TrainerState:
        if self._process is None:
            return "cold"
        if self._busy:  # until `_listen` has seen the exit, and can say why
            return "training"
        if not self._is_alive():
            return "dead"
        return "ready" if self._ready else "warming"

    def _is_alive(self) -> bool:
        return self._process is not None and self._process.poll() is None


def _log(file: Path) -> Path:
    """The log file to append to; one that has grown large is kept once, as `.1`."""
    with suppress(OSError):
        if file.stat().st_size > LARGEST_LOG:
            file.replace(file.with_name(f"{file.name}.1"))
    return file


def _pid_at(run: Path) -> str:
    try:
        return (run / "worker.pid").read_text(encoding="ascii")
    except OSError:
        return "(unknown)"
