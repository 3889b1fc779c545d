"""The app's side of a trial: the process that may die of a file or folder, waited for, and its verdict in words."""

from __future__ import annotations

import json
import logging
import signal
import subprocess
import threading
from pathlib import Path

from chatlab import errors
from chatlab.errors import BaseRefused, ChatlabError, EngineError
from chatlab.system.processes.child import DEVNULL, Child

log = logging.getLogger("chatlab.engines")

REFUSED = "refused.json"
LOG = "trial.log"
SECONDS = 300
LONGEST = 1000
"""Characters of a reason, whatever of the file it quotes."""
NONE = 1 << 40
"""In place of a signal that the system does not have: no process ends with such a number."""
ALONE = {
    "CUDA_VISIBLE_DEVICES": "",
    "HIP_VISIBLE_DEVICES": "",
    "GGML_VK_VISIBLE_DEVICES": "",
    "GGML_NO_BACKTRACE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "RAYON_NUM_THREADS": "1",
}
"""Without a graphics card, which would claim more addresses than a trial is allowed, and without what llama.cpp does
when it dies, which is to call a debugger."""


class TrialProcess:
    """One trial at a time: `python -m MODULE WHAT FOLDER`. `close` may be called from another thread, and ends it.

    The process leaves what it found in the folder; or the reason for a refusal in `refused.json`, and ends with 1.
    """

    module = ""
    act = "opening"
    """What the process does with it, in messages."""
    dies = "{name} breaks down when it is opened: it is damaged."
    """The message about what ends the process."""
    broken = "Download it again."
    niceness = 0
    """How much it gives way to the chat."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: Child | None = None
        self._closed = False

    def run(self, what: Path, folder: Path) -> None:
        """Run the trial; returns once `what` has passed.

        Raises what the trial raises; BaseRefused where it died of the file, EngineError where it failed for another
        reason.
        """
        code = self._run(what, folder, self.seconds(what))
        said = (folder / LOG).read_text(errors="replace")[-2000:].strip()
        (folder / LOG).unlink()
        log.debug("Trial of %s: %s, %s", what.name, code, said)
        if self._closed:
            raise EngineError("Chatlab is being closed.")
        if code != 0:
            raise self._verdict(what.name, folder, code, said)

    def seconds(self, what: Path) -> float:
        """How long a trial is waited for."""
        return SECONDS

    def close(self) -> None:
        with self._lock:
            self._closed = True
            if self._process is not None:
                self._process.kill()

    def _run(self, what: Path, folder: Path, seconds: float) -> int | None:
        """The exit code; None if it took too long. In a session of its own: nobody's Ctrl-C is a verdict."""
        with (folder / LOG).open("wb") as said, self._lock:
            if self._closed:
                raise EngineError("Chatlab is being closed.")
            process = self._process = Child(
                self.module,
                what,
                folder,
                niceness=self.niceness,
                environment=ALONE,
                stdin=DEVNULL,
                stdout=said,
                stderr=said,
            )
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None
        finally:
            with self._lock:
                self._process = None
            process.kill()
            process.wait()

    def _verdict(self, name: str, folder: Path, code: int | None, said: str) -> ChatlabError:
        """What a trial that did not end well says of the file."""
        if (folder / REFUSED).is_file():
            return _refusal(json.loads((folder / REFUSED).read_bytes()))
        if code is None or code == -getattr(signal, "SIGXCPU", NONE):
            return BaseRefused(f"{name} takes longer to open than any whole file would.", self.broken)
        if code == -getattr(signal, "SIGKILL", NONE):
            return EngineError(f"The system ended the {self.act} of {name}: memory was short.", "Close other programs.")
        if code < 0 or code > 1:  # a signal; on Windows, a large number
            return BaseRefused(self.dies.format(name=name), self.broken)
        last = said.splitlines()[-1:] or ["no reason was given"]
        return EngineError(f"{name} could not be checked: {last[0][:200]}.", "Try again.")


def refuse(error: ChatlabError, folder: Path) -> int:
    """Leave the reason for a refusal; the code for a trial to end with."""
    told = {"error": type(error).__name__, "message": _short(str(error)), "hint": _short(error.hint)}
    (folder / REFUSED).write_text(json.dumps(told), encoding="utf-8")
    return 1


def _refusal(told: dict[str, str]) -> ChatlabError:
    kind = getattr(errors, str(told["error"]), None)
    known = isinstance(kind, type) and issubclass(kind, ChatlabError)
    return (kind if known else BaseRefused)(_short(told["message"]), _short(told["hint"]))  # type: ignore[misc]


def _short(reason: str) -> str:
    """Its beginning and its end, where it is longer than anybody reads."""
    half = LONGEST // 2
    return reason if len(reason) <= LONGEST else f"{reason[: half - 2]} … {reason[-half + 2 :]}"
