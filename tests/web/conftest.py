"""The site that most files of this folder knock at."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from chatlab.lab import Lab
from tests.support.served import site


@pytest.fixture(scope="module")
def address(lab: Lab) -> Iterator[str]:
    """Of a site over the lab of a file."""
    with site(lab, lab.settings) as address:
        yield address
