"""The chat tab in a real browser: what is typed, stopped, reloaded, rewritten and switched."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import expect

from chatlab.engines.fake import FakeEngine
from chatlab.lab import Lab
from chatlab.settings import Settings

WORDS = " ".join(f"word{number}" for number in range(60))
BOX = "#composer textarea"
ANSWER = "#transcript .answer"
PATIENCE = 60_000


@pytest.fixture(scope="module")
def engine() -> FakeEngine:
    return FakeEngine(script=lambda *_: WORDS, context=100_000)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, base_folder, engine: FakeEngine) -> Iterator[Lab]:
    settings = Settings(home=tmp_path_factory.mktemp("home"), base=base_folder)
    lab = Lab(settings, open_engine=lambda base: engine)
    yield lab
    lab.close()


@pytest.fixture(scope="module")
def window(chromium: Any, address: str) -> Iterator[Any]:
    """The app in one window, for all tests: to load it takes a browser longer than most of them."""
    page = chromium.new_page(viewport={"width": 1440, "height": 900})
    page.set_default_timeout(PATIENCE)
    page.wrong = []
    page.on("pageerror", lambda error: page.wrong.append(str(error)))
    page.on("console", lambda said: page.wrong.append(said.text) if "Content Security" in said.text else None)
    page.goto(address)
    page.wait_for_selector(".welcome")
    page.wait_for_selector("#bar .chip.live")  # the events of a page that opens have all been answered
    yield page
    page.close()


@pytest.fixture
def page(window: Any, engine: FakeEngine) -> Iterator[Any]:
    """The window with a new conversation, nothing typed and nothing searched for."""
    let_go(engine)
    window.fill("#search input, #search textarea", "")
    if window.locator(".welcome").count() == 0:
        window.click("[data-act=new]")
        window.wait_for_selector(".welcome")
    window.fill(BOX, "")
    yield window
    assert window.wrong == []


def hold(engine: FakeEngine) -> None:
    """From now on it speaks so slowly that the answer grows for as long as a busy machine takes to load the page."""
    engine.pause = 1.0


def let_go(engine: FakeEngine) -> None:
    engine.pause = 0.01


def say(page: Any, text: str) -> None:
    page.fill(BOX, text)
    page.press(BOX, "Enter")


def whole(page: Any) -> None:
    """Until the answer under way is there."""
    page.wait_for_selector("#composer .submit-button")


def test_enter_sends_shift_enter_makes_a_line_and_escape_stops(page: Any, lab: Lab, engine: FakeEngine) -> None:
    hold(engine)
    page.fill(BOX, "one")
    page.press(BOX, "Shift+Enter")
    page.type(BOX, "two")
    page.press(BOX, "Enter")
    page.wait_for_selector(".growing .who")
    assert page.input_value(BOX) == ""
    page.press(BOX, "Escape")
    page.wait_for_selector(f"{ANSWER} .ending")
    _, conversation = lab.chat.conversations()[0]
    question, answer = conversation.path()
    assert question.content == "one\ntwo" and answer.stopped == "person" and WORDS.startswith(answer.content)


def test_what_is_typed_outlives_a_reload(page: Any) -> None:
    page.type(BOX, "not yet sent")
    page.reload()
    expect(page.locator(BOX)).to_have_value("not yet sent", timeout=PATIENCE)


def test_a_reload_in_the_middle_finds_the_answer_still_growing(page: Any, engine: FakeEngine) -> None:
    hold(engine)
    say(page, "Tell me all")
    page.wait_for_selector(".growing .who")
    page.wait_for_url("**c=*")
    page.reload()
    page.wait_for_selector(".growing .who")
    let_go(engine)
    whole(page)
    assert page.inner_text(f"{ANSWER} .body") == WORDS


def test_a_conversation_left_in_the_middle_goes_on_and_the_other_shows_nothing_of_it(
    page: Any, engine: FakeEngine
) -> None:
    hold(engine)
    say(page, "First of two")
    page.wait_for_selector(".growing .who")
    page.click("[data-act=new]")
    page.wait_for_selector(".welcome")
    page.wait_for_timeout(400)
    assert page.locator(".growing").count() == 0
    page.click(".entry .title:has-text('First of two')")
    page.wait_for_selector(".growing .who")
    let_go(engine)
    whole(page)
    assert page.inner_text(f"{ANSWER} .body") == WORDS


def test_an_early_second_message_is_refused_and_stays_in_the_box(page: Any, engine: FakeEngine) -> None:
    hold(engine)
    say(page, "A question")
    page.wait_for_selector(".growing .who")
    expect(page.locator(BOX)).to_have_value("", timeout=PATIENCE)  # else the server would empty what is typed next
    say(page, "Too early")
    page.wait_for_selector(".toast-body:has-text('still answering')")
    let_go(engine)
    whole(page)
    assert page.input_value(BOX) == "Too early"


def test_a_rewritten_answer_is_kept_offered_and_survives_what_happens_around_it(
    page: Any, lab: Lab, engine: FakeEngine
) -> None:
    say(page, "Pray, by what name do they call you here?")
    whole(page)
    page.click(f"{ANSWER} [data-act=edit]")
    page.fill(".editor textarea", "Call me Ariel.\n\nGentle friend.")
    hold(engine)
    say(page, "Meanwhile")
    page.wait_for_selector(".growing .who")
    let_go(engine)
    whole(page)
    assert page.input_value(".editor textarea") == "Call me Ariel.\n\nGentle friend."
    page.click(".editor .primary")
    page.wait_for_selector(".notice [data-act=retrain]")
    assert "Kept as demonstration" in page.inner_text(".notice")
    [(_, kept)] = lab.demonstrations.find("Ariel")[0]
    assert kept.answer == "Call me Ariel.\n\nGentle friend." and kept.source == "edited"
    page.click(f"{ANSWER} [data-act=show]")
    page.wait_for_selector(".version:has-text('1/2')")


def test_thumbs_reasons_and_search(page: Any, lab: Lab) -> None:
    say(page, "An odd question about herrings")
    whole(page)
    page.click("[data-act=dislike]")
    page.click(".reasons .chip:has-text('too long')")
    page.wait_for_selector(".reasons .chip.on:has-text('too long')")
    page.fill("#search input, #search textarea", "herrings")
    expect(page.locator(".entry")).to_have_count(1, timeout=PATIENCE)
    _, conversation = lab.chat.conversations("herrings")[0]
    assert conversation.path()[-1].rating.reasons == ("too long",)


def test_a_budget_stays_with_its_conversation(page: Any, lab: Lab) -> None:
    page.click("[data-fold=panel]")
    tokens = page.locator("#budget input[type=number]")
    expect(tokens).to_have_value("256", timeout=PATIENCE)
    tokens.fill("16")
    tokens.blur()
    say(page, "A short story about herons")
    page.wait_for_selector(f"{ANSWER} [data-act=retry]")
    [(one, conversation)] = lab.chat.conversations("herons")
    assert conversation.budget.answer == 16 and conversation.path()[-1].provenance.tokens == 16
    page.click("[data-act=new]")
    page.wait_for_selector(".welcome")
    tokens.fill("512")
    tokens.blur()
    page.wait_for_timeout(500)
    page.click(".entry .title:has-text('herons')")
    expect(tokens).to_have_value("16", timeout=PATIENCE)
    page.reload()
    expect(tokens).to_have_value("16", timeout=PATIENCE)
    page.click("[data-act=new]")
    expect(tokens).to_have_value("512", timeout=PATIENCE)
    assert lab.chat.get(one).budget.answer == 16


def test_nothing_is_wider_than_a_phone(chromium: Any, address: str, lab: Lab) -> None:
    chat = lab.chat.new()
    wide = "x" * 300 + "\n\n```\n" + "y" * 300 + "\n```\n\n| a | b |\n|-|-|\n| " + "z" * 200 + " | c |"
    lab.chat.change(chat, lambda c: c.grown(role="user", content=wide).grown(role="assistant", content=wide))
    page = chromium.new_page(viewport={"width": 390, "height": 844})
    page.set_default_timeout(PATIENCE)
    page.goto(f"{address}/?c={chat}")
    page.wait_for_selector(ANSWER)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.locator("#scroll").evaluate("e => e.scrollWidth") <= 390
    assert page.locator("#composer").evaluate("e => e.getBoundingClientRect().bottom") <= 844
    page.click("[data-fold=side]")
    page.wait_for_selector("#side", state="visible")
    page.click(".entry .title >> nth=0")
    page.wait_for_selector("#side", state="hidden")
    page.close()
