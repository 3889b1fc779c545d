"""Finds a Chromium for the browser tests, or gets one: the one on the path, Playwright's own, Debian's."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome", "msedge")


def installed() -> str | None:
    """Path of a Chromium that the tests can drive."""
    return os.environ.get("CHATLAB_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)


def from_debian() -> bool:
    """Where we may, from the distribution's packages."""
    if not shutil.which("apt-get") or os.geteuid() != 0:
        return False
    commands = (["apt-get", "update", "-q"], ["apt-get", "install", "-qy", "chromium", "fonts-liberation"])
    return all(subprocess.run(command, stdout=subprocess.DEVNULL).returncode == 0 for command in commands)


def from_playwright() -> bool:
    """Playwright's own build, in its own cache."""
    return subprocess.run([sys.executable, "-m", "playwright", "install", "chromium"]).returncode == 0


if __name__ == "__main__":
    if not (installed() or from_debian() or from_playwright()):
        print("No Chromium: the browser tests will be skipped. Install one, or set CHATLAB_CHROMIUM to its path.")
