"""An adapter's folder as an engine reads it: bytes read once, hashed, and used only when everything agrees."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
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
_PAIRED = re.compile(rf"{re.escape(PREFIX)}(.+)\.lora_(?:embedding_)?A(?:\.weight)?")
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
    modules: tuple[str, ...] = ()
    """Once `checked`: names of the base's modules that have a pair, as the weights' names say."""
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """Once `checked`: shape (out, in) of each linear one of them."""

    def check_weights(self) -> None:
        """Raises AdapterDamaged for weights that are no safetensors file, or not those that the config describes."""
        self.checked()

    def checked(self) -> AdapterFiles:
        """With what the weights' names and shapes say, and the config spelled out for these modules.

        Raises AdapterDamaged for weights that are no safetensors file, or not those that the config describes.
        """
        try:
            tensors = parse_header(BytesIO(self.weights), len(self.weights), _LARGEST_HEADER)
            modules = tuple(dict.fromkeys(found[1] for name in tensors if (found := _PAIRED.fullmatch(name))))
            config = self.config.spelled_out(modules)
            _check_tensors(tensors, config)
        except ValueError as error:
            name = self.folder.name
            raise AdapterDamaged(f"{WEIGHTS} of adapter {name!r} is refused: {error}.", AGAIN) from error
        pairs = {module: [tensors.get(f"{PREFIX}{module}.lora_{part}.weight") for part in "AB"] for module in modules}
        shapes = {module: (b.shape[0], a.shape[1]) for module, (a, b) in pairs.items() if a and b}
        return replace(self, config=config, modules=modules, shapes=shapes)


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
    files = files_of(folder, config_bytes, weights)
    if init := files.config.init_lora_weights:
        raise AdapterDamaged(
            f"Adapter {folder.name!r} was trained on a base that {init} had changed first, so it is no plain LoRA.",
            "Bring it on the Train tab or with `chatlab adapters add`, which work out the plain LoRA.",
        )
    return files


def files_of(folder: Path, config_bytes: bytes, weights: bytes) -> AdapterFiles:
    """What was read of a folder. Raises AdapterDamaged for a config that cannot be used."""
    try:
        config = AdapterConfig.read(config_bytes)
    except ValueError as error:
        raise AdapterDamaged(
            f"{CONFIG} of adapter {folder.name!r} is refused: {error}.",
            "Only LoRA adapters as Chatlab and PEFT write them can be used.",
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
