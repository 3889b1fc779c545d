"""A real browser for tests: the Chromium that is at hand, headless; and the app in it."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from chatlab.lab import Lab
from tests.support.served import site

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome", "msedge")
QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def chromium() -> str | None:
    """Its path; None leaves the choice to Playwright."""
    return os.environ.get("CHATLAB_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)


@contextlib.contextmanager
def browser() -> Iterator[object]:
    """A Playwright browser. The test is skipped where there is none."""
    from playwright.sync_api import Error, sync_playwright

    with sync_playwright() as playwright:
        try:
            opened = playwright.chromium.launch(executable_path=chromium(), args=list(QUIET))
        except Error as error:
            pytest.skip(f"no Chromium to drive: {str(error).splitlines()[0]}")
        try:
            yield opened
        finally:
            opened.close()


@contextlib.contextmanager
def opened(lab: Lab, chromium: Any, tab: str = "Chat") -> Iterator[Any]:
    """A page of the app at one of its tabs, for all tests of a file: to load it takes longer than most of them."""
    with site(lab, lab.settings) as address:
        page = chromium.new_page(viewport={"width": 1440, "height": 1000})
        page.set_default_timeout(60_000)
        page.goto(address)
        page.locator("#composer textarea").wait_for()
        if tab != "Chat":
            page.get_by_role("tab", name=tab).click()
        yield page
        page.close()
