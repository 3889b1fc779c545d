"""The unseen prompts in a real browser: heard, stopped, edited, and kept apart from what is learned."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chatlab.engines.base import Sampling, Variant
from chatlab.engines.fake import FakeEngine
from chatlab.lab import Lab
from chatlab.settings import Settings
from tests.support.browser import opened
from tests.support.page import publish_adapter

MORE = 96
"""Prompts beyond those that come with the app: more than are answered while a slow browser looks for its button."""
HOSTILE = "<img src=x onerror='window.hurt=1'>"


def speaks(prompt: Any, variant: Variant, sampling: Sampling) -> str:
    return f"{HOSTILE} says {variant.name} under the bright moon of this long night"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, base_folder: Any) -> Iterator[Lab]:
    home = tmp_path_factory.mktemp("unseen")
    settings = Settings(home=home, base=base_folder, cache_folder=home / "cache")
    lab = Lab(settings, open_engine=lambda base: FakeEngine(speaks, pause=0.05))
    publish_adapter(lab, "player")
    lab.unseen.add([f"Question {n}" for n in range(MORE)])
    yield lab
    lab.close()


@pytest.fixture(scope="module")
def page(lab: Lab, chromium: Any) -> Iterator[Any]:
    with opened(lab, chromium, "Compare") as page:
        page.locator("#unseen-grid tbody tr").first.wait_for()
        yield page


def test_replies_come_one_by_one_stop_at_once_and_go_on_where_they_were(page: Any, lab: Lab) -> None:
    assert page.locator("#unseen-grid tbody tr").count() == 24
    page.locator("#unseen-ask").click()
    page.locator("#unseen-grid tr", has_text="says player").nth(1).wait_for()
    page.locator("#unseen-stop").click()
    page.locator("#unseen-ask", has_text="Continue").wait_for()
    done = lab.grid.cached(["base", "player"]).done
    assert 2 <= done < 2 * (24 + MORE)
    page.wait_for_timeout(400)
    assert lab.grid.cached(["base", "player"]).done == done
    assert page.evaluate("window.hurt") is None


def test_the_set_is_edited_and_what_is_typed_outlives_a_look_elsewhere(page: Any, lab: Lab) -> None:
    page.locator("#unseen-edit > button").click()
    box = page.locator("#unseen-text textarea")
    box.fill("Tell a joke\nDescribe the moon\nWhy is the sea salt?")
    box.blur()
    page.get_by_role("button", name="Discard changes").wait_for()
    page.get_by_role("tab", name="Chat").click()
    page.get_by_role("tab", name="Compare").click()
    assert box.input_value().endswith("salt?")
    page.locator("#unseen-save").click()
    page.locator("#unseen-said", has_text=f"Saved: 1 new, {22 + MORE} removed").wait_for()
    page.locator("#unseen-grid tbody tr", has_text="Why is the sea salt?").wait_for()
    assert page.locator("#unseen-grid tbody tr").count() == 3
    page.locator("#unseen-undo").click()
    page.locator("#unseen-grid tbody tr").nth(23).wait_for()
    assert len(lab.unseen.prompts()) == 24 + MORE


def test_the_grid_leaves_as_a_file(page: Any) -> None:
    page.locator("#unseen-out > button").click()
    page.locator("#unseen-export").click()
    page.locator("#unseen-download").wait_for()
    with page.expect_download() as download:
        page.locator("#unseen-download").click()
    assert "| Prompt | base | player |" in Path(download.value.path()).read_text("utf-8")


def test_on_the_desk_the_person_is_asked_and_loses_nothing(page: Any, lab: Lab) -> None:
    page.get_by_role("tab", name="Demonstrations").click()
    page.get_by_role("button", name="New", exact=True).click()
    page.locator("#tab-demonstrations").get_by_label("Prompt", exact=True).fill("tell me a JOKE")
    page.locator("#tab-demonstrations").get_by_label("Answer", exact=True).fill("A horse walks into a bar.")
    page.get_by_role("button", name="Save demonstration").click()
    page.locator("#desk-unseen", has_text="is one of your unseen prompts").wait_for()
    assert (
        page.locator("#tab-demonstrations").get_by_label("Answer", exact=True).input_value()
        == "A horse walks into a bar."
    )
    assert lab.demonstrations.find()[1] == 0
    page.get_by_role("button", name="Train on it, drop the unseen prompt").click()
    page.locator("#demonstration-rows label", has_text="tell me a JOKE").wait_for()
    assert "Tell a joke" not in lab.unseen.prompts() and len(lab.demonstrations.approved()) == 1


def test_at_390_pixels_the_grid_is_cards_and_nothing_is_cut_off(page: Any) -> None:
    page.get_by_role("tab", name="Compare").click()
    page.set_viewport_size({"width": 390, "height": 900})
    page.locator("#unseen-grid .grid-variant").first.wait_for()  # in a card each reply says whose it is
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
