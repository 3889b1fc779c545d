"""The trainer process: `python -m chatlab.training.process.worker BASE CACHE [--threads N]`.

Reads commands from standard input and writes events to standard output, a JSON object a line; see `client`. Ends
when its input does, as when the app closes, having written a checkpoint of the run under way. If the app was killed,
the system kills this process as well (see `chatlab.system`), and the run goes on from its last checkpoint.
"""

from __future__ import annotations

import argparse
import json
import queue
import sys
import threading
import time
import traceback
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from chatlab.errors import ChatlabError, DiskFull, TrainingError
from chatlab.system.files import DISK_FULL
from chatlab.system.processes.bootstrap import answer_pipe
from chatlab.training.process.runs import read_request, write_failure

if TYPE_CHECKING:
    from chatlab.training.resources import TrainingResources
    from chatlab.training.run import StopMode

NO_MEMORY = ("can't allocate memory", "not enough memory", "could not create a primitive")
"""Parts of torch's messages when memory is short; the last is oneDNN's."""
HEARTBEAT = 1.0
"""Seconds between two `alive` events."""


class EventWriter:
    """Events to the app, from several threads, a whole line each. An app that has gone is not an error."""

    def __init__(self, out: IO[bytes]) -> None:
        self._out, self._lock = out, threading.Lock()

    def emit(self, event: str, **fields: Any) -> None:
        with self._lock, suppress(OSError, ValueError):
            self._out.write(json.dumps({"event": event, **fields}).encode() + b"\n")
            self._out.flush()

    def heartbeat(self) -> None:
        while True:
            self.emit("alive")
            time.sleep(HEARTBEAT)


class CommandReader:
    """Commands from the app. A stop is known at once, while the main thread is in the middle of a step."""

    def __init__(self, source: IO[bytes]) -> None:
        self.runs: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._source = source
        self._stop_mode: StopMode = ""

    @property
    def waiting(self) -> bool:
        """Whether a run waits to be begun, or the app has gone."""
        return not self.runs.empty()

    def stop_mode(self) -> StopMode:
        return self._stop_mode

    def read(self) -> None:
        for line in self._source:
            command = json.loads(line)
            if command["do"] == "start":
                self._stop_mode = ""
                self.runs.put(command)
            elif command["do"] == "stop":
                self._stop_mode = "keep" if command["keep"] else "stop"
        self._stop_mode = "leave"
        self.runs.put(None)


def main() -> None:
    """Warm up, then one run after the other until the app goes."""
    parser = argparse.ArgumentParser()
    parser.add_argument("base", type=Path)
    parser.add_argument("cache", type=Path)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--fingerprint", default="", help="of the GGUF file that the base was unpacked from")
    args = parser.parse_args()
    events, commands = EventWriter(answer_pipe()), CommandReader(sys.stdin.buffer)
    for target in (commands.read, events.heartbeat):
        threading.Thread(target=target, daemon=True).start()
    sys.setswitchinterval(1e-4)  # `Workers` pass the interpreter to each other thousands of times a second
    try:
        resources = _open(args.base, args.cache, args.threads, args.fingerprint)
    except Exception as error:
        shown = _as_chatlab_error(error)
        events.emit("fatal", message=str(shown), hint=shown.hint)
        raise SystemExit(1) from error
    events.emit("ready")
    while True:
        try:
            resources.warm_further(lambda: commands.waiting)
        except Exception as error:  # a run does the same when it needs it, and says what is wrong
            traceback.print_exception(error, file=sys.stderr)
        if (command := commands.runs.get()) is None:
            return
        _run(resources, command, events, commands)


def _open(folder: Path, cache: Path, threads: int | None, fingerprint: str) -> TrainingResources:
    # Imported only now, so that neither the first sign of life nor what is wrong with a base waits for torch.
    from chatlab.models.base import Base
    from chatlab.models.validation.validator import FolderValidator

    if not fingerprint:  # what the app has unpacked itself needs no validation
        FolderValidator(cache).check(folder)  # as a rule the app has done so, and its verdict is remembered
    base = Base.open(folder, cache, spared=bool(fingerprint), fingerprint=fingerprint)
    base.check_trainable()
    from chatlab.training.resources import TrainingResources

    resources = TrainingResources(base, cache, threads)
    resources.warm()
    return resources


def _run(resources: TrainingResources, command: dict[str, Any], events: EventWriter, commands: CommandReader) -> None:
    from chatlab.training.correction import measure_forgetting
    from chatlab.training.run import TrainingRun

    folder = Path(command["run"])
    try:
        outcome = TrainingRun(resources, folder, events.emit, commands.stop_mode, command["requested_at"]).run()
    except Exception as error:
        shown = _as_chatlab_error(error)
        write_failure(folder, str(shown), shown.hint)
        events.emit("ended", state="failed", message=str(shown), hint=shown.hint)
        return
    events.emit("ended", state=outcome)
    try:
        if outcome == "finished" and read_request(folder).corrections:
            measure_forgetting(resources, folder, lambda: commands.waiting)
    except Exception as error:  # its adapter is live, and says that forgetting was not measured
        traceback.print_exception(error, file=sys.stderr)


def _as_chatlab_error(error: Exception) -> ChatlabError:
    """An error a person can act on, made of any; what is outside the tree leaves its traceback in the log."""
    if isinstance(error, ChatlabError):
        return error
    if isinstance(error, OSError) and error.errno in DISK_FULL:
        return DiskFull("The disk is full.", "Free some space and resume the run; progress is kept.")
    traceback.print_exception(error, file=sys.stderr)
    sys.stderr.flush()
    if isinstance(error, MemoryError) or any(words in str(error) for words in NO_MEMORY):
        return TrainingError(
            "There is not enough memory for this run.",
            "Close other programs, lower the batch size, raise gradient accumulation, or shorten demonstrations.",
        )
    return TrainingError(f"The trainer failed: {type(error).__name__}: {error}", "See trainer.log in the cache folder.")


if __name__ == "__main__":
    main()
