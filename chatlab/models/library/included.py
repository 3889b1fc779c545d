"""The models that came with the app: SmolLM2, where its package is installed, and the embedded base."""

from __future__ import annotations

from chatlab.models.library.entry import ModelEntry, id_of
from chatlab.models.validation.validator import EMBEDDED
from chatlab.settings import smollm2_file

PLACE = "Chatlab"


def included() -> list[ModelEntry]:
    """The best one first."""
    entries = []
    if file := smollm2_file():
        size = file.stat().st_size
        entries.append(
            ModelEntry(
                id=id_of("smollm2"),
                name=file.stem,
                source="included",
                place=PLACE,
                path=file,
                bytes=size,
                kind="gguf",
                about="Made for chat, in English: the smallest model that is worth talking to.",
                licence="apache-2.0",
            )
        )
    if (EMBEDDED / "config.json").is_file():
        size = sum(file.stat().st_size for file in EMBEDDED.glob("*.safetensors"))
        entries.append(
            ModelEntry(
                id=id_of("included embedded"),
                name="embedded",
                title="embedded",
                source="included",
                place=PLACE,
                path=EMBEDDED,
                bytes=size,
                kind="folder",
                about="Continues text and knows nothing; trains in seconds, to see what training does.",
                licence="apache-2.0",
            )
        )
    return entries
