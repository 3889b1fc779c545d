"""llama.cpp, where it is built and installed while the app runs: it takes over between two replies."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from chatlab.engines.llamacpp import package
from chatlab.errors import ChatlabError

EVERY = 3.0
"""Seconds between two looks at what is installed."""

log = logging.getLogger("chatlab.lab")


class Takeover:
    """Waits for llama.cpp and then calls `renew`, once. Where it is installed already, there is nothing to wait for."""

    def __init__(self, renew: Callable[[], None], every: float = EVERY) -> None:
        self._renew = renew
        self._every = every
        self._ended = threading.Event()

    def begin(self) -> None:
        """In the background; returns at once."""
        if not package.version():
            threading.Thread(target=self._wait, name="llama.cpp", daemon=True).start()

    def close(self) -> None:
        self._ended.set()

    def _wait(self) -> None:
        while not self._ended.wait(self._every):
            if package.version():
                try:
                    self._renew()
                    log.info("llama.cpp is installed and answers from now on")
                except ChatlabError as error:  # what answers goes on; the next start tries again
                    log.warning("llama.cpp was installed, but could not take over. %s %s", error, error.hint)
                return
