"""What a model, a person or a file said is words and nothing else: hostile answers, in a real browser."""

from __future__ import annotations

import ast
import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import TimeoutError, expect

from chatlab.citations import RetrievedPassage
from chatlab.conversation import Conversation
from chatlab.engines.fake import FakeEngine
from chatlab.lab import Lab
from chatlab.records import BASE
from chatlab.settings import Settings
from chatlab.ui.compare.asking import choose
from tests.support.hostile.answers import ELSEWHERE, answers
from tests.support.page import publish_adapter
from tests.support.served import site

ROOT = Path(__file__).resolve().parents[2]
DIAGRAM = (
    "Sure.&#13;&#13;&#96;&#96;&#96;mermaid&#13;graph TD&#13;"
    "A[&#34;&#60;b data-act='delete' data-conversation='1'>Show more&#60;/b>&#34;]&#13;&#96;&#96;&#96;&#13;"
)
LINK = "Well met.&#13;&#13;[more](javascript:window.hacked=1)"
PAIRS = 15
"""Questions and answers of one conversation: as many as the page shows at once."""
WATCH = ROOT / "tests" / "support" / "hostile" / "watch_answers.js"


class Spoken:
    """What the engine says next."""

    def __init__(self) -> None:
        self.text = "well"


@pytest.fixture(scope="module")
def spoken() -> Spoken:
    return Spoken()


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, base_folder: Path, spoken: Spoken) -> Iterator[Lab]:
    home = tmp_path_factory.mktemp("hostile")
    engine = FakeEngine(script=lambda *_: spoken.text, context=10_000_000)
    lab = Lab(Settings(home=home, base=base_folder, cache_folder=home / "cache"), open_engine=lambda base: engine)
    publish_adapter(lab, "player")
    choose(lab, [BASE, "player"])
    yield lab
    lab.close()


class Watched:
    """A page, what it asked for elsewhere, and what its script refused."""

    def __init__(self, page: Any, address: str) -> None:
        self.page = page
        self.address = address
        self.outside: list[str] = []
        self.clicked = 0
        own = (address, "data:", "blob:")
        page.set_default_timeout(120_000)
        page.on("request", lambda asked: self._asked(asked.url) if not asked.url.startswith(own) else None)
        page.on("request", lambda asked: self._asked(asked.url) if _draws(asked.url) else None)
        page.on("console", lambda told: self._asked(told.text) if "Not an element" in told.text else None)
        page.on("popup", lambda opened: self._asked(f"window {opened.url}"))
        page.add_init_script(path=WATCH)
        page.goto(address)
        page.wait_for_selector(".welcome")

    def _asked(self, what: str) -> None:
        self.outside.append(what)

    def press(self, **said: object) -> None:
        """As a button of the app would."""
        self.page.evaluate(
            """(said) => {
                const box = document.querySelector("#bridge-chat :is(textarea, input)");
                box.value = JSON.stringify(said);
                box.dispatchEvent(new Event("input", { bubbles: true }));
                setTimeout(() => document.querySelector("#bridge-chat-go").click(), 0);
            }""",
            said,
        )

    def open(self, conversation: int, turns: int) -> None:
        self.press(act="open", conversation=conversation)
        self.page.wait_for_selector(f"#conversation[data-shown='{conversation}']", state="attached")
        expect(self.page.locator("#transcript .turn")).to_have_count(turns, timeout=120_000)

    def harmless(self, within: str = "#transcript .body *") -> None:
        """Nothing that is drawn can do anything, and a click on all of it does nothing."""
        assert self.page.evaluate("wrongIn(document)") == []
        done = self.page.evaluate("clickAll", within)
        assert not done["changed"]
        self.clicked += done["clicked"]
        assert self.page.evaluate("refused") == [] and self.outside == []
        assert urlsplit(self.page.url)[:2] == urlsplit(self.address)[:2]


def _draws(url: str) -> bool:
    return any(name in url for name in ("mermaid", "katex", "KaTeX", "auto-render", "Diagram-"))


@pytest.fixture(scope="module")
def watched(chromium: Any, lab: Lab) -> Iterator[Watched]:
    with site(lab, lab.settings) as address:
        page = chromium.new_page(viewport={"width": 1440, "height": 900})
        yield Watched(page, address)
        page.close()


def kept(lab: Lab, texts: Sequence[str]) -> int:
    """A conversation in which these were answered, one of them with sources; its title is hostile too."""
    talk = Conversation()
    for number, text in enumerate(texts):
        passage = RetrievedPassage.of("0" * 64, text, 0, len(text), text)
        talk = talk.grown(role="user", content=text or "-")
        given = (passage, passage) if number % 5 == 4 else ()
        talk = talk.grown(role="assistant", content=text or "-", sources=given)
    chat = lab.chat.new(texts[0])
    lab.chat.change(chat, lambda _: replace(talk, title=texts[-1], system=texts[0]))
    return chat


def state(lab: Lab) -> tuple[object, ...]:
    chats = {number: (chat.title, chat.turns) for number, chat in lab.chat.conversations(limit=10_000)}
    return chats, lab.demonstrations.find()[0], lab.variants.live, len(lab.store.votes)


def all_at(watched: Watched, lab: Lab, texts: Sequence[str]) -> None:
    for at in range(0, len(texts), PAIRS):
        some = texts[at : at + PAIRS]
        chat = kept(lab, some)
        before = state(lab)
        watched.open(chat, 2 * len(some))
        watched.harmless("#transcript :is(.body, .sources) *")
        assert state(lab) == before


def streamed(watched: Watched, lab: Lab, spoken: Spoken, text: str) -> None:
    """Said by the engine, shown as it grows."""
    spoken.text = text
    watched.press(act="new")
    watched.page.wait_for_selector(".welcome")
    watched.page.fill("#composer textarea", text)
    watched.page.keyboard.press("Enter")
    watched.page.wait_for_selector("#transcript .answer")
    watched.harmless()


def compared(watched: Watched, spoken: Spoken, text: str) -> None:
    spoken.text = text
    page = watched.page
    page.get_by_role("tab", name="Compare").click()
    panes = page.locator("#panes .pane-text")
    for _ in range(5):  # the tab draws itself anew as it opens, and what was typed before that with it
        page.locator("#compare-prompt textarea").fill(text)
        page.locator("#compare-ask").click()
        with contextlib.suppress(TimeoutError):
            panes.nth(1).wait_for(timeout=20_000)
            break
    expect(panes).to_have_count(2, timeout=120_000)
    expect(page.locator("#panes .caret")).to_have_count(0, timeout=120_000)
    watched.harmless("#panes .pane-text *")
    page.get_by_role("tab", name="Chat").click()


def demonstrated(watched: Watched, lab: Lab, text: str) -> None:
    """On the Demonstrations tab, with what is learned of it."""
    number = lab.demonstrations.write(f"{text} {len(text)}", text or "-", tags=("tag<b data-act=new>",))
    page = watched.page
    page.get_by_role("tab", name="Demonstrations").click()
    shown = page.locator(".desk-name", has_text=f"Demonstration {number} ")
    for _ in range(5):  # the list draws itself anew as the tab opens, and the first row may still be another
        page.locator("#demonstration-rows label").first.click()
        with contextlib.suppress(TimeoutError):
            shown.wait_for(timeout=20_000)
            break
    expect(shown).to_be_visible()
    page.locator("#mask-picture .html").wait_for()
    before = state(lab)
    watched.harmless("#mask-picture .html *")
    assert state(lab) == before
    page.get_by_role("tab", name="Chat").click()


def noticed(watched: Watched, text: str) -> None:
    """In a message in the corner of the page."""
    watched.press(act=text)
    watched.page.wait_for_selector(".toast-message-text")
    assert "unknown request" in watched.page.inner_text(".toast-message-text >> nth=-1")
    watched.harmless(".toast-message-text *")
    watched.page.evaluate("document.querySelectorAll('[data-testid=toast-close]').forEach((one) => one.click())")
    watched.page.wait_for_selector(".toast-message-text", state="detached")


def test_a_carriage_return_in_an_answer_draws_no_diagram_with_a_button_that_deletes(
    watched: Watched, lab: Lab, spoken: Spoken
) -> None:
    chat = kept(lab, [DIAGRAM])
    before = state(lab)
    watched.open(chat, 2)
    assert "```mermaid" in watched.page.inner_text("#transcript .answer .body")
    watched.page.locator("#transcript .answer .body").get_by_text("Show more").last.click()
    watched.harmless()
    assert state(lab) == before
    streamed(watched, lab, spoken, DIAGRAM)


def test_a_carriage_return_in_an_answer_makes_no_link_to_a_script(watched: Watched, lab: Lab, spoken: Spoken) -> None:
    watched.open(kept(lab, [LINK]), 2)
    assert watched.page.locator("#transcript .body a[href]").count() == 0
    assert "more" in watched.page.inner_text("#transcript .answer .body")
    watched.harmless()
    streamed(watched, lab, spoken, LINK)


def test_what_is_written_like_a_button_of_the_app_is_not_obeyed(watched: Watched, lab: Lab) -> None:
    """Though it stood in the page: a diagram, a formula or a component of Gradio's may one day put it there."""
    watched.open(kept(lab, ["well"]), 2)
    before = state(lab)
    forged = "<b data-act=delete data-conversation={} data-key=guessed>x</b><i class=key-d data-fold=side>y</i>"
    watched.page.evaluate(
        "(html) => document.querySelector('#transcript').insertAdjacentHTML('beforeend', html)",
        forged.format(min(before[0])) + '<div class="encoded-html" title="guessed.PGI+eDwvYj4="></div>',
    )
    done = watched.page.evaluate("clickAll", "#transcript > :is(b, i)")
    assert done == {"clicked": 2, "changed": False} and state(lab) == before
    assert watched.page.inner_text("#transcript > .html") == ""
    watched.page.evaluate("document.querySelectorAll('#transcript > :is(b, i, .html)').forEach((one) => one.remove())")


def test_a_link_of_an_answer_leads_out_of_the_page_by_http_alone(watched: Watched, lab: Lab) -> None:
    text = f"[a]({ELSEWHERE}) [b](mailto:a@b.example) [c](ftp://x.example) <https://ok.example> [d](/?c=1)"
    watched.open(kept(lab, [text]), 2)
    links = watched.page.locator("#transcript .answer .body a")
    assert links.evaluate_all("all => all.map((a) => [a.href, a.target, a.rel])") == [
        [f"{ELSEWHERE}/", "_blank", "noopener noreferrer nofollow"],
        ["https://ok.example/", "_blank", "noopener noreferrer nofollow"],
    ]


def test_a_hundred_hostile_answers_can_only_be_read(watched: Watched, lab: Lab, spoken: Spoken) -> None:
    """`make sweep` has six thousand more."""
    attacks = answers(105, seed=15)
    all_at(watched, lab, attacks)
    for text in attacks[:2]:
        streamed(watched, lab, spoken, text)
        noticed(watched, text)
    compared(watched, spoken, attacks[2])
    demonstrated(watched, lab, attacks[3])


@pytest.mark.slow
@pytest.mark.parametrize("part", range(12))
def test_some_thousand_hostile_answers_can_only_be_read(part: int, watched: Watched, lab: Lab, spoken: Spoken) -> None:
    attacks, few = answers(500, seed=151 + 2 * part), answers(10, seed=152 + 2 * part)
    watched.clicked = 0
    all_at(watched, lab, attacks)
    for at, text in enumerate(few):
        if at % 4 == 0:
            streamed(watched, lab, spoken, text)
        elif at % 4 == 1:
            noticed(watched, text)
        elif at % 4 == 2:
            compared(watched, spoken, text)
        else:
            demonstrated(watched, lab, text)
    print(
        f"{len(attacks)} answers read back, {len(few)} streamed, compared, demonstrated or quoted in notices;"
        f" {watched.clicked} elements clicked, nothing ran, asked for anything or changed anything"
    )


def test_gradio_is_given_no_text_of_ours_for_markdown_or_html() -> None:
    """HTML goes through `html_block`, messages in a corner through `warn` and `inform`."""
    for file in (ROOT / "chatlab").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            called = ast.unparse(node.func)
            if called in ("gr.Warning", "gr.Info", "gr.Success"):
                assert file.name == "shell.py", f"{file}:{node.lineno}"
            if called == "gr.Error":  # for other programs, and around events; no handler of the page raises it
                assert file.name in ("app.py", "page.py", "failures.py"), f"{file}:{node.lineno}"
            assert called not in ("gr.HTML", "gr.Chatbot", "gr.JSON"), f"{file}:{node.lineno}"
