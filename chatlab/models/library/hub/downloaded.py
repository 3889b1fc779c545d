"""Models that were downloaded from the hub, in the app's own folder: `models--ORG--NAME/COMMIT`, each with a record of
what it is.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from chatlab.models.library.entry import ModelEntry, id_of
from chatlab.models.library.hub.repository import HubFile, Repository
from chatlab.system.files import read_regular

RECORD, REQUEST = "download.json", "request.json"
HALF = ".half-"
"""Begins the name of a folder in which a download is under way, or was."""
LARGEST = 4 << 20
PLACE = "Downloaded"


@dataclass(frozen=True, slots=True, kw_only=True)
class Unfinished:
    """A download that ended before its model was whole. The same request goes on with it."""

    repository: str
    revision: str
    file: str
    bytes: int
    """That are here."""
    folder: Path


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

    def unfinished(self) -> list[Unfinished]:
        """Those that nobody is at work on, the newest first."""
        halves = [half for half in self.folder.glob(f"{HALF}*") if half.is_dir()]
        found = []
        for half in sorted(halves, key=lambda half: half.name):
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError, Timeout):
                told = json.loads(read_regular(half / REQUEST, LARGEST))
                size = sum(file.stat().st_size for file in half.rglob("*") if file.name != REQUEST)
                with FileLock(f"{half}.lock", timeout=0):
                    texts = {name: str(told[name]) for name in ("repository", "revision", "file")}
                    found.append((half.stat().st_mtime, Unfinished(**texts, bytes=size, folder=half)))
        return [one for _, one in sorted(found, key=lambda pair: -pair[0])]

    def discard(self, unfinished: Unfinished) -> None:
        """Delete what had arrived."""
        if unfinished.folder.parent == self.folder and unfinished.folder.name.startswith(HALF):
            shutil.rmtree(unfinished.folder, ignore_errors=True)

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
