"""Takes the README's picture: the app as it starts, its usual model, the starter pack, one run with default settings.

    python scripts/picture.py [--to docs/train.png] [--home FOLDER]

It needs Playwright and a Chromium, as the browser tests do. With a FOLDER that holds a run already, no further one is
made.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from browser import installed

ROOT = Path(__file__).resolve().parents[1]
WIDTH, HEIGHT = 1440, 1000
LONG = 1_800_000
"""Milliseconds that a run and its measurements may take."""


@contextlib.contextmanager
def app(home: Path) -> Iterator[str]:
    """The app as a process of its own, and its address."""
    environment = {name: value for name, value in os.environ.items() if name != "CHATLAB_BASE"}
    environment |= {"CHATLAB_HOME": str(home), "CHATLAB_PORT": "7961"}
    command = [sys.executable, str(ROOT / "app.py"), "--no-browser"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield next(found.group() for line in process.stdout if (found := re.search(r"http://\S+", line)))
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(60)


def take(page: Any, address: str, to: Path) -> None:
    """A run on the starter pack if there is none yet, and the Train tab once everything is measured."""
    page.set_default_timeout(LONG)
    page.goto(address)
    page.locator("#composer textarea").wait_for()
    starter = page.get_by_role("button", name="Load the starter pack")
    if starter.is_visible():
        starter.click()
        page.get_by_text("40 demonstrations added").wait_for()
    page.get_by_role("tab", name="Train").click()
    page.locator("#train-sentence").get_by_text("demonstrations").wait_for()
    if not page.locator("#bar .chip.live:not(.unknown)").is_visible():
        page.locator("#preflight").get_by_text("The trainer is ready").wait_for()
        page.locator("#retrain").click()
    page.locator("#bar .chip.live:not(.unknown)").wait_for()
    page.locator(".manners table").wait_for()
    show = page.get_by_role("button", name="Show answers")
    if show.is_visible():
        show.click()
    page.get_by_role("button", name="Show more").wait_for()
    page.wait_for_timeout(3000)  # plots are drawn after their data is there
    page.screenshot(path=to)


def main() -> None:
    from playwright.sync_api import sync_playwright

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--to", type=Path, default=ROOT / "docs" / "train.png")
    parser.add_argument("--home", type=Path, help="where store and adapters are; else one for this once")
    given = parser.parse_args()
    with contextlib.ExitStack() as stack:
        home = given.home or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        address = stack.enter_context(app(home))
        playwright = stack.enter_context(sync_playwright())
        browser = playwright.chromium.launch(executable_path=installed(), args=["--no-sandbox"])
        view = {"width": WIDTH, "height": HEIGHT}
        take(browser.new_page(viewport=view, color_scheme="light"), address, given.to)
        browser.close()


if __name__ == "__main__":
    main()
