"""The models that came with the app."""

from __future__ import annotations

from chatlab.models.library.entry import ModelEntry, id_of
from chatlab.models.validation.validator import EMBEDDED

PLACE = "Chatlab"


def included() -> list[ModelEntry]:
    """The best one first."""
    if not (EMBEDDED / "config.json").is_file():
        return []
    size = sum(file.stat().st_size for file in EMBEDDED.glob("*.safetensors"))
    return [
        ModelEntry(
            id=id_of("included embedded"),
            name="embedded",
            title="embedded",
            source="included",
            place=PLACE,
            path=EMBEDDED,
            bytes=size,
            kind="folder",
        )
    ]
