"""Demonstrations in a real browser, with an engine that needs no model: keys, drafts, hostile words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from chatlab.engines.fake import FakeEngine
from chatlab.lab import Lab
from chatlab.records import Demonstration, Message
from chatlab.settings import Settings
from tests.support.page import publish_adapter

HOSTILE = "<script>window.hurt=1</script><img src=x onerror='window.hurt=2'>![x](http://evil.example/q) $$x$$"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, base_folder: Any, cache_folder: Any) -> Iterator[Lab]:
    home = tmp_path_factory.mktemp("curation")
    lab = Lab(Settings(home=home, base=base_folder, cache_folder=cache_folder), open_engine=lambda base: FakeEngine())
    for one in lab.demonstrations.load_pack("triage")[:4]:
        lab.demonstrations.update(one, status="waiting")
    publish_adapter(lab, "player")
    yield lab
    lab.close()


@pytest.fixture(scope="module")
def page(chromium: Any, address: str) -> Iterator[Any]:
    """One window for all tests: to load the app takes a browser longer than most of them."""
    page = chromium.new_page(viewport={"width": 1440, "height": 900})
    page.set_default_timeout(60_000)
    page.goto(address)
    yield page
    page.close()


def open_desk(page: Any, first: str = "") -> None:
    """Draw the tab anew; `first` stands in the row that is then the first."""
    page.get_by_role("tab", name="Chat").click()
    page.get_by_role("tab", name="Demonstrations").click()
    page.locator("#demonstration-rows label >> nth=0", has_text=first).wait_for()


def choose(page: Any, status: str) -> None:
    page.locator("#tab-demonstrations .segments label", has_text=status).first.click()
    page.locator("#tab-demonstrations .segments label.selected", has_text=status).first.wait_for()


def on_the_desk(page: Any, demonstration: int) -> None:
    page.locator(".desk-name", has_text=f"Demonstration {demonstration} ").wait_for()


def test_the_waiting_queue_is_decided_with_single_keys(page: Any, lab: Lab) -> None:
    queue = [i for i, _ in lab.demonstrations.find(status="waiting")[0]]
    open_desk(page)
    choose(page, "Waiting")
    for key, shown in (("n", queue[0]), ("a", queue[1]), ("d", queue[2]), ("u", queue[1])):
        page.keyboard.press(key)
        on_the_desk(page, shown)
    assert lab.demonstrations.get(queue[0]).status == "approved"
    assert lab.demonstrations.get(queue[1]).status == "waiting"
    choose(page, "All")


def test_words_that_were_not_saved_are_there_after_a_reload(page: Any, lab: Lab, address: str) -> None:
    open_desk(page)
    page.locator("#demonstration-rows label").first.click()
    newest = lab.demonstrations.find()[0][0][0]
    on_the_desk(page, newest)
    answer = page.get_by_label("Answer", exact=True)
    answer.press("End")
    answer.press_sequentially(" and more")
    page.get_by_role("button", name="Discard changes").wait_for()
    answer.blur()
    page.wait_for_timeout(500)
    page.goto(address)
    open_desk(page)
    page.locator("#demonstration-rows label").first.click()
    page.get_by_role("button", name="Discard changes").wait_for()
    assert page.get_by_label("Answer", exact=True).input_value().endswith(" and more")
    assert not lab.demonstrations.get(newest).answer.endswith(" and more")
    page.get_by_role("button", name="Discard changes").click()
    page.get_by_role("button", name="Discard changes").wait_for(state="hidden")


def test_a_thought_is_changed_at_the_desk_and_never_slips_into_another_demonstration(page: Any, lab: Lab) -> None:
    asked = Message(role="user", content="What is 2 + 2?")
    answers = [Message(role="assistant", content="4"), Message(role="assistant", content="4", reasoning="Two and two.")]
    plain, thoughtful = lab.demonstrations.add([Demonstration(messages=(asked, answer)) for answer in answers])
    open_desk(page, "What is 2 + 2?")
    page.locator("#demonstration-rows label").nth(0).click()
    on_the_desk(page, thoughtful)
    page.get_by_label("Thinking before the answer").fill("Twice two.")
    page.get_by_label("Thinking before the answer").blur()
    page.get_by_role("button", name="Discard changes").wait_for()
    page.get_by_role("button", name="Save", exact=True).click()
    page.get_by_role("button", name="Discard changes").wait_for(state="hidden")
    page.locator("#demonstration-rows label").nth(1).click()
    on_the_desk(page, plain)
    page.get_by_label("Answer", exact=True).fill("Four.")
    page.get_by_label("Answer", exact=True).blur()
    page.get_by_role("button", name="Discard changes").wait_for()
    page.get_by_role("button", name="Save", exact=True).click()
    page.get_by_role("button", name="Discard changes").wait_for(state="hidden")
    assert lab.demonstrations.get(thoughtful).messages[-1] == Message(
        role="assistant", content="4", reasoning="Twice two."
    )
    assert lab.demonstrations.get(plain).messages[-1] == Message(role="assistant", content="Four.")


def test_a_hostile_demonstration_is_words_and_nothing_is_fetched(page: Any, lab: Lab) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    one = lab.demonstrations.write(HOSTILE, HOSTILE, system=HOSTILE, tags=[HOSTILE])
    open_desk(page, "window.hurt=1")
    page.locator("#demonstration-rows label").first.click()
    on_the_desk(page, one)
    page.locator(".mask-learned", has_text="window.hurt=1").last.wait_for()
    assert HOSTILE in page.locator(".mask-text").inner_text()
    assert page.evaluate("window.hurt") is None
    assert not [url for url in asked if "evil" in url]
    lab.demonstrations.delete([one])


def test_the_header_stays_in_view_and_nothing_is_wider_than_the_window(page: Any) -> None:
    open_desk(page)
    for width in (1440, 390):
        page.set_viewport_size({"width": width, "height": 500})
        page.evaluate("scrollTo(0, 0)")
        page.mouse.move(width / 2, 300)
        page.mouse.wheel(0, 400)
        page.wait_for_function("() => scrollY > 100")
        assert page.locator("#bar").bounding_box()["y"] == 0
        assert page.evaluate("document.documentElement.scrollWidth") <= width
