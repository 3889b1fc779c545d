"""Where other programs keep their models: by operating system, environment, and what their own settings say.

As these programs find their folders themselves: huggingface_hub 2, Ollama (`envconfig`), LM Studio 0.3, llama.cpp
(`fs_get_cache_directory`; since 2026 it downloads into the Hugging Face cache), Jan (`core/app`), GPT4All 3.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from chatlab.errors import BaseRefused
from chatlab.models.files import read_file

Arrangement = Literal["hub", "ollama", "files"]
"""How a folder is laid out: the hub's cache (blobs, refs, snapshots), Ollama's manifests and blobs, or plain files."""

HUB, OLLAMA, LM_STUDIO, LLAMA_CPP, JAN, GPT4ALL = (
    "Hugging Face cache",
    "Ollama",
    "LM Studio",
    "llama.cpp cache",
    "Jan",
    "GPT4All",
)


LARGEST = 1 << 20
"""Bytes of another program's settings."""


@dataclass(frozen=True, slots=True)
class Place:
    """One folder of one program. It need not exist."""

    program: str
    folder: Path
    arrangement: Arrangement = "files"


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What decides where programs keep their files."""

    home: Path
    environment: Mapping[str, str]
    system: str = sys.platform
    """`linux`, `darwin` or `win32`."""
    root: Path = Path("/")
    """Of the file system."""

    @classmethod
    def this(cls, environment: Mapping[str, str] = os.environ) -> Machine:
        return cls(home=Path.home(), environment=environment)

    def given(self, name: str) -> Path | None:
        """A folder that an environment variable names; None where it is empty or not set."""
        return self.folder(self.environment.get(name, ""))

    def folder(self, text: str) -> Path | None:
        """A folder as somebody wrote it; None for a relative one, which depends on where a program was started."""
        text = text.strip().strip("\"'")
        path = self.home / text[2:] if text.startswith(("~/", "~\\")) else Path(text)
        return path if path.is_absolute() else None

    @property
    def data(self) -> Path:
        """Of a user's programs, as Qt, Electron and Tauri have it."""
        if self.system == "win32":
            return self.given("APPDATA") or self.home / "AppData" / "Roaming"
        if self.system == "darwin":
            return self.home / "Library" / "Application Support"
        return self.given("XDG_DATA_HOME") or self.home / ".local" / "share"

    @property
    def local_data(self) -> Path:
        """The same, but for Windows, where it is not synchronised between machines."""
        if self.system == "win32":
            return self.given("LOCALAPPDATA") or self.home / "AppData" / "Local"
        return self.data

    @property
    def cache(self) -> Path:
        """Of a user's programs."""
        if self.system == "win32":
            return self.local_data
        if self.system == "darwin":
            return self.home / "Library" / "Caches"
        return self.given("XDG_CACHE_HOME") or self.home / ".cache"


def places(machine: Machine) -> list[Place]:
    """Every folder worth a look, whether or not it is there; none twice."""
    found: dict[Path, Place] = {}
    for place in _places(machine):
        found.setdefault(place.folder, place)
    return list(found.values())


def _places(machine: Machine) -> Iterator[Place]:
    for folder in _hub(machine):
        yield Place(HUB, folder, "hub")
    for folder in _ollama(machine):
        yield Place(OLLAMA, folder, "ollama")
    for folder in _lm_studio(machine):
        yield Place(LM_STUDIO, folder)
    yield Place(LLAMA_CPP, machine.given("LLAMA_CACHE") or machine.cache / "llama.cpp")
    for folder in _jan(machine):
        yield Place(JAN, folder)
    for folder in _gpt4all(machine):
        yield Place(GPT4ALL, folder)


def _hub(machine: Machine) -> Iterator[Path]:
    own = machine.given("HF_HUB_CACHE") or machine.given("HUGGINGFACE_HUB_CACHE")
    above = machine.given("XDG_CACHE_HOME") or machine.home / ".cache"
    yield own or (machine.given("HF_HOME") or above / "huggingface") / "hub"
    yield machine.home / ".cache" / "huggingface" / "hub"


def _ollama(machine: Machine) -> Iterator[Path]:
    if named := machine.given("OLLAMA_MODELS"):
        yield named
    yield machine.home / ".ollama" / "models"
    if machine.system == "linux":  # of the service, whose home differs between distributions
        for place in (
            "usr/share/ollama/.ollama/models",
            "var/lib/ollama/.ollama/models",
            "var/lib/ollama/models",
            "var/lib/ollama",
            "var/snap/ollama/common/models",
        ):
            yield machine.root / place


def _lm_studio(machine: Machine) -> Iterator[Path]:
    """Its home moves with a pointer file; its models with a setting."""
    pointed = machine.folder(_text(machine.home / ".lmstudio-home-pointer"))
    for home in (pointed, machine.home / ".lmstudio", machine.home / ".cache" / "lm-studio"):
        if home is not None:
            if moved := machine.folder(_setting(home / "settings.json", "downloadsFolder")):
                yield moved
            yield home / "models"


def _jan(machine: Machine) -> Iterator[Path]:
    root = machine.data / "Jan"
    moved = machine.given("JAN_DATA_FOLDER") or machine.folder(_setting(root / "settings.json", "data_folder"))
    packed = machine.home / ".var" / "app" / "ai.jan.Jan" / "data" / "Jan" / "data"  # as a Flatpak
    for data in (moved, root / "data", packed, machine.home / "jan"):  # the last before 0.5
        if data is not None:
            yield data / "llamacpp" / "models"
            yield data / "models"


def _gpt4all(machine: Machine) -> Iterator[Path]:
    config = machine.data if machine.system == "win32" else machine.given("XDG_CONFIG_HOME") or machine.home / ".config"
    said = re.search(r"^modelPath=(.+)$", _text(config / "nomic.ai" / "GPT4All.ini"), re.MULTILINE)
    if moved := machine.folder(said[1] if said else ""):
        yield moved
    yield machine.local_data / "nomic.ai" / "GPT4All"
    yield machine.home / ".var" / "app" / "io.gpt4all.gpt4all" / "data" / "nomic.ai" / "GPT4All"
    yield machine.home / ".cache" / "gpt4all"  # of its Python package


def _setting(file: Path, key: str) -> str:
    """One text of a JSON object; empty where there is none."""
    try:
        value = json.loads(_text(file))[key]
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""
    return value if isinstance(value, str) else ""


def _text(file: Path) -> str:
    """Empty for a file that is not there or cannot be read."""
    try:
        return read_file(file, LARGEST).decode(errors="replace")
    except BaseRefused:
        return ""
