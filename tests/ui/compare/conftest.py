"""A Compare tab whose adapters say who they are."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from chatlab.engines.fake import FakeEngine
from chatlab.lab import Lab
from chatlab.settings import Settings
from chatlab.ui.compare.tab import CompareTab
from tests.support.compare import says_its_name
from tests.support.page import built


@pytest.fixture
def lab(settings: Settings) -> Iterator[Lab]:
    lab = Lab(settings, open_engine=lambda base: FakeEngine(says_its_name))
    yield lab
    lab.close()


@pytest.fixture
def tab(lab: Lab) -> CompareTab:
    return built(CompareTab(lab, shuffle=list.reverse), "compare")
