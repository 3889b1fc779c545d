"""The store's tables do what TinyDB's own do, but for what they promise more."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tinydb import TinyDB, where
from tinydb.operations import delete, increment
from tinydb.storages import MemoryStorage
from tinydb.table import Document, Table

from chatlab.errors import DiskFull, InputError
from chatlab.store.disk import Disk, Files
from chatlab.store.storage import JournalStorage
from chatlab.store.table import JournalDB
from tests.support.hostile.store import FailingDisk, SwiftDisk, scratch


@pytest.fixture
def db() -> Iterator[JournalDB]:
    with scratch() as folder, JournalDB(JournalStorage(Files(folder), SwiftDisk())) as db:
        yield db


NUMBERS, IDS = st.integers(0, 3), st.lists(st.integers(1, 6), max_size=3)
DOCUMENTS = st.fixed_dictionaries({"n": NUMBERS}, optional={"deep": st.lists(NUMBERS, max_size=2)})
OPERATIONS = st.one_of(
    st.tuples(st.just("insert"), DOCUMENTS),
    st.tuples(st.just("insert at"), DOCUMENTS, st.integers(1, 9)),
    st.tuples(st.just("insert_multiple"), st.lists(DOCUMENTS, max_size=3)),
    st.tuples(st.just("update"), DOCUMENTS, NUMBERS),
    st.tuples(st.just("update ids"), DOCUMENTS, IDS),
    st.tuples(st.just("update all"), DOCUMENTS),
    st.tuples(st.just("increment"), NUMBERS),
    st.tuples(st.just("update_multiple"), DOCUMENTS, NUMBERS),
    st.tuples(st.just("upsert"), DOCUMENTS, NUMBERS),
    st.tuples(st.just("remove"), NUMBERS),
    st.tuples(st.just("remove ids"), IDS),
)


def do(table: Table, name: str, *given: Any) -> Any:
    """One operation; the error's kind where it fails."""
    first, last = given[0], given[-1]
    try:
        match name:
            case "insert" | "insert_multiple":
                return getattr(table, name)(first)
            case "insert at":
                return table.insert(Document(first, last))
            case "update" | "upsert":
                return getattr(table, name)(first, where("n") == last)
            case "update ids":
                return table.update(first, doc_ids=last)
            case "update all":
                return table.update(first)
            case "increment":
                return table.update(increment("n"), where("n") == last)
            case "update_multiple":
                return table.update_multiple([(first, where("n") == last), (delete("n"), where("deep").exists())])
            case "remove":
                return table.remove(where("n") == last)
            case "remove ids":
                return table.remove(doc_ids=last)
    except (ValueError, KeyError) as error:
        return type(error)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), database=None)
@given(operations=st.lists(OPERATIONS, max_size=12))
def test_every_operation_does_what_tinydb_does(operations: list[Any]) -> None:
    with scratch() as folder:
        files, plain = Files(folder), TinyDB(storage=MemoryStorage).table("t")
        ids = NeverAgain(plain)
        plain._get_next_id = ids  # type: ignore[method-assign]
        with JournalDB(JournalStorage(files, SwiftDisk())) as db:
            for operation in operations:
                before = {document.doc_id: dict(document) for document in db.table("t")}
                theirs = do(plain, *operation)
                assert do(db.table("t"), *operation) == theirs
                if isinstance(theirs, type):  # TinyDB may have altered some documents before it failed; ours has not
                    assert {document.doc_id: dict(document) for document in db.table("t")} == before
                    break
                ids.note()
                same(db.table("t"), plain)
            now = db.table("t").all()
        with JournalDB(JournalStorage(files, SwiftDisk())) as db:
            assert db.table("t").all() == now


def same(ours: Table, theirs: Table) -> None:
    assert {d.doc_id: d for d in ours} == {d.doc_id: d for d in theirs}
    assert len(ours) == len(theirs)
    assert ours.count(where("n") == 1) == theirs.count(where("n") == 1)
    assert ours.get(doc_id=1) == theirs.get(doc_id=1)
    assert ours.contains(where("n") == 2) == theirs.contains(where("n") == 2)


class NeverAgain:
    """TinyDB's ids, but none twice, as the store promises; not even one that was asked for by number and removed."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._highest = 0

    def note(self) -> None:
        self._highest = max([self._highest, *(document.doc_id for document in self._table)])

    def __call__(self) -> int:
        self.note()
        self._highest += 1
        return self._highest


def test_what_a_table_hands_out_is_a_copy(db: JournalDB) -> None:
    table, given = db.table("t"), {"deep": [1]}
    id = table.insert(given)
    given["deep"].append(2)
    for found in (table.get(doc_id=id), table.all()[0], table.search(where("deep").exists())[0], *table):
        found["deep"].append(3)
    assert table.get(doc_id=id) == {"deep": [1]}


def test_an_update_that_fails_midway_changes_nothing(db: JournalDB) -> None:
    table = db.table("t")
    table.insert_multiple([{"n": 1}, {"n": 2}, {}])
    with pytest.raises(KeyError):
        table.update(increment("n"))
    assert table.all() == [{"n": 1}, {"n": 2}, {}]


def test_tables_can_be_emptied_and_dropped_and_stay_so() -> None:
    with scratch() as folder:
        with JournalDB(JournalStorage(Files(folder))) as db:
            for name in "abc":
                db.table(name).insert_multiple([{"n": 1}, {"n": 2}])
            db.table("a").truncate()
            db.drop_table("b")
            assert db.tables() == {"a", "c"}
            assert db.table("b").insert({"n": 3}) == 3, "an id is not used again, even after its table was dropped"
            db.drop_table("b")
        with JournalDB(JournalStorage(Files(folder))) as db:
            assert db.tables() == {"a", "c"}
            assert (len(db.table("a")), len(db.table("c"))) == (0, 2)
            db.drop_tables()
            assert db.tables() == set()


def test_tinydb_s_default_table_works_too(db: JournalDB) -> None:
    db.insert({"n": 1})
    assert db.all() == [{"n": 1}]
    assert db.search(where("n") == 1)[0].doc_id == 1


def test_what_json_cannot_hold_is_refused_and_nothing_is_kept(db: JournalDB) -> None:
    for wrong in ({"n": {1, 2}}, {"n": "\ud83c"}, {"n": 2**80}):
        with pytest.raises(InputError, match="cannot be kept"):
            db.insert_multiple([{"n": 1}, wrong])
    assert db.all() == []


def test_a_drop_that_does_not_fit_on_the_disk_drops_nothing() -> None:
    with scratch() as folder:
        disk: Disk = FailingDisk(10**9, 28, only="write")
        with JournalDB(JournalStorage(Files(folder), disk)) as db:
            db.table("t").insert({"n": 1})
            disk.left = 1  # type: ignore[attr-defined]
            with pytest.raises(DiskFull):
                db.drop_tables()
            assert db.table("t").all() == [{"n": 1}]
