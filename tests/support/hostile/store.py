"""What the store's tests attack it with: a model to hold it to, and disks that fail."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from chatlab.errors import ChatlabError
from chatlab.records import Demonstration, Message
from chatlab.store import Store
from chatlab.store.disk import Disk


def said(text: str, *tags: str) -> Demonstration:
    return Demonstration(
        messages=(Message(role="user", content="Who goes there?"), Message(role="assistant", content=text)), tags=tags
    )


def kept(store: Store) -> dict[int, str]:
    """Every demonstration's answer."""
    return {id: demonstration.answer for id, demonstration in store.demonstrations.rows()}


def kept_in(folder: Path) -> dict[int, str]:
    with Store.open(folder, disk=SwiftDisk()) as store:
        return kept(store)


def copied(folder: Path, target: Path) -> Path:
    """The store's files as a crash would leave them now."""
    shutil.rmtree(target, ignore_errors=True)
    return shutil.copytree(folder, target)


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder in memory where the system has one: what a sweep tests is the files, not the platter."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as folder:
        yield Path(folder)


class SwiftDisk(Disk):
    """Does not wait for the platter. For tests of what files hold, of which there are thousands."""

    def sync(self, handle: int) -> None:
        pass


class PowerCut(BaseException):
    """The machine is off; not an error that a program could handle."""


class FailingDisk(SwiftDisk):
    """Fails at the `nth` call, and with `for_good` at every later one. A failing write leaves half of its data."""

    def __init__(self, nth: int, error: int, *, for_good: bool = False, only: str = "") -> None:
        self.left = nth
        self.error = error
        self.for_good = for_good
        self.only = only
        self.failed = False

    def _count(self, call: str) -> None:
        if self.only and call != self.only:
            return
        self.left -= 1
        if self.left == 0 or (self.for_good and self.left < 0):
            self.failed = True
            raise OSError(self.error, os.strerror(self.error))

    def open(self, file: Path, flags: int) -> int:
        self._count("open")
        return super().open(file, flags)

    def write(self, handle: int, data: bytes) -> None:
        try:
            self._count("write")
        except (OSError, PowerCut):
            super().write(handle, data[: len(data) // 2])
            raise
        super().write(handle, data)

    def sync(self, handle: int) -> None:
        self._count("sync")
        super().sync(handle)

    def truncate(self, handle: int, size: int) -> None:
        self._count("truncate")
        super().truncate(handle, size)

    def replace(self, source: Path, target: Path) -> None:
        self._count("replace")
        super().replace(source, target)


class KillingDisk(FailingDisk):
    """Ends the process at the `nth` call: nothing after it is done, no tidying up either."""

    def __init__(self, nth: int) -> None:
        super().__init__(nth, 0, for_good=True)

    def _count(self, call: str) -> None:
        try:
            super()._count(call)
        except OSError as error:
            raise PowerCut from error


class LosingDisk(Disk):
    """Goes off at the `nth` call, and then knows what a disk may hold that only ever kept what was synced.

    Renames and new names last when their folder is synced, bytes when their file is.
    """

    def __init__(self, folder: Path, nth: int) -> None:
        self.folder = folder
        self.left = nth
        self.synced: dict[int, bytes] = {}
        self.names: dict[str, int] = {}
        self._held: list[int] = []

    def _count(self) -> None:
        self.left -= 1
        if self.left <= 0:
            raise PowerCut

    def open(self, file: Path, flags: int) -> int:
        self._count()
        handle = super().open(file, flags)
        inode = os.fstat(handle).st_ino
        if inode not in self.synced:
            self._held.append(os.dup(handle))  # so that the file system does not use its number again
            self.synced[inode] = b""
        return handle

    def write(self, handle: int, data: bytes) -> None:
        self._count()
        super().write(handle, data)

    def sync(self, handle: int) -> None:
        self._count()
        super().sync(handle)
        inode = os.fstat(handle).st_ino
        if inode in self.synced:
            self.synced[inode] = Path(f"/proc/self/fd/{handle}").read_bytes()

    def truncate(self, handle: int, size: int) -> None:
        self._count()
        super().truncate(handle, size)

    def replace(self, source: Path, target: Path) -> None:
        self._count()
        super().replace(source, target)

    def sync_folder(self, folder: Path) -> None:
        self._count()
        if folder != self.folder:
            return
        self.names = {file.name: file.stat().st_ino for file in folder.iterdir() if file.stat().st_ino in self.synced}

    def leave(self, target: Path, *, names_now: bool, bytes_now: bool) -> Path:
        """What is found after the cut: the least that must be there, or more of it."""
        found = {file.name: file for file in self.folder.iterdir() if file.stat().st_ino in self.synced}
        target.mkdir()
        names = {name: file.stat().st_ino for name, file in found.items()} if names_now else self.names
        contents = {file.stat().st_ino: file.read_bytes() for file in found.values()} if bytes_now else {}
        for name, inode in names.items():
            (target / name).write_bytes(contents.get(inode, self.synced[inode]))
        for handle in self._held:
            os.close(handle)
        return target


class Told:
    """Uses a store and remembers what it was told: what is kept for certain, and what is in doubt."""

    def __init__(self, folder: Path, disk: Disk | None = None) -> None:
        self.sure: dict[int, str] = {}
        self.doubted: list[dict[int, str]] = []
        self.refused = 0
        self.store: Store | None = None
        try:
            self.store = Store.open(folder, disk=disk)
        except ChatlabError:
            self.refused += 1

    def run(self) -> None:
        """A short life: add, change, remove, compact, and some more after that."""
        self.do(lambda store: store.demonstrations.add_many([said("one"), said("two")]), {1: "one", 2: "two"})
        self.do(lambda store: store.demonstrations.put(1, said("one, again")), {1: "one, again"})
        self.compact()
        self.do(lambda store: store.demonstrations.remove([2]), {}, [2])
        self.do(lambda store: store.demonstrations.put(2, said("two, back")), {2: "two, back"})
        self.compact()
        self.do(lambda store: store.demonstrations.put(3, said("three")), {3: "three"})
        self.close()

    def do(self, change: Callable[[Store], object], new: dict[int, str], gone: Iterable[int] = ()) -> None:
        if self.store is None:
            return
        after = {id: text for id, text in {**self.sure, **new}.items() if id not in gone}
        self.doubted.append(after)
        try:
            change(self.store)
        except ChatlabError:
            self.refused += 1
        else:
            self.doubted = self.doubted[:-1] if after == self.sure else []
            self.sure = after
        assert kept(self.store) == self.sure, "what is read is what was acknowledged, failures or not"

    def compact(self) -> None:
        if self.store:
            self.store.compact()

    def close(self) -> None:
        if self.store:
            self.store.close()
