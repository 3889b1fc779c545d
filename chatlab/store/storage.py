"""TinyDB's storage over a snapshot and a journal: nothing acknowledged is lost, nothing is half-written."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Collection, Mapping
from itertools import count

import orjson
from tinydb import Storage

from chatlab.errors import ChatlabError
from chatlab.store.disk import Disk, Files, as_chatlab_error
from chatlab.store.journal import Changes, Contents, Document, Journal, encode_line
from chatlab.store.migrations import Migrations
from chatlab.store.recovery import Recovery
from chatlab.store.shape import MOST
from chatlab.store.snapshot import Tables, encode_snapshot
from chatlab.system.host import gc_paused

MEBIBYTE = 1 << 20

Watcher = Callable[[Collection[str] | None], None]
"""Told the ids that changed in a table; None for all of them."""


class JournalStorage(Storage):
    """Holds every table in memory. Changes go to the journal first, under one lock, and only then to memory.

    Whoever opens it must hold the store's lock file: two writers would destroy each other's journal.
    """

    def __init__(
        self,
        files: Files,
        disk: Disk | None = None,
        *,
        migrations: Migrations | None = None,
        journal_limit: int = 8 * MEBIBYTE,
        salvage: bool = False,
    ) -> None:
        self.lock = threading.RLock()
        self._files = files
        self.disk = disk or Disk()
        self.migrations = migrations or Migrations()
        self._limit = journal_limit
        self._watchers: dict[str, Watcher] = {}
        self._given: set[int] = set()
        with gc_paused():
            found = Recovery(files, self.disk, self.migrations, salvage).run()
        self.snapshot = found.snapshot
        """The tables and counters in memory. Only this class alters it."""
        self.warnings = found.warnings
        self._snapshot_size = files.snapshot.stat().st_size if files.snapshot.exists() else 0
        new = not files.journal.exists()
        self._journal = self._opened(found.journal)
        if new:
            self._sync_folder()
        self._unsaved = found.replayed
        self._compact_at = max(self._limit, self._snapshot_size // 2)
        if found.repair:
            self.compact()
            self.compact()  # so that the backup, too, is from after the damage, and the old journal follows on it

    def read(self) -> Tables:
        """The tables themselves, not copies: JournalTable hands out copies."""
        return dict(self.snapshot.tables)

    def table(self, name: str) -> dict[str, Document]:
        """One table itself; its documents are replaced by changes, never altered."""
        return self.snapshot.tables.get(name) or {}

    def write(self, data: Mapping[str, Mapping[str, Mapping[str, object]]]) -> None:
        """Make the store equal to `data`. Used by TinyDB to drop tables; tables write through `commit`."""
        with self.lock:
            changes: Changes = {name: None for name in self.snapshot.tables if name not in data}
            for name, table in data.items():
                own = self.snapshot.tables.get(name, {})
                changed = {key: dict(document) for key, document in table.items() if own.get(key) != document}
                removed = {key: None for key in own if key not in table}
                if changed or removed or name not in self.snapshot.tables:
                    changes[name] = {**changed, **removed}
            if changes:
                self.commit(changes)

    def commit(self, changes: Changes) -> None:
        """Keep these changes, all or none; on the disk when this returns.

        Raises InputError for what JSON cannot hold, DiskFull, or StoreError; then nothing has changed.
        """
        with self.lock:
            line = encode_line(self.snapshot.seq + 1, changes)
            try:
                self._journal.append(line)
                kept: Changes = orjson.loads(line[9:])[1]  # equal to the disk's, and shared with nobody
                self._apply(kept)
            except ChatlabError:
                raise
            except BaseException:  # Ctrl-C, or no memory: the journal and the tables may no longer agree
                self._journal.refusal = "a change was interrupted"
                raise
            if self._journal.size >= self._compact_at:
                self.compact()

    def _apply(self, changes: Changes) -> None:
        self.snapshot.apply(changes)
        self.snapshot.seq += 1
        self._unsaved = True
        for name, documents in changes.items():
            if name in self._watchers:
                self._watchers[name](documents)

    def watch(self, table: str, watcher: Watcher) -> None:
        """Have `watcher` called after each change to `table`, under the lock."""
        self._watchers[table] = watcher

    def next_id(self, table: str) -> int:
        """An id that was never used in this table."""
        with self.lock:
            id = self.snapshot.next.get(table, 1)
            if id >= MOST:  # only where a file claims that all were given out: take one that no record has now
                id = next(free for free in count(1) if str(free) not in self.table(table) and free not in self._given)
                self._given.add(id)
            self.snapshot.claim(table, id)
            return id

    def compact(self) -> None:
        """Write a new snapshot and begin a new journal.

        A failure is a warning, not an error: the old snapshot and the journal still hold everything.
        """
        with self.lock:
            if self._journal.refusal:
                return
            try:
                data = encode_snapshot(self.snapshot)
                self.disk.write_whole(self._files.draft, data)
                self._swap()
            except OSError as error:
                self.warn(str(as_chatlab_error(error, "write a new snapshot of the store")))
            else:
                self._unsaved = False
                self._snapshot_size = len(data)
            self._compact_at = self._journal.size + max(self._limit, self._snapshot_size // 2)

    def warn(self, text: str) -> None:
        """Say it once."""
        if text not in self.warnings:
            self.warnings.append(text)

    def _swap(self) -> None:
        """Draft to snapshot, snapshot to backup, journal to old journal; whole again after a kill at any point.

        Before the draft's rename the backup and the journal hold everything, after it the snapshot does.
        """
        files, replace = self._files, self.disk.replace
        kept_backup = files.snapshot.exists()
        if kept_backup:
            replace(files.snapshot, files.backup)
        try:
            replace(files.draft, files.snapshot)
        except OSError:
            if kept_backup:
                replace(files.backup, files.snapshot)
            raise
        self._rotate_journal()
        self._sync_folder()

    def _rotate_journal(self) -> None:
        """Keep the journal beside the backup and begin an empty one; or go on with the same one."""
        files, size = self._files, self._journal.size
        self._journal.close()
        try:
            if files.journal.exists():
                self.disk.replace(files.journal, files.old_journal)
        except OSError:
            self._journal = Journal(files.journal, self.disk, Contents(size=size))
            raise
        self._journal = self._opened(Contents())

    def _sync_folder(self) -> None:
        try:
            self.disk.sync_folder(self._files.folder)
        except OSError as error:
            self._journal.refusal = f"the disk did not confirm a new file ({error.strerror})"
            raise

    def _opened(self, contents: Contents) -> Journal:
        journal = Journal(self._files.journal, self.disk, contents)
        if not journal.size:
            # Without a first line (no room) a gap in the numbers would go unnoticed, and nothing else would.
            with contextlib.suppress(ChatlabError):
                journal.append(encode_line(self.snapshot.seq, {}, self.snapshot.format))
        return journal

    @property
    def refusal(self) -> str:
        """Why changes are refused until the store is opened again; empty while all is well."""
        return self._journal.refusal

    def close(self) -> None:
        """Compact and let go. Without it nothing is lost either; the next opening only reads more."""
        with self.lock:
            if self._unsaved:
                self.compact()
            self._journal.close()
