"""Ollama's folder: named manifests, each a small JSON that names blobs by their sha256.

`manifests-v2/HOST/NAMESPACE/MODEL/TAG` is a link to a blob, or, as in the older `manifests/`, the manifest itself: an
OCI image manifest, or a list of such for several runners. Its layer of the kind
`application/vnd.ollama.image.model` is a GGUF file, `blobs/sha256-HASH`, with no ending
(https://github.com/ollama/ollama, package `manifest`).
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chatlab.errors import BaseRefused
from chatlab.models.files import read_file
from chatlab.models.library.entry import ModelEntry, id_of
from chatlab.models.library.found.places import Place

TREES = ("manifests-v2", "manifests")
LARGEST = 4 << 20
"""Bytes of a manifest."""
MOST = 5000
"""Manifests that are read."""
KIND = "application/vnd.ollama.image."
LIST = "application/vnd.ollama.manifest.list.v2+json"
RUNNERS = ("ollama", "llamacpp")
"""Those of a manifest list that run GGUF files, the first one first."""
_DIGEST = re.compile(r"sha256[:-]([0-9a-fA-F]{64})")


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
    blobs = place.folder / "blobs"
    for name, file in _named(place.folder).items():
        layers = _layers(file, blobs)
        weights = [layer for layer in layers if layer.kind == "model"]
        tensors = [layer for layer in layers if layer.kind == "tensor"]
        if not weights and not tensors:
            continue
        path = _blob(blobs, (weights or tensors)[0].digest)
        licences = [layer for layer in layers if layer.kind == "license"]
        yield ModelEntry(
            id=id_of(place.folder / name),
            name=name,
            source="found",
            place=place.program,
            path=path,
            bytes=sum(layer.size for layer in weights or tensors),
            kind="gguf",
            problem=_problem(path, layers, weights),
            licence_file=_blob(blobs, licences[0].digest) if licences else None,
        )


def _named(folder: Path) -> dict[str, Path]:
    """Name -> manifest, in the order of the names."""
    found: dict[str, Path] = {}
    for tree in TREES:
        for file in _manifests(folder / tree):
            found.setdefault(_name(file.relative_to(folder / tree)), file)
    return dict(sorted(found.items()))


def _blob(blobs: Path, digest: str) -> Path:
    return blobs / f"sha256-{digest}"


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
        for item in _listed(here, folders=depth < 3):
            if depth < 3:
                waiting.append((item, depth + 1))
            else:
                left -= 1
                yield item


def _listed(folder: Path, folders: bool) -> list[Path]:
    """The folders or the files in it, hidden ones left out; none where it cannot be read."""
    try:
        with os.scandir(folder) as items:
            shown = [item for item in items if not item.name.startswith(".")]
            return sorted(Path(item) for item in shown if (item.is_dir() if folders else item.is_file()))
    except (OSError, ValueError):
        return []


def _name(place: Path) -> str:
    """As `ollama list` writes it: host and namespace left out where they are the usual ones."""
    host, namespace, model, tag = place.parts
    parts = [model] if (host, namespace) == ("registry.ollama.ai", "library") else [namespace, model]
    if host != "registry.ollama.ai":
        parts.insert(0, host)
    return f"{'/'.join(parts)}:{tag}"


def _layers(file: Path, blobs: Path) -> list[Layer]:
    """Empty for what is no manifest, and for one that no runner of GGUF files takes."""
    try:
        manifest = json.loads(read_file(file, LARGEST))
        if manifest.get("mediaType") == LIST:
            manifest = _for_gguf(manifest["manifests"], blobs)
        return [layer for item in manifest.get("layers") or () if (layer := _layer(item)) is not None]
    except (BaseRefused, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return []


def _for_gguf(manifests: list[Mapping[str, Any]], blobs: Path) -> Mapping[str, Any]:
    """The one of a list that llama.cpp could run: in the list itself, or a blob that the list names."""
    fitting = [one for runner in RUNNERS for one in manifests if str(one.get("runner")).lower() == runner]
    chosen = next(iter(fitting), {})
    named = _DIGEST.fullmatch(str(chosen.get("digest")))
    if not chosen.get("layers") and named:
        read: Mapping[str, Any] = json.loads(read_file(_blob(blobs, named[1].lower()), LARGEST))
        return read
    return chosen


def _layer(item: Mapping[str, Any]) -> Layer | None:
    digest = _DIGEST.fullmatch(str(item["digest"]))
    kind, size = str(item["mediaType"]), item["size"]
    if digest is None or not kind.startswith(KIND) or type(size) is not int or size < 0:
        return None
    return Layer(kind.removeprefix(KIND), digest[1].lower(), size)
