"""From an adapter to what it learned and on to the desk, and the opinions of two people, in a real browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chatlab.engines.fake import FakeEngine
from chatlab.lab import Lab
from chatlab.settings import Settings
from tests.lab.data.test_lineage import trained
from tests.support.browser import opened


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, base_folder: Path, cache_folder: Path) -> Iterator[Lab]:
    home = tmp_path_factory.mktemp("lineage")
    lab = Lab(Settings(home=home, base=base_folder, cache_folder=cache_folder), open_engine=lambda base: FakeEngine())
    ids = lab.demonstrations.load_pack("stage")
    lab.training.discard(trained(lab, "player", ids, aside=tuple(ids[:4])))
    yield lab
    lab.close()


@pytest.fixture(scope="module")
def page(lab: Lab, chromium: Any) -> Iterator[Any]:
    with opened(lab, chromium) as page:
        yield page


def test_a_click_on_what_an_adapter_learned_opens_it_on_the_desk(page: Any, lab: Lab) -> None:
    page.get_by_role("tab", name="Train").click()
    page.locator("#adapters label", has_text="player").click()
    page.locator("#adapter-papers button").first.click()
    page.locator("#adapter-papers .linked", has_text="7").first.click()
    page.locator(".desk-name", has_text="Demonstration 7 ").wait_for()
    page.locator("#learned-by", has_text="player").wait_for()
    assert page.get_by_role("tab", name="Demonstrations").get_attribute("aria-selected") == "true"


def test_a_person_says_who_they_are_and_what_they_think(page: Any, lab: Lab) -> None:
    lab.annotators.call("Ann")
    lab.annotators.judge(7, 2, "too stiff")
    lab.annotators.call("")
    page.locator("#annotators button").first.click()
    name = page.locator("#annotator-name input, #annotator-name textarea").first
    name.fill("Ben")
    name.press("Enter")
    page.locator("#annotators", has_text="carry this name").wait_for()
    page.locator("#opinion label", has_text="5").click()
    page.locator("#opinions", has_text="Ann: 2").wait_for()
    assert [(o.by, o.stars) for o in lab.demonstrations.get(7).annotations] == [("Ann", 2), ("Ben", 5)]
    page.locator("#disagreements label", has_text="Ben 5").wait_for()
