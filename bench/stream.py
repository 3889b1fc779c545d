"""In a real browser: from the engine's first token to the first text on the page, after few turns and after many."""

from __future__ import annotations

import contextlib
import importlib.util
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import uvicorn

from bench.table import middle, show
from chatlab.conversation import Conversation
from chatlab.engines.base import Engine, ReplyChunk, Sampling, Variant
from chatlab.engines.fake import FakeEngine
from chatlab.engines.transformers.engine import TransformersEngine
from chatlab.lab import Lab
from chatlab.models.base import Base
from chatlab.settings import Settings
from chatlab.ui.chat.replies import Replies
from chatlab.web.app import web

TURNS = (0, 100)
TARGET = 300
WAIT_FOR_TEXT = """() => { window.seen = new Promise(done => new MutationObserver((_, watcher) => {
  const text = document.querySelector('#live .growing .body p:not(.dots)');
  if (text && text.textContent) { watcher.disconnect(); done(performance.timeOrigin + performance.now()); }
}).observe(document.body, {childList: true, subtree: true, characterData: true})); }"""


class Timed:
    """An engine that remembers when it gave its first token."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.first = 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def stream(
        self, prompt: Sequence[int], sampling: Sampling, variant: Variant, stop_ids: frozenset[int]
    ) -> Iterator[ReplyChunk]:
        self.first = 0.0
        for chunk in self._engine.stream(prompt, sampling, variant, stop_ids):
            self.first = self.first or time.time()
            yield chunk


def measure(rounds: int = 5) -> dict[str, float]:
    """Milliseconds, medians of `rounds`."""
    figures: dict[str, float] = {}
    for name, open_engine in (("no model", _fake), ("embedded base", _local)):
        with tempfile.TemporaryDirectory() as home:
            settings = Settings.from_environment({"CHATLAB_HOME": home})
            figures |= {f"{name}, {turns} turns, ms": v for turns, v in _taken(settings, open_engine, rounds).items()}
    show([{"": name, "median": value, "target": f"< {TARGET}"} for name, value in figures.items()])
    return figures


def _taken(settings: Settings, open_engine: Any, rounds: int) -> dict[int, float]:
    engines: list[Timed] = []

    def timed(base: Base) -> Timed:
        engines.append(Timed(open_engine(base)))
        return engines[0]

    lab = Lab(settings, open_engine=timed)
    _ = lab.machine.engine
    with _served(lab, settings) as address, _browser() as browser:
        page = browser.new_page()
        taken = {turns: [_once(page, address, lab, engines[0], turns) for _ in range(rounds + 1)] for turns in TURNS}
    lab.close()
    return {turns: middle(values[1:]) for turns, values in taken.items()}


def _once(page: Any, address: str, lab: Lab, engine: Timed, turns: int) -> float:
    """One message in a fresh conversation of so many turns; milliseconds."""
    chat = lab.chat.new()
    lab.chat.change(chat, lambda c: _long(c, turns))
    page.goto(f"{address}/?c={chat}")
    page.wait_for_selector("#transcript .answer" if turns else ".welcome")
    page.wait_for_timeout(1500)
    page.fill("#composer textarea", "Say on")
    page.evaluate(WAIT_FOR_TEXT)
    page.keyboard.press("Enter")
    seen: float = page.evaluate("window.seen")
    page.wait_for_selector("#composer .submit-button", timeout=60_000)
    return seen - 1000 * engine.first


def _long(conversation: Conversation, turns: int) -> Conversation:
    for number in range(turns // 2):
        conversation = conversation.grown(role="user", content=f"More {number}")
        conversation = conversation.grown(role="assistant", content="Yes.")
    return conversation


def _fake(base: Base) -> Engine:
    return FakeEngine(script=lambda *_: "word " * 40, pause=0.02, context=100_000)


def _local(base: Base) -> Engine:
    return TransformersEngine.open(base)


@contextlib.contextmanager
def _served(lab: Lab, settings: Settings) -> Iterator[str]:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        app = web(lab, settings, Replies())
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=1))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]}, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.02)
        yield f"http://127.0.0.1:{sock.getsockname()[1]}"
        server.should_exit = True
        thread.join(5)


@contextlib.contextmanager
def _browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    options = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=_chromium(), args=[*options, "--disable-sync"])
        yield browser
        browser.close()


def _chromium() -> str | None:
    """As the tests find it."""
    file = Path(__file__).resolve().parents[1] / "scripts" / "browser.py"
    spec = importlib.util.spec_from_file_location("browser", file)
    if spec is None or spec.loader is None:
        return None
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found.installed()


if __name__ == "__main__":
    measure(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
