"""One browser for all tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.browser import browser


@pytest.fixture(scope="package")
def chromium() -> Iterator[Any]:
    """A real browser, driven by Playwright. A test that asks for it is skipped where there is none.

    Not for the whole session: while it is open, no test of its thread can run an event loop.
    """
    with browser() as opened:
        yield opened
