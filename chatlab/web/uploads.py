"""Files that visitors sent and files made for them to fetch: each in a folder of its own, each for one person."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import secrets
import stat
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from chatlab.errors import InputError

ANEW = "Choose the file on this page, so that it is sent anew."
DEEPEST = 32
"""Lists and objects inside each other in what an event brings."""
FORGET = (3600, 6 * 3600)
"""Seconds between looks for uploads and downloads that were left behind, and how old those are that go."""
FILE = {"_type": "gradio.FileData"}
"""The mark by which Gradio knows an object as a file."""


class Uploads:
    """Who may name which file. Safe to call from threads.

    An event may name a file only by the very path that its upload returned, letter for letter, and only if the same
    person sent it. So no path that a request brings is ever looked up on the disk before it is known to be harmless.
    """

    def __init__(self, folder: Path) -> None:
        """`folder` belongs to the app alone: what else lies in it is removed."""
        self.folder = folder
        self._lock = threading.Lock()
        self._sent: dict[str, str] = {}
        self._made: dict[str, set[str]] = {}

    def open(self) -> None:
        """Make the folder, closed to other users of this machine and without what an earlier process left in it."""
        if self.folder.is_symlink():
            self.folder.unlink()
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o700)
        self.folder = self.folder.resolve()
        self.sweep()

    def place(self) -> Path:
        """A new folder with a name that nobody guesses."""
        place = self.folder / secrets.token_hex(16)
        place.mkdir(0o700)
        return place

    def sent(self, file: Path, person: str) -> str:
        """Note who sent it; the path by which events name it."""
        path = os.path.realpath(file)
        with self._lock:
            self._sent[path] = person
        return path

    def made(self, data: Any, person: str) -> None:
        """Note that every file in this answer of an event was made for this person."""
        for path in _paths(data):
            if Path(os.path.realpath(path)).is_relative_to(self.folder):
                with self._lock:
                    self._made.setdefault(path, set()).add(person)

    def own(self, path: object, person: str | None) -> Path:
        """The file that this person sent and that was called so. Raises InputError for everything else."""
        with self._lock:
            known = person is not None and isinstance(path, str) and self._sent.get(path) == person
        if not known:
            raise InputError("That file was not sent to this page.", ANEW)
        file = Path(str(path))
        if not self._whole(file):
            raise _gone()
        return file

    def fetched(self, path: str, person: str) -> Path | None:
        """A file that this person may have: one that they sent, or that was made for them."""
        with self._lock:
            known = self._sent.get(path) == person or person in self._made.get(path, ())
        return Path(path) if known and self._whole(Path(path)) else None

    def checked(self, given: Any, person: str | None = None) -> Any:
        """What an event brings, with every file in it looked up and described anew; None is sent no files.

        Raises InputError.
        """
        known: dict[str, dict[str, Any]] = {}  # so that one file named ten thousand times is looked up once

        def walked(value: Any, depth: int) -> Any:
            if depth > DEEPEST:
                raise InputError("The page sent an unreadable request.", "Reload the page.")
            if isinstance(value, dict):
                if not _is_file(value):
                    return {name: walked(inner, depth + 1) for name, inner in value.items()}
                path = value.get("path")
                if not isinstance(path, str) or path not in known:
                    file = self.own(path, person)
                    known[str(file)] = _described(file)
                return dict(known[str(path)])
            if isinstance(value, list | tuple):
                return [walked(inner, depth + 1) for inner in value]
            return value

        return walked(given, 0)

    def sweep(self, before: float = math.inf) -> None:
        """Remove what was last changed before that time, in seconds since 1970; everything unless given."""
        for place, folders, files in os.walk(self.folder, topdown=False):
            for file in map(Path(place).joinpath, files):
                if _changed(file) < before:
                    _removed(file, Path.unlink)
            for folder in map(Path(place).joinpath, folders):
                if _changed(folder) < before:
                    _removed(folder, Path.unlink if folder.is_symlink() else Path.rmdir)
        with self._lock:
            self._sent = {path: person for path, person in self._sent.items() if Path(path).exists()}
            self._made = {path: people for path, people in self._made.items() if Path(path).exists()}

    def _whole(self, file: Path) -> bool:
        """Whether it is a file in our folder still, and no link has taken its place or that of its folder."""
        try:
            regular = stat.S_ISREG(file.lstat().st_mode)
        except OSError:
            return False
        return regular and os.path.realpath(file) == str(file) and self.folder in file.parents

    @contextlib.asynccontextmanager
    async def swept(self) -> AsyncIterator[None]:
        """While the app is served: what was left behind goes when it is old, and everything at the end."""
        sweeping = asyncio.create_task(self._sweep_old())
        try:
            yield
        finally:
            sweeping.cancel()
            self.sweep()

    async def _sweep_old(self) -> None:
        every, age = FORGET
        while True:
            await asyncio.sleep(every)
            await asyncio.to_thread(self.sweep, time.time() - age)


def _gone() -> InputError:
    return InputError("The file is gone.", "Choose it again.")


def refuse_addresses(page: gr.Blocks) -> None:
    """Gradio would fetch `{"path": "http://..."}` for any component; here nothing is fetched for anybody."""
    for block in page.blocks.values():
        known: Any = block
        known.move_resource_to_block_cache = _kept(known.move_resource_to_block_cache)
        known.async_move_resource_to_block_cache = _awaited(known.async_move_resource_to_block_cache)


def _kept(move: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def checked(place: Any) -> Any:
        _check(place)
        return move(place)

    return checked


def _awaited(move: Callable[[Any], Awaitable[Any]]) -> Callable[[Any], Awaitable[Any]]:
    async def checked(place: Any) -> Any:
        _check(place)
        return await move(place)

    return checked


def _check(place: Any) -> None:
    if "://" in str(place):
        raise InputError("A file cannot be fetched from an address.", "Download it, then drop it here.")


def _is_file(given: dict[Any, Any]) -> bool:
    """Whether any component could take it for a file."""
    return "path" in given or "url" in given or given.get("meta") == FILE


def _described(file: Path) -> dict[str, Any]:
    """As Gradio describes a file. Nothing in it is taken from the request but which file it is. Raises InputError."""
    try:
        size = file.stat().st_size
    except OSError as error:
        raise _gone() from error
    return {
        "path": str(file),
        "url": None,
        "size": size,
        "orig_name": file.name,
        "mime_type": None,
        "is_stream": False,
        "meta": dict(FILE),
    }


def _paths(data: Any) -> Iterator[str]:
    """The paths of all files in an answer."""
    if isinstance(data, dict):
        if isinstance(path := data.get("path"), str) and data.get("meta") == FILE:
            yield path
        for value in data.values():
            yield from _paths(value)
    elif isinstance(data, list | tuple):
        for value in data:
            yield from _paths(value)


def _changed(place: Path) -> float:
    try:
        found = place.lstat()
    except OSError:
        return 0.0
    return max(found.st_mtime, found.st_ctime)


def _removed(place: Path, remove: Callable[[Path], None]) -> None:
    """Remove it, unless it is gone already or somebody has put something into it."""
    try:
        remove(place)
    except OSError:
        return
