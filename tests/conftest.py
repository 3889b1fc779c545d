"""What tests share: a home of their own, the base model, the real data where it is at hand."""

from __future__ import annotations

import faulthandler
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chatlab.settings import PACKAGE, Settings

# On a busy machine two threads that wait for each other are a hundred times slower than one. Before torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# A page that is built without a server would ask another machine whether gradio is the newest, in a thread that the
# process waits for at its end. The app itself switches that off.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"

SHARED = PACKAGE.parent.parent / "shared"

TESTS = Path(__file__).resolve().parent
LONG = (
    "training/test_process",
    "ui/train/test_runs",
    "lab/test_lab",
    "lab/test_trouble",
    "lab/test_switch",
    "models/library/test_download",
    "training",
    "lab",
    "ui",
    "template",
    "web",
    "experiments",
    "engines",
    "models",
)
"""Files and folders that take long, the longest first: one begun last keeps a process busy when the others are done."""


@pytest.fixture(autouse=True, scope="session")
def few_unseen_prompts() -> Iterator[None]:
    """Every adapter that a test publishes is asked the unseen prompts, beside the test: four instead of forty."""
    from chatlab.lab.runs import unseen_evaluator

    before, unseen_evaluator.MOST = unseen_evaluator.MOST, 4
    yield
    unseen_evaluator.MOST = before


@pytest.hookimpl(tryfirst=True)  # before tests are chosen by their marks
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark by folder. In each of several processes that test side by side, the long files come first."""
    for item in items:
        folder = item.path.relative_to(TESTS).parts[0]
        if folder in ("browser", "slow"):
            item.add_marker(folder)
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: _place_in_order(item.path.relative_to(TESTS).as_posix()))


def pytest_unconfigure() -> None:
    """A process that does not end a minute after its tests says which threads it waits for."""
    faulthandler.dump_traceback_later(60, file=sys.__stderr__ or sys.stderr)


def _place_in_order(file: str) -> int:
    return next((number for number, name in enumerate(LONG) if file.startswith(name)), len(LONG))


@pytest.fixture(scope="session")
def base_folder() -> Path:
    """The embedded base model."""
    folder = PACKAGE / "models" / "embedded"
    return folder if (folder / "config.json").exists() else SHARED / "data" / "models" / "pilot"


@pytest.fixture(scope="session")
def cache_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache that all tests share, so that the KL reference is sampled once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def settings(tmp_path: Path, base_folder: Path, cache_folder: Path) -> Settings:
    """Settings with an empty home."""
    return Settings(home=tmp_path / "home", base=base_folder, cache_folder=cache_folder)


@pytest.fixture
def with_player(settings: Settings, tmp_path: Path) -> Settings:
    """Settings with an adapter "player" that was never trained, of the embedded base; not live."""
    from chatlab.adapters import Adapters  # brings numpy, which asks how many threads it may have as it is imported
    from chatlab.models.base import Base
    from chatlab.records import AdapterCard
    from tests.support.lora import make_adapter

    made = make_adapter(settings.base, tmp_path / "made", seed=1)
    card = AdapterCard(name="player", base=Base.open(settings.base).fingerprint, base_name="embedded")
    Adapters(settings.adapters).publish(made, card)
    return settings


@pytest.fixture(scope="session")
def forked() -> Any:
    """Trials of GGUF files, the seconds spared that a process takes to import everything."""
    pytest.importorskip("llama_cpp", reason="llama.cpp is not installed")
    from tests.support.hostile.gguf import Forked

    return Forked()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real templates, tokenizers and data sets, which are not part of the project."""
    folder = SHARED / "data"
    if not folder.exists():
        pytest.skip("the real data sets are not beside this checkout")
    return folder
