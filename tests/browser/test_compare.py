"""Comparing in a real browser: nothing tells who spoke before the vote, keys vote, a reload loses nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from chatlab.engines.base import Sampling, Variant
from chatlab.engines.fake import FakeEngine
from chatlab.lab import Lab
from chatlab.records import BASE
from chatlab.settings import Settings
from chatlab.ui.compare.asking import choose
from chatlab.ui.compare.session import prompts
from chatlab.ui.html_block import decode
from tests.support.page import publish_adapter

NAMES = ("merry-player", "grave-player")
LISTEN = """
window.heard = [];
const plain = window.fetch;
window.fetch = async (...given) => {
  const answer = await plain(...given);
  if (answer.body) (async () => {
    const reader = answer.clone().body.getReader(), text = new TextDecoder();
    for (let piece; !(piece = await reader.read()).done; ) heard.push(text.decode(piece.value, { stream: true }));
  })().catch(() => {});
  return answer;
};
const Source = window.EventSource;
window.EventSource = class extends Source {
  constructor(...given) { super(...given); this.addEventListener("message", (event) => heard.push(event.data)); }
};
"""
"""Keeps all that the server sends from now on."""


def answer(prompt: Any, variant: Variant, sampling: Sampling) -> str:
    """Different for each variant and prompt, and without its name."""
    return f"The answer is {sum(variant.name.encode()) * 7 + sum(prompt) % 1000} and not another one"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, base_folder: Any) -> Iterator[Lab]:
    home = tmp_path_factory.mktemp("compare")
    settings = Settings(home=home, base=base_folder, cache_folder=home / "cache")
    lab = Lab(settings, open_engine=lambda base: FakeEngine(answer, pause=0.01))
    for name in NAMES:
        publish_adapter(lab, name)
    choose(lab, [BASE, *NAMES])
    yield lab
    lab.close()


@pytest.fixture(scope="module")
def page(chromium: Any, address: str) -> Iterator[Any]:
    page = opened(chromium, address)
    yield page
    page.close()


def opened(chromium: Any, address: str) -> Any:
    page = chromium.new_page(viewport={"width": 1440, "height": 1000})
    page.set_default_timeout(60_000)
    page.add_init_script(LISTEN)
    page.goto(address)
    compare(page)
    return page


def compare(page: Any) -> None:
    page.get_by_role("tab", name="Compare").click()
    page.locator("#vote-results .empty, #vote-results .headline").first.wait_for()


def ask(page: Any, prompt: str) -> None:
    page.locator("#compare-prompt textarea").fill(prompt)
    page.locator("#compare-ask").click()


def press(page: Any, key: str) -> None:
    """Where nobody is typing."""
    page.bring_to_front()
    page.evaluate("document.activeElement?.blur()")
    page.keyboard.press(key)


def names_in(text: str, lab: Lab) -> list[str]:
    shas = [card.sha256[:12] for card in lab.variants.cards()]
    return [word for word in (*NAMES, *shas, "sha256") if word in text]


def test_nothing_tells_who_spoke_until_the_key_is_pressed(page: Any, lab: Lab) -> None:
    before = len(lab.store.votes)
    page.wait_for_function("() => document.querySelectorAll('.generating, .pending').length === 0")
    page.evaluate("window.heard.length = 0")
    ask(page, "Who is there?")
    page.locator("#ballot").wait_for()
    sent = decode(page.evaluate("window.heard.join('')").replace('\\"', '"'))
    shown = page.evaluate(
        "['#panes', '#ballot', '#last-vote'].map((id) => document.querySelector(id)?.outerHTML).join()"
    )
    assert "The answer is" in sent and "The answer is" in shown, "the stream was heard"
    assert names_in(sent, lab) == names_in(shown, lab) == []
    assert page.locator(".pane-name").all_inner_texts() == ["hidden until you vote"] * 3
    press(page, "2")
    page.locator(".pane.won .proof").wait_for()
    assert len(lab.store.votes) == before + 1
    _, vote = next(lab.store.votes.rows(reverse=True))
    assert vote.winner == 1 and vote.blind
    best = vote.provenances[1]
    assert best.adapter in page.locator(".pane.won").inner_text()
    assert all(name in page.locator("#panes").inner_text() for name in (BASE, *NAMES))
    assert {s.sha256 for s in vote.provenances} == {"", *(card.sha256 for card in lab.variants.cards())}
    assert len(lab.store.preferences.find("Who is there?")[0]) == 2
    page.locator("#vote-results", has_text="not enough votes to tell").wait_for()
    press(page, "u")
    page.locator("#panes", has_text="Vote undone").wait_for()
    assert len(lab.store.votes) == before and not lab.store.preferences.find("Who is there?")[0]


def test_the_walk_goes_from_vote_to_vote_and_over_a_reload(page: Any, lab: Lab) -> None:
    first, second, *_ = prompts()
    press(page, "n")
    page.locator(".asked-prompt", has_text=first).wait_for()
    page.locator("#ballot").wait_for()
    press(page, "t")
    page.locator(".asked-prompt", has_text=second).wait_for()
    page.locator(".last-vote", has_text=NAMES[0]).wait_for()
    page.locator("#ballot").wait_for()
    answers = page.locator(".pane-text").all_inner_texts()
    page.reload()
    compare(page)
    page.locator(".asked-prompt", has_text=second).wait_for()
    page.locator("#ballot").wait_for()
    assert page.locator(".pane-text").all_inner_texts() == answers
    assert page.locator(".pane-name").all_inner_texts() == ["hidden until you vote"] * 3
    press(page, "1")
    page.locator(".walk", has_text="2 of").wait_for()
    judged = lab.votes.judged([BASE, *NAMES])
    assert judged == {first: 1, second: 1}
    kept = {vote.prompt[-1].content: vote for _, vote in lab.store.votes.rows()}
    assert [text.strip() for text in answers] == list(kept[second].answers)


def test_two_windows_at_once_keep_to_their_own(page: Any, chromium: Any, address: str, lab: Lab) -> None:
    other = opened(chromium, address)
    assert other.locator(".pane").count() == 0
    ask(page, "Mine alone?")
    ask(other, "Theirs and theirs only?")
    for window, key in ((page, "1"), (other, "3")):
        window.locator("#ballot").wait_for()
        press(window, key)
        window.locator(".pane.won .proof").wait_for()
    kept = {vote.prompt[-1].content: vote for _, vote in lab.store.votes.rows()}
    assert kept["Mine alone?"].winner == 0 and kept["Theirs and theirs only?"].winner == 2
    assert not set(kept["Mine alone?"].answers) & set(kept["Theirs and theirs only?"].answers)
    other.close()


def test_on_a_phone_nothing_is_wider_than_the_screen_and_panes_lie_below_each_other(page: Any) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    ask(page, "Well?")
    page.locator("#ballot").wait_for()
    places = [pane.bounding_box() for pane in page.locator(".pane").all()]
    assert len({round(place["x"]) for place in places}) == 1
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.locator("#ballot").bounding_box()["y"] < 844, "the buttons stay in sight"
