"""Knowledge in a real browser: a document dropped, asked in chat, its citation opened; no wider than a phone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chatlab.engines.fake import FakeEngine
from chatlab.lab import Lab
from chatlab.settings import Settings
from tests.support.browser import opened


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, base_folder: Path) -> Iterator[Lab]:
    home = tmp_path_factory.mktemp("knowing")
    engine = FakeEngine(lambda prompt, variant, sampling: "At the outer pier [1], not [7].")
    lab = Lab(Settings(home=home, base=base_folder, cache_folder=home / "cache"), open_engine=lambda base: engine)
    lab.store.state.set("embedding model", str(home / "none"))
    yield lab
    lab.close()


@pytest.fixture(scope="module")
def page(lab: Lab, chromium: Any) -> Iterator[Any]:
    with opened(lab, chromium) as page:
        yield page


def test_a_document_is_dropped_and_found(page: Any, tmp_path: Path) -> None:
    (tmp_path / "harbour.md").write_text("# Harbour rules\n\nBoats over nine metres moor at the outer pier.", "utf-8")
    page.get_by_role("tab", name="Knowledge").click()
    page.locator("#knowledge-file input[type=file]").set_input_files(str(tmp_path / "harbour.md"))
    page.locator("#knowledge-documents", has_text="Harbour rules").wait_for()
    page.locator("#knowledge-state", has_text="Keyword search only").wait_for()
    page.locator("#knowledge-question textarea").fill("where do boats moor?")
    page.locator("#knowledge-ask").click()
    page.locator(".hit", has_text="outer pier").wait_for()


def test_an_answer_in_chat_cites_it_and_the_citation_opens_the_passage(page: Any, lab: Lab) -> None:
    lab.knowledge.wait()
    page.get_by_role("tab", name="Chat").click()
    page.evaluate("document.body.classList.add('panel-open')")
    page.locator("#knowledge-on input").check()
    page.locator("#composer textarea").fill("Where do boats moor?")
    page.locator("#composer textarea").press("Enter")
    page.locator(".answer button.cite").wait_for()
    assert page.locator(".answer button.cite").count() == 1
    assert not page.locator(".source").is_visible()
    page.locator(".answer button.cite").click()
    page.locator(".source.shown", has_text="Boats over nine metres").wait_for()
    page.get_by_role("button", name="Keep as demonstration").click()
    page.locator("#notice", has_text="uses sources").wait_for()
    assert lab.demonstrations.counts() == {}
    page.get_by_role("button", name="Keep it with its sources").click()
    page.locator("#notice", has_text="Kept as demonstration").wait_for()


def test_a_source_is_seen_in_its_document(page: Any) -> None:
    page.locator(".answer button.cite").click()
    page.get_by_role("button", name="in its document").click()
    page.locator("#knowledge-found mark", has_text="Boats over nine metres").wait_for()


def test_the_tab_is_no_wider_than_a_phone(page: Any) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    page.wait_for_timeout(500)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
