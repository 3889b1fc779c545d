"""The list of models: those that came with the app, those added or downloaded, those found on this machine."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

from chatlab.errors import BaseMissing, DiskFull, InputError
from chatlab.models.library.entry import ModelEntry, ModelFacts, told_apart
from chatlab.models.library.facts import read_facts
from chatlab.models.library.found import found
from chatlab.models.library.included import included
from chatlab.models.library.kept import KeptModels
from chatlab.models.library.places import Machine, places


class ModelLibrary:
    """Safe to call from several threads."""

    def __init__(self, home: Path, cache: Path, machine: Machine | None = None) -> None:
        """`home` is the app's; what is added, downloaded and chosen is kept in its folder `models`."""
        self.folder = home / "models"
        self._kept = KeptModels(self.folder)
        self._cache = cache
        self._machine = machine or Machine.this()
        self._lock = threading.RLock()
        self._entries: list[ModelEntry] | None = None

    def entries(self, refresh: bool = False) -> list[ModelEntry]:
        """Included ones first, then added and downloaded ones, then those found; as of the last look."""
        with self._lock:
            if self._entries is None or refresh:
                self._entries = told_apart([*included(), *self._kept.added(), *found(places(self._machine))])
            return list(self._entries)

    def facts(self, entry: ModelEntry) -> ModelFacts:
        """Cheap once they are known: they are kept until the file changes."""
        return read_facts(entry)

    def find(self, text: str) -> ModelEntry:
        """The model of that id, title, name or path. Raises BaseMissing, and InputError where several have the name."""
        wanted = text.strip().casefold()
        entries = self.entries()
        exact = [e for e in entries if wanted in (e.id, e.title.casefold(), str(e.path).casefold())]
        matches = exact or [e for e in entries if wanted in map(str.casefold, (e.name, *e.also))]
        if len(matches) > 1:
            names = ", ".join(entry.title for entry in matches)
            raise InputError(f"Several models are called {text}.", f"Say which: {names}.")
        if matches:
            return matches[0]
        raise BaseMissing(f"There is no model {text!r}.", "`chatlab models` lists those there are.")

    @property
    def chosen(self) -> ModelEntry | None:
        """What the app opens where CHATLAB_BASE is not set; None for the included one. Reads one small file.

        One that has gone since says so in its `problem`.
        """
        entry = self._kept.chosen()
        if entry is None or entry.path.exists():
            return entry
        return replace(entry, problem=f"{entry.name} has gone from {entry.place}: {entry.path} is not there any more.")

    def choose(self, id: str | None) -> ModelEntry | None:
        """Remember what the app opens next time; None for the included one. Raises BaseMissing and DiskFull."""
        entry = None if id is None else self.find(id)
        try:
            self._kept.choose(entry)
        except OSError as error:
            raise DiskFull(f"The choice could not be kept: {error.strerror or error}.", "Free some space.") from error
        return entry
