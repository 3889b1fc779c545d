"""How the app ends: after the first Ctrl-C it saves and closes everything, after the second it quits at once."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK") if getattr(signal, name, None)
)
AT_ONCE = 130
"""The exit status after Ctrl-C."""
MESSAGE = "Stopping. Answers and the training run are saved. Press Ctrl-C again to quit at once."


class Shutdown:
    """Listens to Ctrl-C and SIGTERM while it is entered. Nothing acknowledged is lost either way."""

    def __init__(self) -> None:
        self.asked = False
        self._stop: Callable[[], None] | None = None
        self._before: dict[signal.Signals, Any] = {}

    def stops(self, stop: Callable[[], None]) -> None:
        """Have the first signal call `stop`; until then it raises KeyboardInterrupt."""
        self._stop = stop
        if self.asked:
            stop()

    def __enter__(self) -> Shutdown:
        self._before = {number: signal.signal(number, self._on_signal) for number in SIGNALS}
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            os._exit(AT_ONCE)
        self.asked = True
        os.write(sys.stderr.fileno(), f"\n{MESSAGE}\n".encode())
        if self._stop is None:
            raise KeyboardInterrupt
        self._stop()
