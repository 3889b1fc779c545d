"""How the app ends: asked once it keeps everything, asked twice it leaves at once."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from chatlab.lab import Lab
from chatlab.settings import Settings
from chatlab.store import Store
from chatlab.store.disk import Files
from chatlab.training.process.runs import list_runs
from tests.support.served import FAKE, app
from tests.web.test_wire import Tab


def closing_app(
    settings: Settings, *arguments: str, module: str = FAKE
) -> AbstractContextManager[tuple[subprocess.Popen[str], str]]:
    return app(settings.home, *arguments, module=module, CHATLAB_BASE=settings.base, CHATLAB_CACHE=settings.cache)


def wait_for_words(tab: Tab) -> None:
    """Until an answer has begun to grow."""
    assert any("word2" in json.dumps(event) for event in tab.events())


def said_so_far(home: Path) -> list[tuple[str, str]]:
    with Store.open(home / "store") as store:
        return [(turn.role, turn.content) for _, chat in store.conversations.rows() for turn in chat.path()]


def test_asked_to_end_the_app_keeps_the_answer_under_way_closes_the_store_and_says_zero(settings: Settings) -> None:
    with closing_app(settings) as (process, address):
        tab = Tab(address, "ending")
        tab.send("say_1", composer="Good morning")
        wait_for_words(tab)
        process.send_signal(signal.SIGTERM)
        _, wrong = process.communicate(timeout=30)
    assert process.returncode == 0, wrong
    assert "Traceback" not in wrong and "training run are saved" in wrong
    files = Files(settings.store)
    assert not files.owner.exists() and files.journal.stat().st_size < 100, "compacted, closed and let go"
    (_, asked), (_, answered) = said_so_far(settings.home)
    assert asked == "Good morning" and answered.startswith("word0 word1") and "word399" not in answered


def test_asked_twice_the_app_leaves_at_once_and_what_was_acknowledged_is_there(settings: Settings) -> None:
    with closing_app(settings) as (process, address):
        tab = Tab(address, "leaving")
        tab.send("say_1", composer="Good morning")
        wait_for_words(tab)
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=5)
    assert process.returncode in (0, 130)
    assert said_so_far(settings.home)[0] == ("user", "Good morning")


@pytest.mark.slow
def test_a_run_under_way_keeps_its_place_when_the_app_is_asked_to_end(settings: Settings) -> None:
    lab = Lab(settings)
    lab.demonstrations.load_pack("stage")
    run = lab.training.prepare("paused", epochs=40)
    lab.close()
    with closing_app(settings, "--no-browser", module="chatlab") as (process, address):
        tab = Tab(address, "pausing")
        assert tab.http.get("/chatlab/health").json()["status"] == "ok"
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
        assert process.returncode == 0
    lab = Lab(settings)
    lab.training.resume(run)
    while not [step for step in lab.training.status().steps if step.step > 2]:
        time.sleep(0.1)
    lab.close()
    (found,) = list_runs(settings.runs)
    assert found.state == "interrupted" and (found.folder / "checkpoint" / "state.safetensors").exists()
