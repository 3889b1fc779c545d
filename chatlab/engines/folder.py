"""An adapter's folder as an engine reads it: bytes read once, hashed, and used only when everything agrees."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from chatlab.adapters.card import check_base, read_card
from chatlab.adapters.manifest import (
    AGAIN,
    CARD,
    CONFIG,
    LARGEST,
    LARGEST_JSON,
    MANIFEST,
    WEIGHTS,
    damaged,
    read_file,
    read_manifest,
)
from chatlab.engines.adapter_config import AdapterConfig
from chatlab.errors import AdapterDamaged, AdapterMissing
from chatlab.models.weights import Tensor, parse_header

Stamp = tuple[int, ...]
"""Changes when the files do."""

PREFIX = "base_model.model."
"""PEFT's prefix of the names of the base's modules."""

_LARGEST_HEADER = 1 << 24
"""Bytes of the names and shapes of a hundred thousand matrices."""
_LONGEST_NAME = 500
_FLOATS = {"F64", "F32", "F16", "BF16"}


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterFiles:
    """An adapter's weights and config, read and checked."""

    folder: Path
    sha256: str
    """Hash of `weights`."""
    weights: bytes
    """The bytes of a safetensors file."""
    config: AdapterConfig

    def check_weights(self) -> None:
        """Raises AdapterDamaged for weights that are no safetensors file, or not those that the config describes."""
        try:
            _check_tensors(parse_header(BytesIO(self.weights), len(self.weights), _LARGEST_HEADER), self.config)
        except ValueError as error:
            name = self.folder.name
            raise AdapterDamaged(f"{WEIGHTS} of adapter {name!r} is refused: {error}.", AGAIN) from error


def stamp(folder: Path) -> Stamp:
    """The folder's stamp; cheap enough for every reply. Raises AdapterMissing."""
    found: list[int] = []
    for name in (WEIGHTS, CONFIG):
        try:
            status = (folder / name).stat()
        except (OSError, ValueError) as error:
            raise AdapterMissing(
                f"Adapter {folder.name!r} is not there any more.", "Choose another one, or the base."
            ) from error
        found += (status.st_ino, status.st_mtime_ns, status.st_size)
    return tuple(found)


def read_adapter(folder: Path, fingerprint: str | None) -> AdapterFiles:
    """Raises AdapterMissing, AdapterDamaged, and WrongBase if `fingerprint` is not of the base it was made for.

    A folder without card and manifest, such as a checkpoint of a run under way, is taken as it is; they count once it
    is published.
    """
    stamp(folder)
    if fingerprint is not None and (folder / CARD).exists():
        check_base(read_card(folder), fingerprint)
    manifest = read_manifest(folder) if (folder / MANIFEST).exists() else {}
    config_bytes, weights = (_checked_bytes(folder, name, manifest) for name in (CONFIG, WEIGHTS))
    try:
        config = AdapterConfig.read(config_bytes)
    except ValueError as error:
        raise AdapterDamaged(
            f"{CONFIG} of adapter {folder.name!r} is refused: {error}.",
            "Only plain LoRA adapters as Chatlab and PEFT write them can be used.",
        ) from error
    return AdapterFiles(folder=folder, sha256=_sha256(weights), weights=weights, config=config)


def _checked_bytes(folder: Path, name: str, manifest: dict[str, str]) -> bytes:
    data = read_file(folder, name, LARGEST_JSON if name == CONFIG else LARGEST)
    if manifest and manifest[name] != _sha256(data):
        raise damaged(folder, name)
    return data


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _check_tensors(tensors: Mapping[str, Tensor], config: AdapterConfig) -> None:
    """Raises ValueError unless every number is a fraction and every A and B has a partner and its module's rank."""
    for name, tensor in tensors.items():
        if len(name) > _LONGEST_NAME:
            raise ValueError(f"{name[:80]!r} is followed by {len(name) - 80:,} more letters")
        if tensor.dtype not in _FLOATS:
            raise ValueError(f"{name[:80]!r} is stored as {tensor.dtype[:20]!r}")
        if not tensor.size:
            raise ValueError(f"{name[:80]!r} is empty")
        for part, other, axis in (("A", "B", 0), ("B", "A", 1)):
            module, found, _ = name.partition(f".lora_{part}.weight")
            if not found:
                continue
            if f"{module}.lora_{other}.weight" not in tensors:
                raise ValueError(f"{name[:80]!r} is unexpected: its partner is missing")
            rank = config.rank(module.removeprefix(PREFIX))
            if len(tensor.shape) != 2 or tensor.shape[axis] != rank:
                raise ValueError(f"{name[:80]!r} has the shape {tensor.shape}, which is not of rank {rank:,}")
