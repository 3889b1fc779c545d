"""`/chatlab/health`: is it well? For a person's own watchdog; it names nobody and nothing."""

from __future__ import annotations

import time
from collections.abc import Callable

from fastapi import Request
from fastapi.responses import JSONResponse, Response

from chatlab import __version__
from chatlab.lab import Lab

PATH = "/chatlab/health"


def health(lab: Lab) -> Callable[[Request], Response]:
    """200 while it works, 503 when the store takes no changes; no model is opened and nothing is waited for."""
    began = time.monotonic()

    def send(request: Request) -> Response:
        keeping = not lab.store.refusal
        text = {
            "status": "ok" if keeping else "the store takes no changes",
            "version": __version__,
            "seconds": round(time.monotonic() - began),
            "engine": "open" if lab.machine.started else "not open yet",
            "trainer": lab.training.status().state,
            "store": "open" if keeping else "reading only",
        }
        return JSONResponse(text, 200 if keeping else 503, headers={"cache-control": "no-store"})

    return send
