"""The trainer process: `python -m chatlab.training.worker BASE CACHE [--threads N]`.

Reads commands from standard input and writes events to standard output, a JSON object a line; see `process`. Ends
when its input does, as when the app closes, having put down its place in the run under way. If the app was killed, the
system kills this process as well (see `chatlab.system`), and the run goes on from its last checkpoint.
"""

from __future__ import annotations

import argparse
import json
import os
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
from chatlab.training.runs import write_json

if TYPE_CHECKING:
    from chatlab.training.resources import TrainingResources
    from chatlab.training.run import StopMode

NO_MEMORY = ("can't allocate memory", "not enough memory", "could not create a primitive")
"""In what torch says where memory is short; the last is oneDNN's way."""
PULSE = 1.0
"""Seconds between signs of life."""


class Voice:
    """Events to the app, from several threads, a whole line each. An app that has gone is not an error."""

    def __init__(self, out: IO[bytes]) -> None:
        self._out, self._lock = out, threading.Lock()

    def say(self, event: str, **fields: Any) -> None:
        with self._lock, suppress(OSError, ValueError):
            self._out.write(json.dumps({"event": event, **fields}).encode() + b"\n")
            self._out.flush()

    def beat(self) -> None:
        while True:
            self.say("alive")
            time.sleep(PULSE)


class Ears:
    """Commands from the app. A stop is known at once, though the main thread is in the middle of a step."""

    def __init__(self, source: IO[bytes]) -> None:
        self.starts: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._source = source
        self._wish: StopMode = ""

    def wish(self) -> StopMode:
        return self._wish

    def listen(self) -> None:
        for line in self._source:
            command = json.loads(line)
            if command["do"] == "start":
                self._wish = ""
                self.starts.put(command)
            elif command["do"] == "stop":
                self._wish = "keep" if command["keep"] else "stop"
        self._wish = "leave"
        self.starts.put(None)


def main() -> None:
    """Warm up, then one run after the other until the app goes."""
    parser = argparse.ArgumentParser()
    parser.add_argument("base", type=Path)
    parser.add_argument("cache", type=Path)
    parser.add_argument("--threads", type=int)
    asked = parser.parse_args()
    voice, ears = Voice(_own_stdout()), Ears(sys.stdin.buffer)
    for task in (ears.listen, voice.beat):
        threading.Thread(target=task, daemon=True).start()
    sys.setswitchinterval(1e-4)  # Hands pass the interpreter to each other thousands of times a second.
    try:
        shop = _opened(asked.base, asked.cache, asked.threads)
    except Exception as error:
        known = _known(error)
        voice.say("fatal", message=str(known), hint=known.hint)
        raise SystemExit(1) from error
    voice.say("ready")
    while (command := ears.starts.get()) is not None:
        _run(shop, command, voice, ears)


def _opened(folder: Path, cache: Path, threads: int | None) -> TrainingResources:
    # Imported only now, so that neither the first sign of life nor what is wrong with a base waits for torch.
    from chatlab.models import Base
    from chatlab.models.tried import Tried

    Tried(cache).check(folder)  # as a rule the app has done so, and its verdict is remembered
    base = Base.open(folder, cache)
    from chatlab.training.resources import TrainingResources

    shop = TrainingResources(base, cache, threads)
    shop.warm()
    return shop


def _run(shop: TrainingResources, command: dict[str, Any], voice: Voice, ears: Ears) -> None:
    from chatlab.training.run import TrainingRun

    folder = Path(command["run"])
    try:
        end = TrainingRun(shop, folder, voice.say, ears.wish, command["asked"]).run()
        voice.say("ended", state=end)
    except Exception as error:
        known = _known(error)
        with suppress(OSError):
            write_json(folder / "error.json", {"message": str(known), "hint": known.hint})
        voice.say("ended", state="failed", message=str(known), hint=known.hint)


def _known(error: Exception) -> ChatlabError:
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


def _own_stdout() -> IO[bytes]:
    """Keep standard output for events, and send whatever else is printed to the log."""
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return out


if __name__ == "__main__":
    main()
