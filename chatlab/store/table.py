"""TinyDB's table on a journal: every write goes through one door, every read hands out copies."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, MutableMapping
from copy import deepcopy
from typing import Any, cast

from tinydb import TinyDB
from tinydb.queries import QueryLike
from tinydb.table import Document, Table

from chatlab.store.journal import Document as Plain
from chatlab.store.storage import JournalStorage


class Transaction(MutableMapping[int, Any]):
    """A table as one operation would like it to be, until it is known that the operation goes through.

    Looks like the dict that TinyDB's own operations alter, documents in place included; the table stays untouched.
    """

    def __init__(self, table: Mapping[str, Plain]) -> None:
        self._table = table
        self._changed: dict[str, Plain | None] = {}

    def __contains__(self, id: object) -> bool:
        key = str(id)
        return self._changed[key] is not None if key in self._changed else key in self._table

    def __getitem__(self, id: int) -> Plain:
        key = str(id)
        if key not in self._changed:
            self._changed[key] = deepcopy(self._table[key])
        if (document := self._changed[key]) is None:
            raise KeyError(id)
        return document

    def __setitem__(self, id: int, document: Plain) -> None:
        self._changed[str(id)] = document

    def __delitem__(self, id: int) -> None:
        if id not in self:
            raise KeyError(id)
        self._changed[str(id)] = None

    def __iter__(self) -> Iterator[int]:
        own = [key for key in self._table if self._changed.get(key, self) is not None]
        new = [key for key, document in self._changed.items() if document is not None and key not in self._table]
        return map(int, own + new)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def changes(self) -> dict[str, Plain | None]:
        """What differs from the table; a document that was only looked at does not."""
        return {key: new for key, new in self._changed.items() if new != self._table.get(key)}


class JournalTable(Table):
    """A TinyDB table that is thread-safe, never gives out an id twice and shares no document with its callers."""

    @property
    def journal(self) -> JournalStorage:
        return cast(JournalStorage, self._storage)

    def commit(self, documents: Mapping[int, Plain | None]) -> None:
        """Replace, add or (None) remove documents, all or none."""
        if documents:
            self.journal.commit({self.name: {str(id): document for id, document in documents.items()}})

    def new_id(self) -> int:
        return self.journal.next_id(self.name)

    def search(self, cond: QueryLike) -> list[Document]:
        with self.journal.lock:
            self.clear_cache()  # records in memory are searched as fast, and are never out of date
            return deepcopy(super().search(cond))

    def get(self, *args: Any, **kwargs: Any) -> Any:
        with self.journal.lock:
            return deepcopy(super().get(*args, **kwargs))

    def __iter__(self) -> Iterator[Document]:
        with self.journal.lock:
            found = list(super().__iter__())
        return map(deepcopy, found)

    def _get_next_id(self) -> int:
        return self.new_id()

    def _update_table(self, updater: Callable[[dict[int, Mapping[str, Any]]], None]) -> None:
        with self.journal.lock:
            tables = self.journal.read()
            transaction = Transaction(tables.get(self.name, {}))
            updater(cast("dict[int, Mapping[str, Any]]", transaction))
            changes = transaction.changes()
            if changes or self.name not in tables:
                self.journal.commit({self.name: changes})


class JournalDB(TinyDB):
    """`JournalDB(storage)`, and then as any TinyDB."""

    table_class = JournalTable

    def __init__(self, storage: JournalStorage) -> None:
        super().__init__(storage=lambda: storage)
