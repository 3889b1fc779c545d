"""Models that were downloaded from the hub, in the app's own folder: `models--ORG--NAME/COMMIT`, each with a record of
what it is.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

from chatlab.models.library.entry import ModelEntry, id_of
from chatlab.models.library.hub.repository import HubFile, Repository
from chatlab.system.files import read_regular

RECORD = "download.json"
LARGEST = 4 << 20
PLACE = "Downloaded"


class Downloads:
    """In `home/models/hub`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def entries(self) -> list[ModelEntry]:
        """By name."""
        found = (self.read(record.parent) for record in sorted(self.folder.glob(f"models--*/*/{RECORD}")))
        return [entry for entry in found if entry is not None]

    def read(self, folder: Path) -> ModelEntry | None:
        """None for a folder that no download has finished."""
        try:
            told = json.loads(read_regular(folder / RECORD, LARGEST))
            return _entry(folder, told)
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return None

    def remove(self, entry: ModelEntry) -> None:
        """Delete the files of a download of this app, and nothing else. Raises OSError."""
        folder = entry.path if entry.kind == "folder" else entry.path.parent
        if folder.parent.parent != self.folder or self.read(folder) is None:
            return
        (folder / RECORD).unlink()  # first, so that a half that stays is no model
        shutil.rmtree(folder)


def folder_of(folder: Path, repository: Repository, files: tuple[HubFile, ...]) -> Path:
    """Where a download goes. Base models take their names from such a folder, as from one of the hub's own cache."""
    name = repository.commit[:12]
    if len(files) == 1:
        name += f"-{hashlib.sha256(files[0].name.encode()).hexdigest()[:8]}"
    return folder / f"models--{repository.id.replace('/', '--')}" / name


def _entry(folder: Path, told: dict[str, Any]) -> ModelEntry:
    files = told["files"]
    gguf = str(files[0]["name"]) if len(files) == 1 else ""
    repository = str(told["repository"])
    if Path(gguf).name != gguf:
        raise ValueError("the record names a file elsewhere")
    name = f"{repository}/{Path(gguf).stem}" if gguf else repository
    return ModelEntry(
        id=id_of(folder),
        name=name,
        title=name,
        source="hub",
        place=PLACE,
        path=folder / gguf if gguf else folder,
        bytes=sum(int(file["size"]) for file in files if file["name"].endswith((".gguf", ".safetensors"))),
        kind="gguf" if gguf else "folder",
        revision=str(told["revision"] or told["commit"]),
        licence=str(told["licence"]),
    )
