"""What a run leaves, and a folder to publish it in."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from chatlab.adapters import Adapters
from chatlab.adapters.manifest import CONFIG, WEIGHTS


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """What a run leaves: a PEFT folder."""
    folder = tmp_path / "run" / "adapter"
    folder.mkdir(parents=True)
    (folder / CONFIG).write_text(json.dumps({"peft_type": "LORA", "r": 8, "target_modules": ["q_proj"]}))
    (folder / WEIGHTS).write_bytes(bytes(range(256)) * 8000)
    return folder


@pytest.fixture
def shelf(tmp_path: Path) -> Adapters:
    return Adapters(tmp_path / "adapters")
