"""Whole copies of the store: kept without being asked for, and brought back."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from tinydb import TinyDB

from chatlab.errors import DiskFull, NotFound, StoreCorrupt, StoreError
from chatlab.store import Store
from chatlab.store.migrations import FORMAT, Migrations
from tests.support.hostile.store import FailingDisk, SwiftDisk, kept, said

NEVER = 1_000_000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A store with two demonstrations."""
    with Store.open(tmp_path / "store") as store:
        store.demonstrations.add_many([said("one"), said("two")])
        store.state.set("live", "stage")
    return tmp_path / "store"


def test_a_day_on_which_the_store_is_opened_leaves_one_copy_of_it(folder: Path) -> None:
    for _ in range(3):
        with Store.open(folder) as store:
            (copy,) = store.backups.all()
            store.demonstrations.add(said("later"))
    with TinyDB(folder / "backups" / copy.name) as plain:
        assert len(plain.table("demonstrations")) == 2


def test_a_store_with_nothing_in_it_is_not_copied(tmp_path: Path) -> None:
    for _ in range(2):
        with Store.open(tmp_path) as store:
            assert store.backups.all() == []


def test_a_copy_brings_everything_back_and_can_itself_be_undone(folder: Path) -> None:
    with Store.open(folder) as store:
        copy = store.backups.make()
        store.demonstrations.put(1, said("one, spoilt"))
        store.demonstrations.remove([2])
        store.demonstrations.add(said("three"))
        store.state.set("live", "base")
        assert store.demonstrations.find("two")[1] == 0
        before = store.backups.restore(copy.name)
        assert kept(store) == {1: "one", 2: "two"}
        assert store.state.get("live") == "stage"
        assert store.demonstrations.find("two")[1] == 1
        store.backups.restore(before.name)
        assert kept(store) == {1: "one, spoilt", 3: "three"}
        assert store.demonstrations.add(said("four")) == 4, "an id is not used again"
    with Store.open(folder) as store:
        assert kept(store) == {1: "one, spoilt", 3: "three", 4: "four"}


def test_only_the_newest_ten_copies_are_kept_in_order_of_making_though_the_clock_jumps(folder: Path) -> None:
    with Store.open(folder) as store:
        (first,) = store.backups.all()
        (folder / "backups" / first.name).rename(folder / "backups" / "000001-2999-12-31T23-59-59.json")
        made = [store.backups.make().number for _ in range(12)]
        assert [copy.number for copy in store.backups.all()] == sorted(made, reverse=True)[:10]


def test_a_copy_for_which_there_is_no_room_is_said_and_nothing_is_lost(folder: Path) -> None:
    disk = FailingDisk(NEVER, errno.ENOSPC, for_good=True, only="write")
    with Store.open(folder, disk=disk) as store:
        copy = store.backups.make()
        store.demonstrations.remove([1])
        for allowed in (1, 2):
            disk.left = allowed
            with pytest.raises(DiskFull):
                store.backups.restore(copy.name)
            assert kept(store) == {2: "two"}
        disk.left = NEVER
        store.backups.restore(copy.name)
        assert kept(store) == {1: "one", 2: "two"}


def test_a_store_opens_though_its_daily_copy_cannot_be_made(folder: Path) -> None:
    class NoBackups(SwiftDisk):
        def publish(self, file: Path, data: bytes) -> None:
            raise OSError(errno.ENOSPC, "no room")

    with Store.open(folder, disk=NoBackups()) as store:
        assert kept(store) == {1: "one", 2: "two"}
        assert any("make a backup" in warning for warning in store.warnings)


def test_a_copy_that_is_damaged_or_not_there_or_elsewhere_is_refused(folder: Path) -> None:
    with Store.open(folder) as store:
        (copy,) = store.backups.all()
        for name in ("", "../chatlab.json", "/etc/passwd", "000009-2026-01-01T00-00-00.json"):
            with pytest.raises(NotFound):
                store.backups.restore(name)
        (folder / "backups" / copy.name).write_bytes(b"{")
        with pytest.raises(StoreCorrupt, match="cannot be read"):
            store.backups.restore(copy.name)
        assert kept(store) == {1: "one", 2: "two"}


def test_a_copy_in_an_older_format_is_brought_up_to_date(folder: Path) -> None:
    def renamed(tables):
        for document in tables["demonstrations"].values():
            document["tags"] = ["migrated"]
        return tables

    with Store.open(folder) as store:
        (old,) = store.backups.all()
    with Store.open(folder, migrations=Migrations(FORMAT + 1, {FORMAT: renamed})) as store:
        store.demonstrations.remove([1, 2])
        store.backups.restore(old.name)
        assert store.demonstrations.get(1).tags == ("migrated",)
        newest = store.backups.make()
    for file in folder.glob("chatlab.*"):
        file.unlink()
    with Store.open(folder) as store, pytest.raises(StoreError, match="newer Chatlab"):
        store.backups.restore(newest.name)
