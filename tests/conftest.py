"""What tests share: a home of their own, the base model, the real data where it is at hand."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chatlab.settings import PACKAGE, Settings
from tests.browser import browser

# On a busy machine two threads that wait for each other are a hundred times slower than one. Before torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

SHARED = PACKAGE.parent.parent / "shared"


@pytest.fixture(scope="session")
def base_folder() -> Path:
    """The embedded base model."""
    folder = PACKAGE / "models" / "embedded"
    return folder if (folder / "config.json").exists() else SHARED / "data" / "models" / "pilot"


@pytest.fixture(scope="session")
def cache_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache that all tests share, so that what the base wrote for its leash is written once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def settings(tmp_path: Path, base_folder: Path, cache_folder: Path) -> Settings:
    """Settings with an empty home."""
    return Settings(home=tmp_path / "home", base=base_folder, cache_folder=cache_folder)


@pytest.fixture(scope="session")
def forked() -> Any:
    """Trials of GGUF files, the seconds spared that a process takes to import everything."""
    pytest.importorskip("llama_cpp", reason="llama.cpp is not installed")
    from tests.trials import Forked

    return Forked()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """A real browser, driven by Playwright. A test that asks for it is skipped where there is none."""
    with (
        browser() as opened
    ):  # not for the whole session: while it is open, no test of its thread can run an event loop
        yield opened


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real templates, tokenizers and data sets, which are not part of the project."""
    folder = SHARED / "data"
    if not folder.exists():
        pytest.skip("the real data sets are not beside this checkout")
    return folder
