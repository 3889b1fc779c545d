"""One kind of record, by id: what the rest of the app sees of the store."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any, Generic, TypeVar

import orjson

from chatlab.errors import InputError, NotFound, StoreCorrupt
from chatlab.store.journal import Changes, Document
from chatlab.store.shape import MOST
from chatlab.store.table import JournalTable
from chatlab.system.codec import from_document, known_fields, to_document, well_formed
from chatlab.system.host import gc_paused

T = TypeVar("T")

SearchText = Callable[[Document], Iterable[str]]
"""The texts of a document that a person would search for."""


class RecordCollection(Generic[T]):
    """Thread-safe. Hands out frozen values; what a call changed is on the disk when it returns.

    Every change raises DiskFull or StoreError if it cannot be kept, InputError if it may not, and then changed nothing.
    """

    def __init__(self, table: JournalTable, kind: type[T], words: SearchText) -> None:
        self._table = table
        self._kind = kind
        self._words = words
        self._storage = table.journal
        self._lock = table.journal.lock
        self._ids: list[int] | None = None
        self._values: dict[int, T] = {}
        self._texts: dict[int, str] | None = None
        self._unreadable: dict[int, str] = {}
        self._storage.watch(table.name, self._changed)

    def add(self, value: T) -> int:
        """The new id, which no record ever had before."""
        return self.add_many([value])[0]

    def add_many(self, values: Iterable[T]) -> list[int]:
        """All or none."""
        documents = [self._document(value) for value in values]
        with self._lock:
            ids = [self._table.new_id() for _ in documents]
            self._table.commit(dict(zip(ids, documents, strict=True)))
        return ids

    def get(self, id: int) -> T:
        """Raises NotFound, or StoreCorrupt if what is there is no such record."""
        with self._lock:
            value = self._values.get(id)
            if value is None:
                value = self._values[id] = self._decoded(id)
            return value

    def put(self, id: int, value: T) -> None:
        """Replace, or put back what was removed."""
        self.put_many({id: value})

    def put_many(self, values: Mapping[int, T]) -> None:
        """All or none."""
        documents = {_checked(id): self._document(value) for id, value in values.items()}
        with self._lock:
            self._table.commit({id: self._with_unknown(id, document) for id, document in documents.items()})

    def remove(self, ids: Iterable[int]) -> dict[int, T]:
        """What was removed, for `put_many` to undo; ids without a record are passed over."""
        with self._lock:
            present = [id for id in dict.fromkeys(ids) if str(id) in self._raw()]
            removed = {id: value for id in present if (value := self._readable(id)) is not None}
            self._table.commit(dict.fromkeys(present))
        return removed

    def new_ids(self, count: int) -> list[int]:
        """Ids that no record ever had, for `changes`."""
        return [self._table.new_id() for _ in range(count)]

    def changes(self, values: Mapping[int, T | None]) -> Changes:
        """What `Store.commit_together` keeps: new records and others in place of old ones; None takes one away."""
        documents = {
            str(_checked(id)): None if value is None else self._with_unknown(id, self._document(value))
            for id, value in values.items()
            if value is not None or id in self
        }
        return {self._table.name: documents} if documents else {}

    def rows(self, *, reverse: bool = False) -> Iterator[tuple[int, T]]:
        """Records by id, as the collection is now; unreadable ones are left out."""
        ids = self._all_ids()
        return iter(self._present(reversed(ids) if reverse else ids))

    def between(self, first: int, last: int) -> list[int]:
        """Ids of the records from `first` to `last`, both included."""
        ids = self._all_ids()
        return ids[bisect_left(ids, first) : bisect_right(ids, last)]

    def find(
        self,
        text: str = "",
        *,
        where: Callable[[T], bool] | None = None,
        reverse: bool = True,
        offset: int = 0,
        limit: int = 50,
    ) -> tuple[list[tuple[int, T]], int]:
        """A page of the records whose text contains `text`, in any case, and how many there are in all.

        Newest id first unless `reverse` is False. `where` is called without the lock.
        """
        ids = self._holding(text) if text else self._all_ids()
        if where:
            ids = [id for id, value in self._present(ids) if where(value)]
        ordered = ids[::-1] if reverse else ids
        page = ordered[offset : offset + limit]
        return self._present(page), len(ids)

    def __len__(self) -> int:
        return len(self._raw())

    def __contains__(self, id: object) -> bool:
        return str(id) in self._raw()

    @property
    def unreadable(self) -> dict[int, str]:
        """Records that were met and are not what they should be, and why."""
        return dict(self._unreadable)

    def _raw(self) -> dict[str, Document]:
        return self._storage.table(self._table.name)

    def _document(self, value: T) -> Document:
        if type(value) is not self._kind:
            raise InputError(f"{value!r} cannot be kept among the {self._table.name}.")
        document = to_document(value)
        try:
            orjson.dumps(document)
        except TypeError:
            document = well_formed(document)
        return document

    def _with_unknown(self, id: int, document: Document) -> Document:
        """What a newer version wrote beside the fields that this one knows stays."""
        old = self._raw().get(str(id), {})
        known = known_fields(self._kind)
        return {**{name: item for name, item in old.items() if name not in known}, **document}

    def _decoded(self, id: int) -> T:
        document = self._raw().get(str(id))
        if document is None:
            raise NotFound(
                f"There is no {self._kind.__name__.lower()} {id}.", "It may have been deleted; reload the list."
            )
        try:
            return from_document(self._kind, document)
        except ValueError as error:
            self._unreadable[id] = str(error)
            raise StoreCorrupt(f"{self._kind.__name__} {id} cannot be read: {error}.", "Delete it.") from error

    def _present(self, ids: Iterable[int]) -> list[tuple[int, T]]:
        """Those that are still there and can be read. Locks each alone, so that a long list holds nobody up."""
        known = self._values.get
        with gc_paused():
            return [
                (id, value)
                for id in ids
                if (value := known(id)) is not None or (value := self._readable(id)) is not None
            ]

    def _readable(self, id: int) -> T | None:
        try:
            return self.get(id)
        except (NotFound, StoreCorrupt):
            return None

    def _all_ids(self) -> list[int]:
        """Ascending. Callers never alter it."""
        with self._lock:
            if self._ids is None:
                self._ids = sorted(map(int, self._raw()))
            return self._ids.copy()

    def _holding(self, text: str) -> list[int]:
        wanted = text.casefold()
        with self._lock:
            if self._texts is None:
                raw = self._raw()
                self._texts = {id: self._text(raw[str(id)]) for id in self._all_ids()}
            return sorted([id for id, words in self._texts.items() if wanted in words])

    def _text(self, document: Document) -> str:
        try:
            return "\n".join(self._words(document)).casefold()
        except (KeyError, TypeError, AttributeError, IndexError):
            return ""

    def _changed(self, keys: Collection[str] | None) -> None:
        """The watcher: under the storage's lock, after a change. None when the table was dropped."""
        raw = self._raw()
        for id in map(int, keys if keys is not None else list(self._values)):
            self._values.pop(id, None)
            self._unreadable.pop(id, None)
            if self._texts is not None:
                self._texts.pop(id, None)
                if str(id) in raw:
                    self._texts[id] = self._text(raw[str(id)])
            self._reorder(id, str(id) in raw)
        if keys is None:
            self._ids = self._texts = None

    def _reorder(self, id: int, present: bool) -> None:
        if self._ids is None:
            return
        place = bisect_left(self._ids, id)
        there = place < len(self._ids) and self._ids[place] == id
        if present and not there:
            self._ids.insert(place, id)
        elif there and not present:
            del self._ids[place]


def _checked(id: Any) -> int:
    if not isinstance(id, int) or isinstance(id, bool) or not 0 < id < MOST:
        raise NotFound(f"{id!r} is not a record's number.", "Numbers begin with 1.")
    return id
