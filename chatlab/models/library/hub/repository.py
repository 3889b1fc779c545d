"""A repository of the hub: its files and their sizes, and which of them make a model. Nothing is fetched here."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from chatlab.errors import BaseRefused, InputError
from chatlab.models.files import INDEX, LARGEST, TEMPLATES
from chatlab.models.layout import PICKLES, WEIGHTS
from chatlab.models.library.found.search import SHARD

MOST_FILES = 20_000
_NAME = re.compile(r"[\w.+() -]{1,200}", re.ASCII)
_ID = re.compile(r"(?:[A-Za-z0-9][\w.-]{0,95}/)?[A-Za-z0-9][\w.-]{0,95}", re.ASCII)
_SHARD = re.compile(r"model-\d{5}-of-\d{5}\.safetensors")
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, slots=True, kw_only=True)
class HubFile:
    """One file of a repository."""

    name: str
    """Its path in the repository."""
    size: int
    sha256: str = ""
    """Hex digest of what is kept in large file storage."""
    blob: str = ""
    """Git's hash of the others."""

    @property
    def base_name(self) -> str:
        return PurePosixPath(self.name).name


@dataclass(frozen=True, slots=True, kw_only=True)
class Repository:
    """One revision of a repository."""

    id: str
    commit: str
    revision: str
    """The branch, tag or commit that was asked for; empty for the newest."""
    licence: str
    files: tuple[HubFile, ...]

    @property
    def ggufs(self) -> tuple[HubFile, ...]:
        """GGUF files to choose one from, the smallest first; parts of files and mmproj are left out."""
        found = (file for file in self.files if file.name.lower().endswith(".gguf"))
        whole = (f for f in found if not SHARD.fullmatch(f.base_name) and "mmproj" not in f.base_name.lower())
        return tuple(sorted(whole, key=lambda file: (file.size, file.name)))

    @property
    def safetensors(self) -> tuple[HubFile, ...]:
        """The weights at the repository's top, whole or in shards."""
        top = {file.name: file for file in self.files}
        if WEIGHTS in top:
            return (top[WEIGHTS],)
        return tuple(file for name, file in top.items() if INDEX in top and _SHARD.fullmatch(name))


def check_id(repository: str) -> str:
    """The id without an address before it. Raises InputError."""
    text = repository.strip().removeprefix("https://huggingface.co/").rstrip("/")
    if not _ID.fullmatch(text) or "--" in text or ".." in text or text.endswith(".git"):
        raise InputError(f"{repository[:100]!r} is no model id.", "One looks like Qwen/Qwen3-0.6B: ORGANISATION/NAME.")
    return text


def wanted(repository: Repository, file: str = "") -> tuple[HubFile, ...]:
    """What is fetched: one GGUF file, or safetensors with config, tokenizer and template. Never pickles, never code.

    Small files come first, so that a model that cannot be used is known before its weights are fetched. Raises
    InputError where a GGUF has to be chosen, BaseRefused where the repository holds nothing that can be used.
    """
    if file:
        return (_gguf(repository, file),)
    weights = repository.safetensors
    if not weights:
        raise _nothing(repository)
    small = list(_small(repository))
    names = {one.name for one in small}
    for needed in ("config.json", "tokenizer.json"):
        if needed not in names:
            raise BaseRefused(f"{repository.id} has no {needed}.", "Choose a model that transformers opens.")
    for one in small:
        largest = LARGEST.get(one.base_name, LARGEST["chat_template.jinja"])
        if one.size > largest:
            raise BaseRefused(
                f"{one.name} of {repository.id} has {one.size:,} bytes; {largest:,} are the most.", "Choose another."
            )
    return (*small, *weights)


def read_repository(told: Mapping[str, Any], revision: str) -> Repository:
    """What the downloading process found out. Raises ValueError, KeyError or TypeError for what makes no sense."""
    commit = str(told["commit"])
    if not _COMMIT.fullmatch(commit):
        raise ValueError(f"{commit[:60]!r} is no commit")
    files = tuple(
        HubFile(name=str(f["name"]), size=int(f["size"]), sha256=str(f["sha256"]), blob=str(f["blob"]))
        for f in told["files"][:MOST_FILES]
        if _is_safe(str(f["name"])) and type(f["size"]) is int and f["size"] >= 0
    )
    return Repository(
        id=check_id(str(told["id"])), commit=commit, revision=revision, licence=str(told["licence"])[:80], files=files
    )


def _is_safe(name: str) -> bool:
    """A relative path whose parts are file names on every system."""
    parts = name.split("/")
    return len(parts) <= 8 and all(_NAME.fullmatch(part) and part.strip(". ") for part in parts)


def _gguf(repository: Repository, file: str) -> HubFile:
    matches = [f for f in repository.ggufs if file in (f.name, f.base_name)]
    matches = matches or [f for f in repository.ggufs if file.lower() in f.base_name.lower()]  # "Q4_K_M"
    if len(matches) == 1:
        return matches[0]
    if SHARD.fullmatch(PurePosixPath(file).name):
        raise BaseRefused(f"{file} is one of several parts.", "Choose a GGUF that is one file: " + _list(repository))
    problem = f"{len(matches)} files match" if matches else "There is no GGUF"
    raise InputError(f"{problem} {file!r} in {repository.id}.", f"There are: {_list(repository)}.")


def _nothing(repository: Repository) -> BaseRefused | InputError:
    if repository.ggufs:
        return InputError(
            f"{repository.id} holds {len(repository.ggufs)} GGUF files; choose one.", f"{_list(repository)}."
        )
    if pickles := sorted(f.name for f in repository.files if PurePosixPath(f.name).suffix in PICKLES):
        return BaseRefused(
            f"{repository.id} keeps its weights in {pickles[0]}, a pickle, which can run any program as it is opened.",
            "Look for a version of the model with safetensors or as GGUF.",
        )
    return BaseRefused(f"{repository.id} holds no model.safetensors and no GGUF in one file.", "Choose another model.")


def _small(repository: Repository) -> Iterator[HubFile]:
    for file in repository.files:
        folder, _, name = file.name.rpartition("/")
        is_template = folder == TEMPLATES and name.endswith(".jinja")
        if is_template or (not folder and name in LARGEST):
            yield file


def _list(repository: Repository) -> str:
    return ", ".join(f"{file.name} ({gigabytes(file.size)})" for file in repository.ggufs[:40])


def gigabytes(size: int) -> str:
    """As people read it: "1.3 GB", "98 MB"."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{max(1, round(size / 1e6))} MB" if size else "0 MB"
