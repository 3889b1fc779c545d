"""How the app ends: asked once it keeps everything, asked twice it leaves at once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from chatlab.lab import Lab
from chatlab.settings import Settings
from chatlab.store import Store
from chatlab.store.disk import Files
from chatlab.training.process.runs import list_runs
from tests.test_start import ROOT, answer, free_port
from tests.web.test_wire import Tab


@contextmanager
def closing_app(
    settings: Settings, port: int, *, module: str = "tests.support.kills.closing"
) -> Iterator[subprocess.Popen[str]]:
    given = {"CHATLAB_HOME": settings.home, "CHATLAB_BASE": settings.base, "CHATLAB_CACHE": settings.cache}
    app = subprocess.Popen(
        [sys.executable, "-m", module, *(["--no-browser"] if module == "chatlab" else [])],
        cwd=ROOT,
        env=os.environ | {key: str(value) for key, value in given.items()} | {"CHATLAB_PORT": str(port)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert answer(f"http://127.0.0.1:{port}/chatlab/health") == 200
        yield app
    finally:
        if app.poll() is None:
            app.kill()
        app.wait(20)


def wait_for_words(tab: Tab) -> None:
    """Until an answer has begun to grow."""
    assert any("word2" in json.dumps(event) for event in tab.events())


def said_so_far(home: Path) -> list[tuple[str, str]]:
    with Store.open(home / "store") as store:
        return [(turn.role, turn.content) for _, chat in store.conversations.rows() for turn in chat.path()]


def test_asked_to_end_the_app_keeps_the_answer_under_way_closes_the_store_and_says_zero(settings: Settings) -> None:
    port = free_port()
    with closing_app(settings, port) as app:
        tab = Tab(f"http://127.0.0.1:{port}", "ending")
        tab.send("say_1", composer="Good morning")
        wait_for_words(tab)
        app.send_signal(signal.SIGTERM)
        _, wrong = app.communicate(timeout=30)
    assert app.returncode == 0, wrong
    assert "Traceback" not in wrong and "training run are saved" in wrong
    files = Files(settings.store)
    assert not files.owner.exists() and files.journal.stat().st_size < 100, "compacted, closed and let go"
    (_, asked), (_, answered) = said_so_far(settings.home)
    assert asked == "Good morning" and answered.startswith("word0 word1") and "word399" not in answered


def test_asked_twice_the_app_leaves_at_once_and_what_was_acknowledged_is_there(settings: Settings) -> None:
    port = free_port()
    with closing_app(settings, port) as app:
        tab = Tab(f"http://127.0.0.1:{port}", "leaving")
        tab.send("say_1", composer="Good morning")
        wait_for_words(tab)
        app.send_signal(signal.SIGINT)
        app.send_signal(signal.SIGTERM)
        app.communicate(timeout=5)
    assert app.returncode in (0, 130)
    assert said_so_far(settings.home)[0] == ("user", "Good morning")


@pytest.mark.slow
def test_a_run_under_way_keeps_its_place_when_the_app_is_asked_to_end(settings: Settings) -> None:
    port = free_port()
    lab = Lab(settings)
    lab.demonstrations.load_pack("stage")
    run = lab.training.prepare("paused", epochs=40)
    lab.close()
    with closing_app(settings, port, module="chatlab") as app:
        tab = Tab(f"http://127.0.0.1:{port}", "pausing")
        assert tab.http.get("/chatlab/health").json()["status"] == "ok"
        app.send_signal(signal.SIGTERM)
        app.communicate(timeout=60)
        assert app.returncode == 0
    lab = Lab(replace(settings, port=port))
    lab.training.resume(run)
    while not [step for step in lab.training.status().steps if step.step > 2]:
        time.sleep(0.1)
    lab.close()
    (found,) = list_runs(settings.runs)
    assert found.state == "interrupted" and (found.folder / "checkpoint" / "state.safetensors").exists()
