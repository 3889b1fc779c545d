"""A small hub, and downloads from it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from chatlab.models.library.hub.download import Download
from chatlab.models.library.hub.downloaded import Downloads
from tests.support.hub import HubServer, hub_server


@pytest.fixture
def hub() -> Iterator[HubServer]:
    with hub_server() as server:
        yield server


@pytest.fixture
def downloads(tmp_path: Path) -> Downloads:
    return Downloads(tmp_path / "home" / "models" / "hub")


@pytest.fixture
def start(hub: HubServer, downloads: Downloads) -> Iterator[Callable[..., Download]]:
    begun: list[Download] = []

    def begin(name: str = "org/tiny", revision: str = "", file: str = "", **environment: str) -> Download:
        begun.append(Download(downloads, name, revision, file, hub.environment | environment))
        return begun[-1]

    yield begin
    for one in begun:
        one.cancel()
