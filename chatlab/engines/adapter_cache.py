"""The voices in memory: for each a network with its adapter built in, on weights shared with the base."""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

from torch import nn
from transformers import PreTrainedModel

from chatlab.engines.base import Voice
from chatlab.engines.build import with_adapter
from chatlab.engines.folder import Stamp, read_adapter, stamp
from chatlab.engines.llama import agrees, plain
from chatlab.engines.reading import AnyNetwork, LlamaNetwork, Network
from chatlab.errors import EngineError

MEMORY = 1 << 29
"""Bytes that resident voices may take together, the base not counted. The last used one always stays."""

Key = tuple[Path, Stamp, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedAdapter:
    """A voice ready to speak."""

    network: Network
    sha256: str = ""
    """Of the adapter weights in it."""
    bytes: int = 0
    """What it takes beyond the base."""


class AdapterCache:
    """Voices by adapter and strength, the least used dropped first. A reply holds on to its own, dropped or not."""

    def __init__(self, base: PreTrainedModel, fingerprint: str, memory: int = MEMORY) -> None:
        self._model = base
        self._small_llama = plain(base) and agrees(base)
        self._base = LoadedAdapter(network=self._network(base))
        self._fingerprint = fingerprint
        self._memory = memory
        self._voices: OrderedDict[Key, LoadedAdapter] = OrderedDict()
        self._lock = threading.Lock()
        self._loading = threading.Lock()

    def get(self, voice: Voice) -> LoadedAdapter:
        """Raises AdapterMissing, AdapterDamaged, WrongBase."""
        if voice.folder is None:
            return self._base
        if not math.isfinite(voice.strength):
            raise EngineError(f"An adapter cannot have strength {voice.strength}.", "Choose a number.")
        key = (voice.folder, stamp(voice.folder), voice.strength)
        if found := self._find(key):
            return found
        with self._loading:  # one at a time, and once: who waited here finds it made
            return self._find(key) or self._keep(key, self._make(voice.folder, voice.strength))

    def forget(self, folder: Path) -> None:
        with self._lock:
            for key in [key for key in self._voices if key[0] == folder]:
                del self._voices[key]

    def forget_prompts(self) -> None:
        with self._lock:
            voices = [self._base, *self._voices.values()]
        for voice in voices:
            voice.network.forget_prompts()

    def _find(self, key: Key) -> LoadedAdapter | None:
        with self._lock:
            if found := self._voices.get(key):
                self._voices.move_to_end(key)
            return found

    def _keep(self, key: Key, made: LoadedAdapter) -> LoadedAdapter:
        with self._lock:
            for old in [old for old in self._voices if old[0] == key[0] and old[1] != key[1]]:
                del self._voices[old]  # its files have changed
            self._voices[key] = made
            while len(self._voices) > 1 and sum(voice.bytes for voice in self._voices.values()) > self._memory:
                self._voices.popitem(last=False)
        return made

    def _make(self, folder: Path, strength: float) -> LoadedAdapter:
        files = read_adapter(folder, self._fingerprint)
        model = with_adapter(self._model, files, strength)
        return LoadedAdapter(network=self._network(model), sha256=files.sha256, bytes=own_bytes(model, self._model))

    def _network(self, model: PreTrainedModel) -> Network:
        return LlamaNetwork(model) if self._small_llama and plain(model) else AnyNetwork(model)


def own_bytes(model: nn.Module, base: nn.Module) -> int:
    """Bytes of the parameters that are not the base's own."""
    shared = {p.data_ptr() for p in base.parameters()}
    return sum(p.nbytes for p in model.parameters() if p.data_ptr() not in shared)
