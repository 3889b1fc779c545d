"""One home for the tests of a file, and the tab over it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from chatlab.engines.fake import FakeEngine
from chatlab.lab import Lab
from chatlab.settings import Settings
from chatlab.ui.train.tab import TrainTab
from tests.support.page import built
from tests.support.train import ended


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, base_folder: Any, cache_folder: Any) -> Iterator[Lab]:
    """One home for all tests of this file, so that the trainer process starts once."""
    home = tmp_path_factory.mktemp("train")
    lab = Lab(Settings(home=home, base=base_folder, cache_folder=cache_folder), open_engine=lambda base: FakeEngine())
    yield lab
    lab.close()


@pytest.fixture
def tab(lab: Lab) -> TrainTab:
    return built(TrainTab(lab), "train")


@pytest.fixture
def stage(lab: Lab) -> None:
    """The starter pack, loaded, and no run under way."""
    lab.demonstrations.load_pack("stage")
    ended(lab)
