"""The app's side of a trial: the process that may die of a file, waited for, and what became of it in words."""

from __future__ import annotations

import json
import logging
import signal
import subprocess
import threading
from pathlib import Path

from chatlab import errors
from chatlab.errors import BaseRefused, ChatlabError, EngineError
from chatlab.system.child import DEVNULL, Child

log = logging.getLogger("chatlab.engines")

REFUSED = "refused.json"
LOG = "trial.log"
SECONDS = 300
SECONDS_A_GB = 120
"""How long a trial is waited for."""
ALONE = {
    "CUDA_VISIBLE_DEVICES": "",
    "HIP_VISIBLE_DEVICES": "",
    "GGML_VK_VISIBLE_DEVICES": "",
    "GGML_NO_BACKTRACE": "1",
}
"""Without a graphics card, which would claim more addresses than a trial is allowed, and without what llama.cpp does
when it dies, which is to call a debugger.
"""
BROKEN = "Fetch the file again. If it is whole, llama.cpp cannot run it here."


class Hearing:
    """One trial at a time. `close` may be called from another thread, and ends it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: Child | None = None
        self._closed = False

    def hear(self, file: Path, folder: Path) -> None:
        """Returns once the file has passed and its papers are in the folder.

        Raises what the trial raises; BaseRefused where it died of the file, EngineError where it failed for another
        reason.
        """
        code = self._run(file, folder, SECONDS + SECONDS_A_GB * (file.stat().st_size >> 30))
        said = (folder / LOG).read_text(errors="replace")[-2000:].strip()
        (folder / LOG).unlink()
        log.debug("Trial of %s: %s, %s", file.name, code, said)
        if self._closed:
            raise EngineError("Chatlab is being closed.")
        if code != 0:
            raise _verdict(file.name, folder, code, said)

    def close(self) -> None:
        with self._lock:
            self._closed = True
            if self._process is not None:
                self._process.kill()

    def _run(self, file: Path, folder: Path, seconds: float) -> int | None:
        """The exit code; None if it took too long. In a session of its own: nobody's Ctrl-C is a verdict."""
        with (folder / LOG).open("wb") as said, self._lock:
            if self._closed:
                raise EngineError("Chatlab is being closed.")
            process = self._process = Child(
                "chatlab.engines.gguf.trial", file, folder, environment=ALONE, stdin=DEVNULL, stdout=said, stderr=said
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


def _verdict(name: str, folder: Path, code: int | None, said: str) -> ChatlabError:
    """What a trial that did not end well says of the file."""
    if (folder / REFUSED).is_file():
        return _refusal(json.loads((folder / REFUSED).read_bytes()))
    if code is None or code == -getattr(signal, "SIGXCPU", 0):
        return BaseRefused(f"{name} takes longer to open than any whole file would.", BROKEN)
    if code == -getattr(signal, "SIGKILL", 0):
        return EngineError(f"The system ended the opening of {name}: memory was short.", "Close other programs.")
    if code < 0 or code > 1:  # a signal; on Windows, a large number
        return BaseRefused(f"llama.cpp breaks down when it opens {name}: the file is damaged.", BROKEN)
    last = said.splitlines()[-1:] or ["no reason was given"]
    return EngineError(f"{name} could not be looked at: {last[0][:200]}.", "Try again.")


def _refusal(told: dict[str, str]) -> ChatlabError:
    kind = getattr(errors, str(told["error"]), None)
    known = isinstance(kind, type) and issubclass(kind, ChatlabError)
    return (kind if known else BaseRefused)(told["message"], told["hint"])  # type: ignore[misc]
