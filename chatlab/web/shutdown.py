"""How the app ends: asked once it puts everything away, asked twice it leaves at once."""

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
SAID = "Ending: answers are kept as far as they have come, a run keeps its place. Ctrl-C again leaves at once."


class Shutdown:
    """Listens to Ctrl-C and SIGTERM while it is entered. Nothing acknowledged is lost either way."""

    def __init__(self) -> None:
        self.asked = False
        self._stop: Callable[[], None] | None = None
        self._before: dict[signal.Signals, Any] = {}

    def stops(self, stop: Callable[[], None]) -> None:
        """What the first asking calls from now on; until then it is a KeyboardInterrupt where the app just is."""
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
        os.write(sys.stderr.fileno(), f"\n{SAID}\n".encode())
        if self._stop is None:
            raise KeyboardInterrupt
        self._stop()
