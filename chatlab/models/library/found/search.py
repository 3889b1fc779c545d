"""Models on this machine, found by reading folders: never a byte of weights, never a change.

A folder that cannot be read and a file that vanishes while it is looked at are passed over: another program may be at
work there.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from chatlab.models.library.entry import ModelEntry, id_of
from chatlab.models.library.found import hub_cache, ollama
from chatlab.models.library.found.places import Place

DEEPEST = 4
"""Folders below a place that are looked into."""
MOST = 20_000
"""Names in a place that are looked at."""
SHARD = re.compile(r"(.+)-(\d{5})-of-(\d{5})\.gguf", re.IGNORECASE)
SMALLEST = 1 << 10
"""Bytes. A smaller GGUF holds no weights; programs leave such while they download."""


def found(places: Iterable[Place]) -> list[ModelEntry]:
    """Each model once, in the order of the places; under its other names in `also`."""
    kept: dict[object, ModelEntry] = {}
    for place in places:
        for entry in _of_place(place):
            key = _identity(entry.path)
            first = kept.setdefault(key, entry)
            if first is not entry and entry.name not in (first.name, *first.also):
                kept[key] = replace(first, also=(*first.also, entry.name))
    return list(kept.values())


def _of_place(place: Place) -> Iterator[ModelEntry]:
    if place.arrangement == "ollama":
        yield from ollama.models(place)
    elif place.arrangement == "hub":
        for snapshot in hub_cache.snapshots(place.folder):
            for entry in files(snapshot.folder, place.program, deepest=1):
                yield snapshot.named(entry)
    else:
        yield from files(place.folder, place.program)


def files(folder: Path, program: str, deepest: int = DEEPEST) -> Iterator[ModelEntry]:
    """GGUF files and safetensors folders, folders that are links included. Sets of parts are one entry."""
    left = MOST
    waiting = [(folder, 0)]
    seen: set[object] = set()
    while waiting and left > 0:
        here, depth = waiting.pop()
        if (identity := _identity(here)) in seen:
            continue
        seen.add(identity)
        names = _listed(here)
        left -= len(names)
        present = {item.name for item in names}
        if "config.json" in present and any(name.endswith(".safetensors") for name in present):
            yield _folder_entry(here, names, program)
        yield from _gguf_entries(names, program)
        if depth < deepest:
            waiting += [(Path(item), depth + 1) for item in reversed(names) if _is_folder(item)]


def _listed(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as listing:
            return sorted(listing, key=lambda item: item.name)
    except (OSError, ValueError):
        return []


def _folder_entry(folder: Path, names: list[os.DirEntry[str]], program: str) -> ModelEntry:
    size = sum(_size(item) for item in names if item.name.endswith(".safetensors"))
    return ModelEntry(
        id=id_of(folder), name=folder.name, source="found", place=program, path=folder, bytes=size, kind="folder"
    )


def _gguf_entries(names: list[os.DirEntry[str]], program: str) -> Iterator[ModelEntry]:
    """Files for images and sound (mmproj) belong to a model beside them and are passed over. `model.gguf`, as Jan calls
    each, has its folder's name.
    """
    sets: dict[str, list[os.DirEntry[str]]] = {}
    for item in names:
        if not item.name.lower().endswith(".gguf") or "mmproj" in item.name.lower():
            continue
        if part := SHARD.fullmatch(item.name):
            sets.setdefault(part[1], []).append(item)
        elif (size := _size(item)) >= SMALLEST:
            name = item.name[: -len(".gguf")]
            yield _gguf_entry(Path(item), Path(item).parent.name if name.lower() == "model" else name, size, program)
    for name, parts in sets.items():
        entry = _gguf_entry(Path(parts[0]), name, sum(map(_size, parts)), program)
        yield replace(
            entry,
            problem=f"It is split into {len(parts)} files. Join them first: "
            f"llama-gguf-split --merge {parts[0].name} {name}.gguf",
        )


def _gguf_entry(file: Path, name: str, size: int, program: str) -> ModelEntry:
    """A link is followed: the file behind it is what is opened."""
    return ModelEntry(
        id=id_of(file), name=name, source="found", place=program, path=_behind(file), bytes=size, kind="gguf"
    )


def _behind(file: Path) -> Path:
    try:
        return file.resolve()
    except (OSError, RuntimeError):
        return file


def _size(item: os.DirEntry[str]) -> int:
    """Bytes of a file, links followed; 0 for what is none or has gone."""
    try:
        return item.stat().st_size if item.is_file() else 0
    except OSError:
        return 0


def _is_folder(item: os.DirEntry[str]) -> bool:
    try:
        return not item.name.startswith(".") and item.is_dir()
    except OSError:
        return False


def _identity(path: Path) -> object:
    """The same for two names of one file."""
    try:
        status = path.stat()
    except OSError:
        return path
    return (status.st_dev, status.st_ino) if status.st_ino else path
