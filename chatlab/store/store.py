"""The store: conversations, demonstrations, preferences, votes, unseen prompts, some state; one folder, one process."""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import orjson
from filelock import FileLock, Timeout

from chatlab.conversation import Conversation
from chatlab.errors import ChatlabError, InputError, StoreBusy, StoreError
from chatlab.records import Demonstration, Preference, Preset, UnseenSet, Vote
from chatlab.store.backups import Backups
from chatlab.store.collection import RecordCollection
from chatlab.store.disk import Disk, Files, as_chatlab_error
from chatlab.store.journal import Changes, Document
from chatlab.store.migrations import Migrations
from chatlab.store.owner import read_owner, write_owner
from chatlab.store.storage import JournalStorage
from chatlab.store.table import JournalDB, JournalTable
from chatlab.system.codec import read_as, to_document
from chatlab.system.files import private_folder

T = TypeVar("T")
D = TypeVar("D")

DYING = 5.0
"""Seconds that a process which was killed may take to let go of the store. A busy machine ends a large one slowly."""


class State:
    """Small values by name: the live adapter, the app's choices."""

    def __init__(self, table: JournalTable) -> None:
        self._table = table

    def get(self, key: str, default: Any = None) -> Any:
        return (self._table.get(doc_id=1) or {}).get(key, default)

    def read(self, key: str, kind: type[T], default: D) -> T | D:
        """What was kept; `default` where there is nothing, or something of another kind than `kind`."""
        try:
            return read_as(kind, self.get(key))
        except ValueError:
            return default

    def set(self, key: str, value: Any) -> None:
        """Keep a value; it is on the disk when this returns. Raises InputError for what JSON does not hold as it is."""
        _check_json(value)
        with self._table.journal.lock:
            self._table.commit({1: {**(self._table.get(doc_id=1) or {}), key: value}})


class Store:
    """An open store. Nobody else has it open; everything in it may be used from any thread."""

    def __init__(self, files: Files, storage: JournalStorage, lock: FileLock) -> None:
        """Use `Store.open`."""
        self._files = files
        self._storage = storage
        self._lock = lock
        self.db = JournalDB(storage)
        self.conversations: RecordCollection[Conversation] = self._collection(
            "conversations", Conversation, _conversation_words
        )
        self.demonstrations: RecordCollection[Demonstration] = self._collection(
            "demonstrations", Demonstration, _demonstration_words
        )
        self.preferences: RecordCollection[Preference] = self._collection("preferences", Preference, _preference_words)
        self.votes: RecordCollection[Vote] = self._collection("votes", Vote, _vote_words)
        self.unseen: RecordCollection[UnseenSet] = self._collection("unseen", UnseenSet, _unseen_words)
        self.presets: RecordCollection[Preset] = self._collection("presets", Preset, _preset_words)
        self.state = State(self._table("state"))
        self.backups = Backups(files.backups, storage)

    @classmethod
    def open(
        cls,
        folder: Path,
        *,
        address: str = "",
        disk: Disk | None = None,
        migrations: Migrations | None = None,
        salvage: bool = False,
    ) -> Store:
        """Raises StoreBusy, StoreCorrupt, or StoreError. `address` is where this process will be reached.

        With `salvage` it never raises StoreCorrupt: it begins from what can be read, if need be from a backup.
        """
        files = Files(folder)
        with _as_store_error("open the store"):
            disk = disk or Disk()
            new = not folder.exists()
            private_folder(folder)
            if new:
                disk.sync_folder(folder.parent)
            lock = _locked(files, address)
            try:
                store = cls(files, JournalStorage(files, disk, migrations=migrations, salvage=salvage), lock)
                store._back_up_daily()
            except BaseException:
                _release(files, lock)
                raise
        return store

    def _back_up_daily(self) -> None:
        try:
            self.backups.make_daily()
        except ChatlabError as error:
            self._storage.warn(str(error))

    @property
    def warnings(self) -> list[str]:
        """What a person should know about the files; empty when all is well."""
        collections = (self.conversations, self.demonstrations, self.preferences, self.votes, self.unseen, self.presets)
        bad = sum(len(collection.unreadable) for collection in collections)
        refusal = self.refusal
        return [
            *self._storage.warnings,
            *([f"{bad} record(s) cannot be read and are left out."] if bad else []),
            *([f"The store takes no changes until Chatlab is restarted: {refusal}."] if refusal else []),
        ]

    @property
    def refusal(self) -> str:
        """Why changes are refused until the store is opened again; empty while all is well, and once it is closed."""
        return self._storage.refusal if self._lock.is_locked else ""

    def snapshot(self, path: Path, ids: Iterable[int]) -> str:
        """Freeze demonstrations for a trainer, one JSON line each, in the order of `ids`; the file's sha256.

        Raises NotFound, DiskFull or StoreError, and then `path` is as it was.
        """
        return self.freeze(
            path, [{"id": id, "messages": to_document(self.demonstrations.get(id))["messages"]} for id in ids]
        )

    def freeze(self, path: Path, rows: Iterable[Mapping[str, Any]]) -> str:
        """Write rows for a trainer, one JSON line each; the file's sha256. Raises DiskFull or StoreError."""
        data = b"".join(orjson.dumps(row) + b"\n" for row in rows)
        with _as_store_error(f"write {path.name}"):
            self._storage.disk.publish(path, data)
        return hashlib.sha256(data).hexdigest()

    def commit_together(self, *changes: Changes) -> None:
        """Commit changes of several collections (`RecordCollection.changes`), all or none; on disk when this returns.

        Raises InputError, DiskFull or StoreError, and then nothing has changed.
        """
        if merged := {name: documents for change in changes for name, documents in change.items()}:
            self._storage.commit(merged)

    def dump(
        self, collection: RecordCollection[Any], path: Path, where: Callable[[Any], bool] = lambda value: True
    ) -> int:
        """One JSON line a record, oldest first, with its id; how many. Raises DiskFull or StoreError as `snapshot`."""
        lines = [
            orjson.dumps({"id": id} | to_document(value)) + b"\n" for id, value in collection.rows() if where(value)
        ]
        with _as_store_error(f"write {path.name}"):
            self._storage.disk.publish(path, b"".join(lines))
        return len(lines)

    def compact(self) -> None:
        """Write a new snapshot of everything now; also done by itself when the journal has grown long."""
        self._storage.compact()

    def close(self) -> None:
        """Leave a snapshot that plain TinyDB opens, and let others in. May be called again."""
        try:
            self._storage.close()
        finally:
            _release(self._files, self._lock)

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _table(self, name: str) -> JournalTable:
        table = self.db.table(name)
        assert isinstance(table, JournalTable)
        return table

    def _collection(
        self, name: str, kind: type[Any], words: Callable[[Document], Iterable[str]]
    ) -> RecordCollection[Any]:
        return RecordCollection(self._table(name), kind, words)


@contextlib.contextmanager
def _as_store_error(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise as_chatlab_error(error, what) from error


def _locked(files: Files, address: str) -> FileLock:
    if files.lock.is_dir():  # nobody can hold it
        files.lock.replace(files.aside(files.lock))
    lock = FileLock(files.lock, thread_local=False)  # the process holds it, whichever thread opens or closes
    try:
        if not _acquired(lock, files):
            raise _busy(files)
    except NotImplementedError as error:
        raise StoreError(
            f"The file system of {files.folder} has no locks.", "Put the store on a local disk."
        ) from error
    write_owner(files.owner, address)
    return lock


def _acquired(lock: FileLock, files: Files) -> bool:
    """Whether nobody has it. One that was killed is waited for, until the last of its threads has let go."""
    ends = time.monotonic() + DYING
    while True:
        try:
            lock.acquire(timeout=0)
            return True
        except Timeout:
            owner = read_owner(files.owner)
            if time.monotonic() > ends or owner is None or owner.lives:
                return False
            time.sleep(0.02)


def _release(files: Files, lock: FileLock) -> None:
    if lock.is_locked:
        with contextlib.suppress(OSError):
            files.owner.unlink(missing_ok=True)
        lock.release()


def _busy(files: Files) -> StoreBusy:
    owner = read_owner(files.owner)
    where, who = (owner.address, f" by process {owner.pid}") if owner else ("", "")
    at = f" at {where}" if where else ""
    hint = f"Use that window: {where}" if where else "Close the other Chatlab first."
    return StoreBusy(f"The store in {files.folder} is already open{at}{who}.", hint)


def _check_json(value: Any) -> None:
    try:
        same = orjson.loads(orjson.dumps(value)) == value
    except (TypeError, ValueError) as error:
        raise InputError(f"This cannot be kept: {error}.", "Only text, numbers, lists and named values can.") from error
    if not same:
        raise InputError(
            f"{value!r} cannot be kept as it is.", "Only text, finite numbers, lists and named values can."
        )


def _demonstration_words(document: Document) -> list[str]:
    said = (words for message in document["messages"] for words in (message["content"], message.get("reasoning", "")))
    return [*said, *document.get("tags", ())]


def _conversation_words(document: Document) -> list[str]:
    said = (words for turn in document.get("turns", ()) for words in (turn["content"], turn.get("reasoning", "")))
    return [document.get("title", ""), document.get("system", ""), *said]


def _preference_words(document: Document) -> list[str]:
    asked = (message["content"] for message in document["prompt"])
    return [*asked, document["chosen"], document["rejected"]]


def _unseen_words(document: Document) -> list[str]:
    return list(document["prompts"])


def _preset_words(document: Document) -> list[str]:
    return [document["name"], document.get("text", "")]


def _vote_words(document: Document) -> list[str]:
    return [*(message["content"] for message in document["prompt"]), *document["answers"]]
