"""A model that can be opened, and what its headers say of it: plain values."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

Source = Literal["included", "found", "added", "hub"]
"""Came with the app, lies in another program's folder, was added by its path, or was downloaded from the hub."""
Kind = Literal["gguf", "folder"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelEntry:
    """One model in the list. Its texts come from file names: escape them."""

    id: str
    """Twelve hex digits; the same as long as the model stays where it is."""
    name: str
    """As its program calls it: `llama3.2:1b`, `Qwen/Qwen3-0.6B`, a file's name without `.gguf`."""
    source: Source
    place: str
    """Whose folder it lies in, in words: "Ollama", "Hugging Face cache"."""
    path: Path
    """What `ModelHost` opens: a folder with config.json and safetensors, or a GGUF file, never a link to one."""
    bytes: int
    """Of the weights, on the disk."""
    kind: Kind
    revision: str = ""
    """Commit or branch at the hub, where known."""
    problem: str = ""
    """Why it cannot be opened, in a sentence, where its name and place tell already."""
    also: tuple[str, ...] = ()
    """Further names of the same file."""
    title: str = ""
    """The name, with what tells it from others of that name."""
    about: str = ""
    """What it is good for, in a sentence, where somebody wrote one."""
    licence: str = ""
    """Name of its licence, where its source tells it."""
    licence_file: Path | None = None
    """Text of its licence, where its program keeps one beside it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFacts:
    """What a model's headers say of it. No weights were read."""

    parameters: int = 0
    quantisation: str = ""
    """"Q4_K_M", "bfloat16"; by how most of the weights are stored."""
    context: int = 0
    """Tokens that it was built for."""
    licence: str = ""
    """As the model names it: "apache-2.0"; empty where it says nothing. From outside: escape it."""
    template: bool = False
    """Whether it brings a chat template."""
    architecture: str = ""
    """`llama`, `qwen3`, `gemma3`."""
    chat_bytes: int = 0
    """Memory for chat, estimated: see `memory.chat_bytes`."""
    training_bytes: int = 0
    """Memory for training, estimated: see `memory.training_bytes`. 0 where it cannot be trained."""
    unusable: str = ""
    """Why it cannot be talked to, and what would work instead; empty where it can."""
    untrainable: str = ""
    """Why it cannot be trained, and what would work instead; empty where it can."""

    @property
    def lacks_template(self) -> bool:
        """Whether a chat template, which can be given to it, is all that it lacks."""
        return self.parameters > 0 and not self.template


def id_of(place: Path | str) -> str:
    """The id of the model at this place: a path as its program has it, links not followed."""
    return hashlib.sha256(str(place).encode(errors="surrogateescape")).hexdigest()[:12]


def told_apart(entries: Iterable[ModelEntry]) -> list[ModelEntry]:
    """The same models with titles that differ: by place, then revision or folder, where two have one name."""
    found = [replace(entry, title=entry.name) for entry in entries]
    for number in range(3):
        titles = Counter(entry.title.casefold() for entry in found)
        found = [e if titles[e.title.casefold()] == 1 else _with_more(e, number) for e in found]
    return found


def _with_more(entry: ModelEntry, number: int) -> ModelEntry:
    more = (entry.place, entry.revision[:12] or entry.path.parent.name, entry.id)[number]
    return replace(entry, title=f"{entry.title.removesuffix(')')}, {more})" if number else f"{entry.title} ({more})")
