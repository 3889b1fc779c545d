"""One browser for all tests of this folder, and the site that it opens."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from chatlab.lab import Lab
from tests.support.browser import browser
from tests.support.served import site


@pytest.fixture(scope="package")
def chromium() -> Iterator[Any]:
    """A real browser, driven by Playwright. A test that asks for it is skipped where there is none.

    Not for the whole session: while it is open, no test of its thread can run an event loop.
    """
    with browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def address(lab: Lab) -> Iterator[str]:
    """Of a site over the lab of a file."""
    with site(lab, lab.settings) as address:
        yield address
