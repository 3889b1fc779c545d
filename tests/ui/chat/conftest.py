"""A chat whose model always says the same."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from chatlab.engines.fake import FakeEngine
from chatlab.lab import Lab
from chatlab.settings import Settings
from chatlab.ui.chat.handlers import ChatHandlers
from chatlab.ui.chat.replies import Replies
from tests.support.chat import FOX, Page


@pytest.fixture
def lab(settings: Settings) -> Iterator[Lab]:
    lab = Lab(settings, open_engine=lambda base: FakeEngine(script=lambda prompt, variant, sampling: FOX))
    yield lab
    lab.close()


@pytest.fixture
def handlers(lab: Lab) -> ChatHandlers:
    return ChatHandlers(lab, Replies())


@pytest.fixture
def page(handlers: ChatHandlers) -> Page:
    return Page(handlers, handlers.load())
