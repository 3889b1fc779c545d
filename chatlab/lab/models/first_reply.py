"""The first minutes belong to whoever chats: what only training needs is made ready once they have been answered."""

from __future__ import annotations

import threading
import time

from chatlab.lab.models.host import ModelHost

IDLE = 10.0
"""Seconds in which a person reads the page and types. After them the trainer is worth more than an idle machine."""
TICK = 0.1


def wait_for_first_reply(machine: ModelHost, closing: threading.Event) -> None:
    """Return once a reply has ended, or nobody has asked for one in `IDLE` seconds; never in the middle of one."""
    ends, asked = time.monotonic() + IDLE, False
    while not closing.wait(TICK):
        answering = machine.current.leases > 0
        if not answering and (asked or time.monotonic() > ends):
            return
        asked = asked or answering
