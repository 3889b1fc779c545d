"""Edit and Copy bring what is stored and not what is shown, formulas stand as they were written, and an adapter that is
dropped on the Train tab is in the list: in a real browser.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from chatlab.engines.fake import FakeEngine
from chatlab.lab import Lab
from chatlab.settings import Settings
from tests.support.lora import make_adapter

PATIENCE = 120_000
ODD = (
    'החנות נקראת \u2067Blue Door\u2069, ובקיצור \u202bב.ד.\u202c\r\nnull \x00, bell \x07, "quotes" &amp; \\u0041\n'
    "The area is \\(A = \\pi r^2\\), and with \\[ \\int_0^1 x\\,dx = \\tfrac{1}{2} \\] we are done."
)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, base_folder: Path) -> Iterator[Lab]:
    lab = Lab(Settings(home=tmp_path_factory.mktemp("home"), base=base_folder), open_engine=lambda base: FakeEngine())
    yield lab
    lab.close()


@pytest.fixture(scope="module")
def page(chromium: Any, lab: Lab, address: str) -> Iterator[Any]:
    """On a conversation whose answer holds what HTML and a text box cannot hold."""
    conversation = lab.chat.new()
    lab.chat.change(conversation, lambda c: c.grown(role="user", content="Hm?").grown(role="assistant", content=ODD))
    context = chromium.new_context(
        viewport={"width": 1440, "height": 900}, permissions=["clipboard-read", "clipboard-write"]
    )
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    page.goto(f"{address}/?c={conversation}")
    page.wait_for_selector("#transcript .answer")
    yield page
    context.close()


def test_copy_copies_and_saving_unchanged_changes_nothing(page: Any, lab: Lab) -> None:
    page.click("#transcript .answer [data-act=copy]")
    page.wait_for_selector("#transcript .answer [data-act=copy].done")
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied.replace("\r\n", "\n") == ODD.replace("\r\n", "\n").replace("\x00", copied[copied.index("null ") + 5])
    page.click("#transcript .answer [data-act=edit]")
    page.click(".editor .primary")
    page.wait_for_selector(".notice:has-text('Kept as demonstration')")
    [(_, kept)] = lab.demonstrations.find()[0]
    assert kept.answer == ODD and kept.source == "liked", "no edit was made"
    assert len(lab.chat.conversations()[0][1].turns) == 2


def test_a_formula_is_typeset_by_the_browser(page: Any) -> None:
    formulas = page.locator("#transcript .answer .formula")
    assert [formulas.nth(n).get_attribute("title") for n in range(2)] == [
        "\\(A = \\pi r^2\\)",
        "\\[ \\int_0^1 x\\,dx = \\tfrac{1}{2} \\]",
    ]
    assert formulas.nth(0).locator("msup").count() == 1 and not formulas.nth(0).locator("annotation").is_visible()
    half = page.locator("#transcript .answer mfrac").bounding_box()
    assert half is not None and half["height"] > half["width"]


def test_an_adapter_that_is_dropped_on_the_train_tab_is_in_the_list(
    page: Any, lab: Lab, base_folder: Path, tmp_path: Path
) -> None:
    folder = make_adapter(base_folder, tmp_path / "output" / "theirs", 1, target_modules=["q_proj"])
    (folder / "training_args.bin").write_bytes(b"a pickle that nobody opens")
    packed = shutil.make_archive(str(tmp_path / "their-lora"), "zip", tmp_path, "output")
    page.click("button[role=tab]:has-text('Train')")
    page.click("#bring-adapter .label-wrap")
    page.set_input_files("#bring-drop input[type=file]", packed)
    expect(page.locator("#bring-told")).to_contain_text("their-lora is in the list", timeout=PATIENCE)
    expect(page.locator("#adapters label:has-text('their-lora')")).to_contain_text("trained elsewhere")
    card = lab.variants.card("their-lora")
    assert card is not None and "PEFT" in card.origin and card.sha256[:16] in page.inner_text("#bring-told")
    page.fill("#bring-path textarea, #bring-path input", str(tmp_path / "nowhere"))
    page.click("#bring-go")
    page.wait_for_selector(".toast-message-text:has-text('nothing at')")
    assert page.input_value("#bring-path textarea, #bring-path input") == str(tmp_path / "nowhere")
