"""Format metrics on the unseen prompts, measured of every adapter once it is published."""

from __future__ import annotations

import hashlib
import json
import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from chatlab.adapters import Adapters
from chatlab.engines.base import Variant
from chatlab.errors import ChatlabError, WrongBase
from chatlab.evaluation.reply_metrics import reply_metrics
from chatlab.evaluation.unseen import GREEDY, ask_all
from chatlab.former_names import current_fields
from chatlab.lab.models import LoadedModel, ModelHost
from chatlab.measurements import ReplyMetrics
from chatlab.system.files import private_folder
from chatlab.training.process.runs import write_json

log = logging.getLogger("chatlab.lab")

MOST = 48
"""Prompts asked after a run, the first of the set: enough for a figure, and soon done. The grid asks all of them."""
PATIENCE = 120.0
"""Seconds within which a measurement gives way to people; one that went on for ever would end nothing."""


class _Closing(Exception):
    """The app ends; what is being asked is asked again after the next start."""


class UnseenEvaluator:
    """Asks the unseen prompts with greedy decoding, so that the same adapter gives the same figures every time.

    In a thread of its own, one adapter after the other: meanwhile the adapter can be talked to.
    """

    def __init__(
        self, machine: ModelHost, adapters: Adapters, prompts: Callable[[], Sequence[str]], cache: Path
    ) -> None:
        self._machine = machine
        self._adapters = adapters
        self._prompts = prompts
        self._cache = cache / "proof"
        self._thread = ThreadPoolExecutor(1, "proof")
        self._closing = threading.Event()
        self._pending: dict[str, Future[None]] = {}

    def begin(self, name: str) -> None:
        """Ask the base and a published adapter, soon, and keep the metrics in its folder.

        One that was made for another base is left for later: whoever comes back to that base begins anew.
        """
        with suppress(RuntimeError):  # closed: the next start asks
            self._pending[name] = self._thread.submit(self._evaluate, name)

    def pending(self, name: str) -> bool:
        """Whether an adapter is being asked, or waits to be."""
        asked = self._pending.get(name)
        return asked is not None and not asked.done()

    def wait(self, timeout: float | None = None) -> None:
        """Until everything that was begun is done."""
        wait(list(self._pending.values()), timeout)

    def close(self) -> None:
        """Begin nothing more. What is being asked ends at its next token, whoever still holds a lease."""
        self._closing.set()
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _evaluate(self, name: str) -> None:
        prompts = self._few()
        if not prompts:
            return
        try:
            with self._machine.lease(background=True) as model:
                _, folder = self._adapters.open(name, model.base.fingerprint)
                before = self._base(model, prompts)
                after = self._asked(model, Variant(name=name, folder=folder), prompts)
            self._adapters.note_reply_metrics(name, before, after)
        except _Closing:
            log.info("The unseen prompts wait until the next start")
        except WrongBase:
            log.info("The unseen prompts wait until the base of %s is chosen again", name)
        except ChatlabError as error:
            log.warning("The unseen prompts could not be asked: %s %s", error, error.hint)
        except Exception:  # nobody looks at this thread's end
            log.exception("The unseen prompts could not be asked")

    def _few(self) -> list[str]:
        return list(self._prompts())[:MOST]

    def _base(self, model: LoadedModel, prompts: Sequence[str]) -> ReplyMetrics:
        """Asked once for each set of prompts, and kept."""
        base = model.base
        key = json.dumps([base.fingerprint, base.template.sha256, model.engine.name, asdict(GREEDY), *prompts])
        file = self._cache / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.json"
        try:
            return ReplyMetrics(**current_fields(ReplyMetrics, json.loads(file.read_text(encoding="utf-8"))))
        except (OSError, ValueError, TypeError):
            found = self._asked(model, Variant(), prompts)
        try:
            private_folder(self._cache)
            write_json(file, asdict(found))
        except OSError as error:  # it can be asked again
            log.warning("The metrics of the base could not be kept: %s", error)
        return found

    def _asked(self, model: LoadedModel, variant: Variant, prompts: Sequence[str]) -> ReplyMetrics:
        """Gives way to whoever chats, whose tokens would wait for these, and to training."""
        ends = time.monotonic() + PATIENCE

        def give_way() -> None:
            others = model.leases > model.background
            while (others or model.yielding) and time.monotonic() < ends and not self._closing.wait(0.05):
                others = model.leases > model.background
            if self._closing.is_set():
                raise _Closing

        return reply_metrics(ask_all(model.engine, model.base, variant, prompts, between=give_way))
