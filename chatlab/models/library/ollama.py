"""Ollama's folder: `manifests/HOST/NAMESPACE/MODEL/TAG`, each a small JSON that names blobs by their sha256.

A manifest is an OCI image manifest. Its layer of the kind `application/vnd.ollama.image.model` is a GGUF file, under
`blobs/sha256-HASH`, with no ending (https://github.com/ollama/ollama, package `manifest`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chatlab.errors import BaseRefused
from chatlab.models.files import read_file
from chatlab.models.library.entry import ModelEntry, id_of
from chatlab.models.library.places import Place

LARGEST = 4 << 20
"""Bytes of a manifest."""
MOST = 5000
"""Manifests that are read."""
KIND = "application/vnd.ollama.image."
_DIGEST = re.compile(r"sha256[:-]([0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class Layer:
    """A blob that a manifest names."""

    kind: str
    """What follows `application/vnd.ollama.image.`: model, template, license, adapter, projector, params."""
    digest: str
    """sha256, hex."""
    size: int


def models(place: Place) -> Iterator[ModelEntry]:
    """One for each manifest that has a model on this machine. Those that run at Ollama's own servers have none."""
    root = place.folder / "manifests"
    for file in _manifests(root):
        layers = _layers(file)
        weights = [layer for layer in layers if layer.kind == "model"]
        tensors = [layer for layer in layers if layer.kind == "tensor"]
        if not weights and not tensors:
            continue
        first = (weights or tensors)[0]
        path = place.folder / "blobs" / f"sha256-{first.digest}"
        licences = [layer for layer in layers if layer.kind == "license"]
        yield ModelEntry(
            id=id_of(file),
            name=_name(file.relative_to(root)),
            source="found",
            place=place.program,
            path=path,
            bytes=sum(layer.size for layer in weights or tensors),
            kind="gguf",
            problem=_problem(path, layers, weights),
            licence=place.folder / "blobs" / f"sha256-{licences[0].digest}" if licences else None,
        )


def _problem(path: Path, layers: list[Layer], weights: list[Layer]) -> str:
    if not weights:
        return "Ollama keeps its weights tensor by tensor, which is read by Ollama alone. Use the model's GGUF file."
    if len(weights) > 1:
        return "Ollama keeps its weights in several files. Use the model's GGUF file."
    if any(layer.kind == "adapter" for layer in layers):
        return "It is a model with an adapter of Ollama's on top. Choose the model below it."
    try:
        whole = path.stat().st_size == weights[0].size
    except OSError:
        return "Its file has gone. Pull it with Ollama again."
    return "" if whole else "Its file is not whole. Pull it with Ollama again."


def _manifests(root: Path) -> Iterator[Path]:
    """Files four levels down, as `ollama list` reads them."""
    left = MOST
    waiting = [(root, 0)]
    while waiting and left > 0:
        here, depth = waiting.pop(0)
        try:
            items = sorted(here.iterdir())
        except OSError:
            continue
        for item in items:
            if item.name.startswith("."):
                continue
            if depth == 3 and item.is_file():
                left -= 1
                yield item
            elif depth < 3 and item.is_dir():
                waiting.append((item, depth + 1))


def _name(place: Path) -> str:
    """As `ollama list` writes it: host and namespace left out where they are the usual ones."""
    host, namespace, model, tag = place.parts
    parts = [model] if (host, namespace) == ("registry.ollama.ai", "library") else [namespace, model]
    if host != "registry.ollama.ai":
        parts.insert(0, host)
    return f"{'/'.join(parts)}:{tag}"


def _layers(file: Path) -> list[Layer]:
    """Empty for what is no manifest."""
    try:
        manifest = json.loads(read_file(file, LARGEST))
        return [layer for item in manifest["layers"] if (layer := _layer(item)) is not None]
    except (BaseRefused, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return []


def _layer(item: Mapping[str, Any]) -> Layer | None:
    digest = _DIGEST.fullmatch(str(item["digest"]))
    kind = str(item["mediaType"])
    size = item["size"]
    if digest is None or not kind.startswith(KIND) or type(size) is not int or size < 0:
        return None
    return Layer(kind.removeprefix(KIND), digest[1], size)
