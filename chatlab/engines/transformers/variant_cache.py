"""The base and its adapters in memory: for each a model with the adapter built in, on weights shared with the base."""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

from torch import nn
from transformers import PreTrainedModel

from chatlab.engines.base import Variant
from chatlab.engines.folder import Stamp, read_adapter, stamp
from chatlab.engines.transformers.decode import CausalModel
from chatlab.engines.transformers.merge import with_adapter
from chatlab.errors import EngineError

MEMORY = 1 << 29
"""Bytes that adapters in memory may take together, the base not counted. The one used last always stays."""

Key = tuple[Path, Stamp, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedVariant:
    """A variant that can answer at once."""

    model: CausalModel
    sha256: str = ""
    """Hash of the adapter weights in it; empty for the base."""
    bytes: int = 0
    """Memory that it takes beyond the base."""


class VariantCache:
    """Least-recently-used cache by adapter and strength. A reply keeps its own variant, evicted or not."""

    def __init__(self, base: PreTrainedModel, fingerprint: str, memory: int = MEMORY) -> None:
        self._model = base
        self._base = LoadedVariant(model=CausalModel(base))
        self._fingerprint = fingerprint
        self._memory = memory
        self._loaded: OrderedDict[Key, LoadedVariant] = OrderedDict()
        self._lock = threading.Lock()
        self._loading = threading.Lock()

    def get(self, variant: Variant) -> LoadedVariant:
        """Raises AdapterMissing, AdapterDamaged, WrongBase, or EngineError for a strength that is not finite."""
        if variant.folder is None:
            return self._base
        if not math.isfinite(variant.strength):
            raise EngineError(f"An adapter cannot speak at strength {variant.strength}.", "Choose a number.")
        key = (variant.folder, stamp(variant.folder), variant.strength)
        if found := self._find(key):
            return found
        with self._loading:  # one at a time, and once: who waited here finds it loaded
            return self._find(key) or self._keep(key, self._load(variant.folder, variant.strength))

    def unload(self, folder: Path) -> None:
        with self._lock:
            for key in [key for key in self._loaded if key[0] == folder]:
                del self._loaded[key]

    def forget_prompts(self) -> None:
        with self._lock:
            loaded = [self._base, *self._loaded.values()]
        for one in loaded:
            one.model.forget_prompts()

    def _find(self, key: Key) -> LoadedVariant | None:
        with self._lock:
            if found := self._loaded.get(key):
                self._loaded.move_to_end(key)
            return found

    def _keep(self, key: Key, loaded: LoadedVariant) -> LoadedVariant:
        with self._lock:
            for old in [old for old in self._loaded if old[0] == key[0] and old[1] != key[1]]:
                del self._loaded[old]  # its files have changed
            self._loaded[key] = loaded
            while len(self._loaded) > 1 and sum(one.bytes for one in self._loaded.values()) > self._memory:
                self._loaded.popitem(last=False)
        return loaded

    def _load(self, folder: Path, strength: float) -> LoadedVariant:
        files = read_adapter(folder, self._fingerprint)
        model = with_adapter(self._model, files, strength)
        return LoadedVariant(model=CausalModel(model), sha256=files.sha256, bytes=own_bytes(model, self._model))


def own_bytes(model: nn.Module, base: nn.Module) -> int:
    """Bytes of the parameters that are not the base's own."""
    shared = {p.data_ptr() for p in base.parameters()}
    return sum(p.nbytes for p in model.parameters() if p.data_ptr() not in shared)
