"""The adapters that llama.cpp holds in memory, each converted from its safetensors and kept as a file in the cache."""

from __future__ import annotations

import hashlib
import json
import math
from collections import OrderedDict
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from chatlab.engines.base import Variant
from chatlab.engines.folder import AdapterFiles, Stamp, read_adapter, stamp
from chatlab.engines.gguf_export.cached import kept
from chatlab.engines.llamacpp.runtime import Runtime
from chatlab.errors import EngineError

if TYPE_CHECKING:
    from chatlab.models.base import Base

MOST = 12
"""Adapters in memory; every one of them makes a change of adapter a little slower."""

Key = tuple[Path, Stamp]


@dataclass(frozen=True, slots=True)
class ActiveAdapter:
    """The base, or an adapter at a strength, as a reply is computed with it. Equal ones may share cached prefixes."""

    file: Path | None = None
    """The adapter's GGUF; None for the base."""
    sha256: str = ""
    """Hash of the safetensors that it was converted from."""
    strength: float = 1.0


class AdapterCache:
    """Least-recently-used cache of adapters by their files. The caller holds a lock."""

    def __init__(self, base: Base, runtime: Runtime, cache: Path) -> None:
        self._base = base
        self._runtime = runtime
        self._cache = cache
        self._known: dict[Key, ActiveAdapter] = {}
        self._loaded: OrderedDict[Path, int] = OrderedDict()

    def find(self, variant: Variant) -> ActiveAdapter:
        """The variant, in memory when this returns.

        Raises AdapterMissing, AdapterDamaged, WrongBase, or EngineError for one that llama.cpp cannot take.
        """
        if variant.folder is None:
            return ActiveAdapter()
        if not math.isfinite(variant.strength):
            raise EngineError(f"An adapter cannot have strength {variant.strength}.", "Choose a number.")
        key = (variant.folder, stamp(variant.folder))
        if key not in self._known:
            self._known[key] = self._converted(variant.folder)
        adapter = replace(self._known[key], strength=variant.strength)
        self.activate(adapter)
        return adapter

    def activate(self, adapter: ActiveAdapter) -> tuple[int, float] | None:
        """The runtime's number of it, and its strength; None for the base. One that was evicted is loaded again."""
        if adapter.file is None:
            return None
        if adapter.file not in self._loaded:
            self._loaded[adapter.file] = self._runtime.load(adapter.file)
            while len(self._loaded) > MOST:
                self._runtime.free(self._loaded.popitem(last=False)[1])
        self._loaded.move_to_end(adapter.file)
        return self._loaded[adapter.file], adapter.strength

    def unload(self, folder: Path) -> None:
        for key in [key for key in self._known if key[0] == folder]:
            file = self._known.pop(key).file
            used = any(adapter.file == file for adapter in self._known.values())
            if file is not None and file in self._loaded and not used:
                self._runtime.free(self._loaded.pop(file))

    def _converted(self, folder: Path) -> ActiveAdapter:
        files = read_adapter(folder, self._base.fingerprint).checked()
        to = self._cache / f"{self._base.fingerprint[:16]}-{_identity(files)}.lora.gguf"

        def write(path: Path) -> None:
            from chatlab.engines.gguf_export.files import write_adapter  # brings torch, which takes seconds

            write_adapter(self._base, files, path)

        return ActiveAdapter(kept(to, write), files.sha256)


def _identity(files: AdapterFiles) -> str:
    """Hash of weights and config together: the same matrices under another alpha are another adapter."""
    identity = json.dumps([files.sha256, files.config.for_peft(files.modules)], sort_keys=True)
    return hashlib.sha256(identity.encode()).hexdigest()[:32]
