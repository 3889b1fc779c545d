"""The Guide in a real browser, as narrow as a telephone: a button puts the person where the action begins."""

from __future__ import annotations

from typing import Any

from chatlab.engines.fake import FakeEngine
from chatlab.lab import Lab
from chatlab.settings import Settings
from tests.support.served import site


def open_guide(page: Any) -> None:
    """By its tab, or by the menu of those that there is no room for."""
    tab = page.locator("button[role=tab]:has-text('Guide')").first
    if not tab.is_visible():
        page.locator(".overflow-menu > button").first.click()
        tab = page.locator(".overflow-dropdown button:has-text('Guide')").first
    tab.click()
    page.wait_for_selector("#checklist .one-step")


def test_a_button_of_the_guide_puts_the_person_where_the_action_begins(settings: Settings, chromium: Any) -> None:
    lab = Lab(settings, open_engine=lambda base: FakeEngine())
    with site(lab, settings) as url:
        page = chromium.new_page(viewport={"width": 390, "height": 844})
        broken: list[str] = []
        page.on("pageerror", lambda error: broken.append(str(error)))
        page.goto(url)
        open_guide(page)
        assert page.locator("#checklist .one-step").count() == 8
        assert page.evaluate("document.documentElement.scrollWidth") == 390
        page.click("#symptoms button:has-text('Write a demonstration')")
        page.wait_for_selector("#demonstration-box-0 textarea:focus")
        open_guide(page)
        page.click("#checklist button:has-text('Import a data set')")
        page.wait_for_selector("#import .label-wrap.open")
        open_guide(page)
        page.click("#symptoms button:has-text('Set the system message')")
        page.wait_for_selector("#system textarea:focus")
        assert not broken
    lab.close()
