"""What every tab of the page keeps to, in a real browser. One added to `TABS` is tried here with no further line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chatlab.engines.fake import FakeEngine
from chatlab.lab import Lab
from chatlab.settings import Settings
from chatlab.web.app import TABS
from tests.support.served import site

SCREENS = ((1440, "light"), (390, "dark"))


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory, base_folder: Path) -> Iterator[str]:
    settings = Settings(home=tmp_path_factory.mktemp("home"), base=base_folder)
    lab = Lab(settings, open_engine=lambda base: FakeEngine())
    with site(lab, settings) as url:
        yield url
    lab.close()


@pytest.fixture(scope="module", params=SCREENS, ids=["desk, light", "telephone, dark"])
def page(request: pytest.FixtureRequest, chromium: Any, address: str) -> Iterator[Any]:
    """The app, as wide as a desk or a telephone, with what it complains of in `page.complaints`."""
    width, scheme = request.param
    context = chromium.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page = context.new_page()
    page.complaints = []
    page.on("pageerror", lambda error: page.complaints.append(str(error)))
    page.on("console", lambda message: page.complaints.append(message.text) if message.type == "error" else None)
    page.goto(address)
    page.wait_for_selector("#composer textarea")
    yield page
    context.close()


def open_tab(page: Any, label: str) -> None:
    """By its button, or by the menu of those that there is no room for."""
    tab = page.locator(f"button[role=tab]:has-text('{label}')").first
    if not tab.is_visible():
        page.locator(".overflow-menu > button").first.click()
        tab = page.locator(f".overflow-dropdown button:has-text('{label}')").first
    tab.click()


@pytest.mark.parametrize("name", TABS)
def test_a_tab_opens_fits_the_window_and_nothing_complains(page: Any, name: str) -> None:
    open_tab(page, TABS[name][0])
    page.wait_for_function("name => document.querySelector(`#tab-${name}`)?.offsetParent !== null", arg=name)
    page.wait_for_function("() => document.querySelectorAll('.generating, .pending').length === 0")
    width = page.viewport_size["width"]
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    unnamed = page.evaluate(
        """name => [...document.querySelectorAll(`#tab-${name} button, #tab-${name} input, #tab-${name} textarea`)]
          .filter(e => e.offsetParent && !(e.innerText || e.ariaLabel || e.title || e.placeholder
                       || e.labels?.length || e.closest("label"))).map(e => e.outerHTML.slice(0, 120))""",
        name,
    )
    assert not unnamed, "whoever cannot see the page has no name for these"
    assert not page.complaints


def test_a_button_of_the_guide_puts_the_person_where_the_action_begins(page: Any) -> None:
    open_guide(page)
    assert page.locator("#checklist .one-step").count() == 8
    page.click("#symptoms button:has-text('Write a demonstration')")
    page.wait_for_selector("#demonstration-box-0 textarea:focus")
    open_guide(page)
    page.click("#checklist button:has-text('Import a data set')")
    page.wait_for_selector("#import .label-wrap.open")
    open_guide(page)
    page.click("#symptoms button:has-text('Set the system message')")
    page.wait_for_selector("#system textarea:focus")
    assert not page.complaints


def open_guide(page: Any) -> None:
    open_tab(page, "Guide")
    page.wait_for_selector("#checklist .one-step")
