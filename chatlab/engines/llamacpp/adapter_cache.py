"""The adapters that llama.cpp holds in memory, each made from its safetensors and kept as a file in the cache."""

from __future__ import annotations

import hashlib
import json
import math
from collections import OrderedDict
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from chatlab.engines.base import Voice
from chatlab.engines.folder import AdapterFiles, Stamp, read_adapter, stamp
from chatlab.engines.gguf_export.files import kept, write_adapter
from chatlab.engines.llamacpp.runtime import Runtime
from chatlab.errors import EngineError

if TYPE_CHECKING:
    from chatlab.models.base import Base

MOST = 12
"""Adapters in memory; every one of them makes a change of voice a little slower."""

Garment = tuple[Path, Stamp]


@dataclass(frozen=True, slots=True)
class Worn:
    """A voice as it is worn by a reply. Replies of equal ones may share what was read."""

    file: Path | None = None
    """The GGUF made of it; None for the base."""
    sha256: str = ""
    """Of the safetensors that it was made from."""
    strength: float = 1.0


class Wardrobe:
    """Adapters by their files, the least used let go first. The caller holds a lock."""

    def __init__(self, base: Base, runtime: Runtime, cache: Path) -> None:
        self._base = base
        self._runtime = runtime
        self._cache = cache
        self._known: dict[Garment, Worn] = {}
        self._held: OrderedDict[Path, int] = OrderedDict()

    def find(self, voice: Voice) -> Worn:
        """In memory when this returns.

        Raises AdapterMissing, AdapterDamaged, WrongBase, or EngineError for one that llama.cpp cannot take.
        """
        if voice.folder is None:
            return Worn()
        if not math.isfinite(voice.strength):
            raise EngineError(f"An adapter cannot have strength {voice.strength}.", "Choose a number.")
        key = (voice.folder, stamp(voice.folder))
        if key not in self._known:
            self._known[key] = self._made(voice.folder)
        worn = replace(self._known[key], strength=voice.strength)
        self.wear(worn)
        return worn

    def wear(self, worn: Worn) -> tuple[int, float] | None:
        """What the runtime is told. One that was let go meanwhile is loaded again: a reply keeps to its voice."""
        if worn.file is None:
            return None
        if worn.file not in self._held:
            self._held[worn.file] = self._runtime.load(worn.file)
            while len(self._held) > MOST:
                self._runtime.free(self._held.popitem(last=False)[1])
        self._held.move_to_end(worn.file)
        return self._held[worn.file], worn.strength

    def forget(self, folder: Path) -> None:
        for key in [key for key in self._known if key[0] == folder]:
            file = self._known.pop(key).file
            if file is not None and file in self._held and not any(worn.file == file for worn in self._known.values()):
                self._runtime.free(self._held.pop(file))

    def _made(self, folder: Path) -> Worn:
        files = read_adapter(folder, self._base.fingerprint)
        to = self._cache / f"{self._base.fingerprint[:16]}-{_identity(files)}.lora.gguf"
        return Worn(kept(to, lambda path: write_adapter(self._base, files, path)), files.sha256)


def _identity(files: AdapterFiles) -> str:
    """Weights and config together: the same matrices under another alpha are another adapter."""
    told = json.dumps([files.sha256, files.config.for_peft], sort_keys=True)
    return hashlib.sha256(told.encode()).hexdigest()[:32]
