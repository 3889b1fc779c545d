"""The list of models: those that came with the app, those added or downloaded, those found on this machine."""

from __future__ import annotations

import os
import shutil
import threading
from dataclasses import replace
from pathlib import Path

import psutil

from chatlab.errors import BaseMissing, BaseRefused, DiskFull, InputError
from chatlab.models.layout import NEEDED, find
from chatlab.models.library.entry import ModelEntry, ModelFacts, id_of, told_apart
from chatlab.models.library.facts import examine
from chatlab.models.library.facts_cache import FactsCache
from chatlab.models.library.found.places import Machine, places
from chatlab.models.library.found.search import found
from chatlab.models.library.hub.download import Download, Hub
from chatlab.models.library.hub.downloaded import Downloads, Unfinished
from chatlab.models.library.hub.repository import Repository, gigabytes
from chatlab.models.library.included import included
from chatlab.models.library.kept import KeptModels
from chatlab.system.files import DISK_FULL, fsync_folder, private_folder

ADDED = "Added"
"""The place of models that were added by their path."""
SPARE = 256 << 20
"""Bytes that stay free on the disk."""


class ModelLibrary:
    """Safe to call from several threads."""

    def __init__(self, home: Path, cache: Path, machine: Machine | None = None) -> None:
        """`home` is the app's; what is added, downloaded and chosen is kept in its folder `models`."""
        self.folder = home / "models"
        self.downloads: list[Download] = []
        """Those begun here, the newest last."""
        self._kept = KeptModels(self.folder)
        self._downloaded = Downloads(self.folder / "hub")
        self._facts = FactsCache(cache)
        self._machine = machine or Machine.this()
        self._lock = threading.RLock()
        self._found: list[ModelEntry] | None = None

    def entries(self, refresh: bool = False) -> list[ModelEntry]:
        """Included ones first, then added and downloaded ones, then those found on this machine.

        Other programs' folders are looked through the first time, and again with `refresh`. No two have one title.
        """
        with self._lock:
            if self._found is None or refresh:
                self._found = found(places(self._machine))
            own = [*included(), *(_as_it_is(entry) for entry in self._kept.added()), *self._downloaded.entries()]
            paths = {entry.path for entry in own}
            return told_apart([*own, *(entry for entry in self._found if entry.path not in paths)])

    def facts(self, entry: ModelEntry) -> ModelFacts:
        """What its headers say. Up to a second the first time, nothing after that; never raises."""
        return self._facts.of(entry)

    def find(self, text: str) -> ModelEntry:
        """The model of that id, title, name or path. Raises BaseMissing, and InputError where several have the name."""
        wanted = text.strip().casefold()
        path = str(_expanded(text.strip())).casefold()
        entries = self.entries()
        exact = [e for e in entries if wanted in (e.id, e.title.casefold()) or path == str(e.path).casefold()]
        matches = exact or [e for e in entries if wanted in map(str.casefold, (e.name, *e.also))]
        if len(matches) > 1:
            names = ", ".join(entry.title for entry in matches)
            raise InputError(f"Several models are called {text}.", f"Say which: {names}.")
        if matches:
            return matches[0]
        raise BaseMissing(f"There is no model {text[:200]!r}.", "`chatlab models` lists those there are.")

    @property
    def chosen(self) -> ModelEntry | None:
        """What the app opens where CHATLAB_BASE is not set; None for the included one. Reads one small file.

        Where its file has gone, the model of the same id: Ollama gives a new file to a tag that is pulled again. One
        that has gone altogether says so in its `problem`.
        """
        entry = self._kept.chosen()
        if entry is None or _is_there(entry.path):
            return entry
        return next((one for one in self.entries() if one.id == entry.id and not one.problem), _as_it_is(entry))

    def choose(self, id: str | None) -> ModelEntry | None:
        """Remember what the app opens next time; None for the included one.

        Raises BaseMissing, InputError and DiskFull.
        """
        entry = None if id is None else self.find(id)
        try:
            self._kept.choose(entry)
        except OSError as error:
            raise _unkept(error) from error
        return entry

    def add(self, path: Path) -> ModelEntry:
        """Remember a folder with safetensors, or a GGUF file, where it lies.

        Raises BaseMissing or BaseRefused for what is no model that can be opened, and DiskFull.
        """
        entry = _described(_expanded(str(path)))
        examine(entry)
        return self._remember(entry)

    def add_upload(self, file: Path, name: str) -> ModelEntry:
        """Move a GGUF file that was dropped on the page into the app's folder. `name` is what its owner calls it.

        Raises as `add`, and leaves `file` where it is then.
        """
        stem = "".join(c for c in Path(name.replace("\\", "/")).stem if c.isalnum() or c in " ._-+()").strip(" .")[:120]
        examine(replace(_described(file.absolute()), name=stem))
        folder = self.folder / "files"
        try:
            private_folder(folder)
            if shutil.disk_usage(folder).free < SPARE + (file.stat().st_size if _is_elsewhere(file, folder) else 0):
                raise DiskFull(f"{name} does not fit on the disk of {folder}.", "Free some space.")
            to = _free_name(folder, stem or "model")
            half = to.with_name(f"{to.name}.half")
            shutil.move(file, half)
            half.replace(to)
            fsync_folder(folder)
        except OSError as error:
            raise _unkept(error) from error
        return self._remember(_described(to))

    def remove(self, id: str) -> None:
        """Forget an added model, or delete a downloaded or dropped one. Another program's files are never touched.

        Raises BaseMissing, InputError for one that is not this app's to remove, and DiskFull.
        """
        entry = self.find(id)
        if entry.source in ("included", "found"):
            whose = "comes with Chatlab" if entry.source == "included" else f"belongs to {entry.place}"
            raise InputError(f"{entry.title} {whose}.", "Remove it there." if entry.source == "found" else "It stays.")
        try:
            if (chosen := self._kept.chosen()) is not None and chosen.id == entry.id:
                self._kept.choose(None)
            if entry.source == "hub":
                self._downloaded.remove(entry)
                return
            self._kept.change(lambda kept: [one for one in kept if one.id != entry.id])
            if entry.path.parent == self.folder / "files":
                entry.path.unlink(missing_ok=True)
        except OSError as error:
            told = error.strerror or error
            raise InputError(
                f"{entry.title} could not be removed: {told}.", "Switch to another model first."
            ) from error

    def look(self, repository: str, revision: str = "") -> Repository:
        """What a repository of the hub holds, to choose a GGUF of it. Takes a second or two.

        Raises InputError, BaseMissing, BaseRefused and DownloadFailed.
        """
        hub = Hub(self._machine.environment)
        try:
            return hub.look(repository, revision)
        finally:
            hub.close()

    def download(self, repository: str, revision: str = "", file: str = "") -> Download:
        """Begin to fetch a model from the hub; see `Download`. Raises InputError for what is no model id."""
        begun = Download(self._downloaded, repository, revision, file, self._machine.environment)
        with self._lock:
            self.downloads.append(begun)
        return begun

    def unfinished(self) -> list[Unfinished]:
        """Downloads that ended before their models were whole, and that nobody is at work on."""
        return self._downloaded.unfinished()

    def discard(self, unfinished: Unfinished) -> None:
        """Delete what had arrived of a download."""
        self._downloaded.discard(unfinished)

    def shortage(self, entry: ModelEntry, training: bool = False) -> str:
        """Where the memory that is free is too small for this model: what it needs and what would fit; else empty."""
        free = psutil.virtual_memory().available

        def needed(one: ModelEntry) -> int:
            facts = self.facts(one)
            return 0 if facts.unusable else facts.training_bytes if training else facts.chat_bytes

        if (wants := needed(entry)) <= free:
            return ""
        fitting = [other.title for other in self.entries() if 0 < needed(other) <= free]
        what = "be trained" if training else "chat"
        instead = f", or choose {' or '.join(fitting[:3])}" if fitting else ""
        return (
            f"{entry.title} needs about {gigabytes(wants)} of memory to {what}, and {gigabytes(free)} are free. "
            f"Close other programs{instead}."
        )

    def close(self) -> None:
        """End downloads under way; what has arrived is kept for the next try."""
        for download in self.downloads:
            if download.under_way:
                download.cancel(keep=True)

    def _remember(self, entry: ModelEntry) -> ModelEntry:
        """The entry that is in the list from now on: an old one, where the model is there already."""
        if there := next((one for one in self.entries() if one.path == entry.path), None):
            return there
        try:
            self._kept.change(lambda kept: [*(one for one in kept if one.id != entry.id), entry])
        except OSError as error:
            raise _unkept(error) from error
        return next(one for one in self.entries() if one.id == entry.id)


def _described(path: Path) -> ModelEntry:
    """An added model at this path. Raises BaseMissing or BaseRefused."""
    try:
        return _seen(path)
    except OSError as error:
        raise BaseRefused(f"{path} cannot be read: {error.strerror or error}.", "Look at its permissions.") from error


def _seen(path: Path) -> ModelEntry:
    if path.is_dir() and not (path / "config.json").exists() and not (path / "snapshots").is_dir():
        ggufs = sorted(file for file in path.glob("*.gguf") if "mmproj" not in file.name.lower())
        if len(ggufs) > 1:
            raise BaseRefused(
                f"{path} holds {len(ggufs)} GGUF files.", f"Name one of them: {', '.join(f.name for f in ggufs[:20])}."
            )
        path = ggufs[0] if ggufs else path
    if path.is_dir():
        layout = find(path)
        size = sum(file.stat().st_size for file in layout.weights)
        return _added(layout.folder, layout.name, "folder", size)
    if not path.exists():
        raise BaseMissing(f"There is no file or folder {path}.", NEEDED + " Or name a GGUF file.")
    file = path.resolve()
    return _added(file, path.name.removesuffix(".gguf"), "gguf", file.stat().st_size)


def _added(path: Path, name: str, kind: str, size: int) -> ModelEntry:
    return ModelEntry(
        id=id_of(path),
        name=name,
        title=name,
        source="added",
        place=ADDED,
        path=path,
        bytes=size,
        kind="gguf" if kind == "gguf" else "folder",
    )


def _as_it_is(entry: ModelEntry) -> ModelEntry:
    """With a problem, where it has gone since it was added or chosen."""
    if _is_there(entry.path):
        return entry
    return replace(entry, problem=f"{entry.name} has gone: {entry.path} is not there any more ({entry.place}).")


def _is_there(path: Path) -> bool:
    try:
        path.stat()
    except (OSError, ValueError):
        return False
    return True


def _expanded(text: str) -> Path:
    """An absolute path; `~` is the person's home, where the system knows it."""
    try:
        return Path(text).expanduser().absolute()
    except RuntimeError:
        return Path(text).absolute()


def _is_elsewhere(file: Path, folder: Path) -> bool:
    """Whether a move between them copies."""
    return file.stat().st_dev != folder.stat().st_dev


def _free_name(folder: Path, stem: str) -> Path:
    names = (f"{stem}{f'-{number}' if number > 1 else ''}.gguf" for number in range(1, 10_000))
    return next(folder / name for name in names if not os.path.lexists(folder / name))


def _unkept(error: OSError) -> DiskFull | InputError:
    told = error.strerror or str(error)
    if error.errno in DISK_FULL:
        return DiskFull("The disk of Chatlab's home folder is full; nothing was changed.", "Free some space.")
    return InputError(f"Chatlab's home folder cannot be written: {told}.", "Look at its permissions, or CHATLAB_HOME.")
