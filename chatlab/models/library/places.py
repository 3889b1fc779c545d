"""Where other programs keep their models, by operating system and environment."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

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
        text = self.environment.get(name, "").strip()
        if not text:
            return None
        return self.home / text[2:] if text.startswith("~/") else Path(text)

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
    yield Place(GPT4ALL, machine.local_data / "nomic.ai" / "GPT4All")
    yield Place(GPT4ALL, machine.home / ".cache" / "gpt4all")


def _hub(machine: Machine) -> Iterator[Path]:
    """As huggingface_hub reads its environment."""
    own = machine.given("HF_HUB_CACHE") or machine.given("HUGGINGFACE_HUB_CACHE")
    above = machine.given("XDG_CACHE_HOME") or machine.home / ".cache"
    yield own or (machine.given("HF_HOME") or above / "huggingface") / "hub"
    yield machine.home / ".cache" / "huggingface" / "hub"


def _ollama(machine: Machine) -> Iterator[Path]:
    if named := machine.given("OLLAMA_MODELS"):
        yield named
    yield machine.home / ".ollama" / "models"
    if machine.system == "linux":  # the service's own home; distributions choose others
        for place in (
            "usr/share/ollama/.ollama/models",
            "var/lib/ollama/.ollama/models",
            "var/lib/ollama/models",
            "var/lib/ollama",
            "var/snap/ollama/common/models",
        ):
            yield machine.root / place


def _lm_studio(machine: Machine) -> Iterator[Path]:
    yield machine.home / ".lmstudio" / "models"
    yield machine.home / ".cache" / "lm-studio" / "models"  # before 0.3.5


def _jan(machine: Machine) -> Iterator[Path]:
    for data in (machine.data / "Jan" / "data", machine.home / "jan"):
        yield data / "llamacpp" / "models"
        yield data / "models"  # before 0.6
