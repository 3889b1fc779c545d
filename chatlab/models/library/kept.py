"""What is remembered of models in the app's own folder: `models.json` lists the added ones, `chosen.json` names one."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, get_args

from filelock import FileLock

from chatlab.models.library.entry import Kind, ModelEntry, Source
from chatlab.system.files import private_folder, read_regular, write_whole

log = logging.getLogger("chatlab.models")

LARGEST = 4 << 20
ADDED, CHOSEN, LOCK = "models.json", "chosen.json", ".lock"


class KeptModels:
    """In `home/models`. The app and the command line may write at once: whoever comes second waits."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def added(self) -> list[ModelEntry]:
        """In the order in which they were added."""
        told = _read(self.folder / ADDED).get("models")
        entries = [_entry(item) for item in told] if isinstance(told, list) else []
        return [entry for entry in entries if entry is not None]

    def change(self, change: Callable[[list[ModelEntry]], list[ModelEntry]]) -> None:
        """Replace the list of added models by what `change` makes of it. Raises OSError."""
        private_folder(self.folder)
        with FileLock(self.folder / LOCK):
            models = [_document(entry) for entry in change(self.added())]
            write_whole(self.folder / ADDED, json.dumps({"format": 1, "models": models}, indent=1).encode())

    def chosen(self) -> ModelEntry | None:
        """As it was when it was chosen; it may have gone since."""
        return _entry(_read(self.folder / CHOSEN).get("model"))

    def choose(self, entry: ModelEntry | None) -> None:
        """None for the one that comes with the app. Raises OSError."""
        private_folder(self.folder)
        with FileLock(self.folder / LOCK):
            if entry is None:
                (self.folder / CHOSEN).unlink(missing_ok=True)
                return
            told = {"format": 1, "model": _document(entry)}
            write_whole(self.folder / CHOSEN, json.dumps(told, indent=1).encode())


def _document(entry: ModelEntry) -> dict[str, Any]:
    fields = ("id", "name", "source", "place", "bytes", "kind", "revision")
    return {name: getattr(entry, name) for name in fields} | {"path": str(entry.path)}


def _entry(told: object) -> ModelEntry | None:
    """None for what this app has not written."""
    if not isinstance(told, Mapping):
        return None
    texts = {name: told.get(name, "") for name in ("id", "name", "source", "place", "kind", "revision", "path")}
    size = told.get("bytes", 0)
    known = texts["source"] in get_args(Source) and texts["kind"] in get_args(Kind) and type(size) is int
    if not known or not all(isinstance(text, str) for text in texts.values()) or not texts["path"]:
        return None
    return ModelEntry(**texts | {"path": Path(texts["path"]), "bytes": size, "title": texts["name"]})


def _read(file: Path) -> Mapping[str, Any]:
    """Empty where there is none. One that cannot be read is put aside, so that no change writes over it."""
    try:
        told = json.loads(read_regular(file, LARGEST))
        if isinstance(told, dict):
            return told
        reason = "it holds no object"
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        reason = str(error)
    log.warning("%s cannot be read and is put aside: %s", file, reason)
    with contextlib.suppress(OSError):
        file.replace(file.with_suffix(".damaged"))
    return {}
