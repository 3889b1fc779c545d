"""The models that came with the app: SmolLM2, where its package is installed, and the embedded base."""

from __future__ import annotations

from collections.abc import Iterator

from chatlab.models.library.entry import ModelEntry, id_of
from chatlab.models.validation.validator import EMBEDDED
from chatlab.settings import smollm2_file

PLACE = "Chatlab"


def included() -> list[ModelEntry]:
    """The best one first."""
    return list(_included())


def _included() -> Iterator[ModelEntry]:
    if file := smollm2_file():
        yield ModelEntry(
            id=id_of("included smollm2"),
            name=file.stem,
            title=file.stem,
            source="included",
            place=PLACE,
            path=file,
            bytes=file.stat().st_size,
            kind="gguf",
            licence="apache-2.0",
            about="Made for chat, in English: the smallest model that is worth talking to.",
        )
    if (EMBEDDED / "config.json").is_file():
        yield ModelEntry(
            id=id_of("included embedded"),
            name="embedded",
            title="embedded",
            source="included",
            place=PLACE,
            path=EMBEDDED,
            bytes=sum(file.stat().st_size for file in EMBEDDED.glob("*.safetensors")),
            kind="folder",
            licence="apache-2.0",
            about="Continues text and knows nothing; trains in seconds, to see what training does.",
        )
