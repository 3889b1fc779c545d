"""The quality panel in a real browser: a double found, read, discarded and brought back; a pruning foreseen."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from chatlab.engines.fake import FakeEngine
from chatlab.lab import Lab
from chatlab.settings import Settings
from tests.support.browser import opened
from tests.support.difficulties import measured


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, base_folder: Any) -> Iterator[Lab]:
    home = tmp_path_factory.mktemp("quality")
    lab = Lab(Settings(home=home, base=base_folder, cache_folder=home / "cache"), open_engine=lambda base: FakeEngine())
    for n in range(1, 9):
        lab.demonstrations.write(f"What is number {n} good for?", f"Number {n} is good for {n} things, and {n} more.")
    lab.demonstrations.write("What is tin?", "A soft metal.")
    lab.demonstrations.write("what is tin", "A SOFT METAL")
    yield lab
    lab.close()


@pytest.fixture(scope="module")
def page(lab: Lab, chromium: Any) -> Iterator[Any]:
    with opened(lab, chromium, "Demonstrations") as page:
        page.locator("#demonstration-rows label").first.wait_for()
        yield page


def test_a_double_is_read_discarded_and_brought_back(page: Any, lab: Lab) -> None:
    page.locator("#quality", has_text="Quality: 1 finding").wait_for()
    page.locator("#quality button.label-wrap").click()
    page.locator(".finding").get_by_role("button", name="Read").click()
    page.locator(".beside-one").nth(1).wait_for()
    page.locator(".finding").get_by_role("button", name="Keep 9, discard 10").click()
    page.locator("#quality", has_text="no problems").wait_for()
    assert lab.demonstrations.get(10).status == "discarded"
    page.get_by_role("button", name="Undo: discarded 1").click()
    page.locator(".finding").wait_for()
    assert lab.demonstrations.get(10).status == "approved"


def test_the_slider_shows_what_would_go_before_it_goes(page: Any, lab: Lab) -> None:
    measured(lab, {one: one / 2 for one, _ in lab.demonstrations.find(limit=99)[0]})
    page.get_by_role("tab", name="Chat").click()
    page.get_by_role("tab", name="Demonstrations").click()
    page.locator("#pruning button.label-wrap").click()
    page.locator("#prune-preview", has_text="5 of 10 approved demonstrations would stay").wait_for()
    page.locator("#pruning input[type=number]").fill("20")
    page.locator("#pruning input[type=number]").press("Enter")
    page.locator("#prune", has_text="Discard 8").wait_for()
    assert lab.demonstrations.counts() == {"approved": 10}
    page.locator("#prune").click()
    page.get_by_role("button", name="Undo: discarded 8").wait_for()
    assert lab.demonstrations.counts() == {"approved": 2, "discarded": 8}


def test_the_panels_are_no_wider_than_a_phone(page: Any) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    page.wait_for_timeout(500)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
