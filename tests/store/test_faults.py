"""The store on disks that fail, and with files that somebody or something damaged."""

from __future__ import annotations

import errno
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from chatlab.errors import ChatlabError, DiskFull, StoreCorrupt, StoreError
from chatlab.store import Store
from chatlab.store.disk import Files
from chatlab.store.migrations import FORMAT, Migrations
from tests.support.hostile.store import (
    FailingDisk,
    KillingDisk,
    LosingDisk,
    PowerCut,
    SwiftDisk,
    Told,
    copied,
    kept,
    kept_in,
    said,
    scratch,
)

NEVER = 1_000_000


@pytest.mark.parametrize("for_good", [False, True], ids=["once", "for good"])
@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO], ids=["full", "broken"])
def test_a_disk_failing_at_any_call_loses_nothing_acknowledged(memory: Path, error: int, for_good: bool) -> None:
    for nth in range(1, 1000):
        folder = memory / str(nth)
        disk = FailingDisk(nth, error, for_good=for_good)
        told = Told(folder, disk)
        told.run()
        found = kept_in(folder)
        assert found == told.sure or (for_good and found in told.doubted), f"call {nth}"
        if not disk.failed:
            break
    print(f"{nth - 1} failing calls, nothing lost")
    assert nth > 30, "the run makes many calls"


@pytest.mark.parametrize("names_now", [False, True], ids=["old names", "new names"])
@pytest.mark.parametrize("bytes_now", [False, True], ids=["synced bytes", "all bytes"])
def test_a_power_cut_at_any_call_loses_nothing_acknowledged(memory: Path, names_now: bool, bytes_now: bool) -> None:
    for nth in range(1, 1000):
        folder = memory / str(nth)
        disk = LosingDisk(folder, nth)
        told = None
        try:
            told = Told(folder, disk)
            told.run()
            break
        except PowerCut:
            sure, doubted = (told.sure, told.doubted) if told else ({}, [])
        left = disk.leave(memory / f"{nth} after", names_now=names_now, bytes_now=bytes_now)
        with Store.open(left) as store:
            assert kept(store) in [sure, *doubted], f"call {nth}"
            assert not store.warnings
    print(f"{nth - 1} power cuts, nothing lost")
    assert nth > 30


def test_a_full_disk_is_said_plainly_and_what_is_there_can_still_be_read(tmp_path: Path) -> None:
    disk = FailingDisk(NEVER, errno.ENOSPC, for_good=True, only="write")
    with Store.open(tmp_path, disk=disk) as store:
        store.demonstrations.add(said("before"))
        disk.left = 1
        with pytest.raises(DiskFull, match="no room left on the disk") as caught:
            store.demonstrations.add(said("too much"))
        assert "Free some space" in caught.value.hint
        assert kept(store) == {1: "before"}
        assert store.demonstrations.find("before")[1] == 1
        disk.left = NEVER
        assert store.demonstrations.add(said("after space was made")) > 1
    assert sorted(kept_in(tmp_path).values()) == ["after space was made", "before"]


@pytest.mark.parametrize("call", ["write", "sync"])
def test_after_a_broken_write_no_change_is_taken_until_the_store_is_opened_again(tmp_path: Path, call: str) -> None:
    disk = FailingDisk(NEVER, errno.EIO, only=call)
    with Store.open(tmp_path, disk=disk) as store:
        store.demonstrations.add(said("before"))
        disk.left = 1
        with pytest.raises(StoreError):
            store.demonstrations.add(said("unsure"))
        with pytest.raises(StoreError, match="takes no changes") as caught:
            store.demonstrations.add(said("later"))
        assert "Restart" in caught.value.hint
        assert any("until Chatlab is restarted" in warning for warning in store.warnings)
        assert kept(store) == {1: "before"}
    with Store.open(tmp_path) as store:
        assert kept(store) == {1: "before"}
        store.demonstrations.add(said("again"))


@pytest.mark.parametrize("nth", [1, 2, 3], ids=["snapshot to backup", "draft to snapshot", "journal to old journal"])
def test_a_file_that_could_not_be_renamed_leaves_the_store_whole_and_open(tmp_path: Path, nth: int) -> None:
    disk = FailingDisk(NEVER, errno.EIO, only="replace")
    store = Store.open(tmp_path, disk=disk)
    store.demonstrations.add(said("one"))
    store.compact()
    store.demonstrations.add(said("two"))
    disk.left = nth
    store.compact()
    assert Files(tmp_path).snapshot.exists()
    assert any("would not write a new snapshot" in warning for warning in store.warnings)
    store.demonstrations.add(said("three"))
    store.close()
    assert list(kept_in(tmp_path).values()) == ["one", "two", "three"]


def test_a_store_on_a_full_disk_opens_for_reading(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        store.demonstrations.add(said("here"))
    with Store.open(tmp_path, disk=FailingDisk(1, errno.ENOSPC, for_good=True, only="write")) as store:
        assert kept(store) == {1: "here"}
        with pytest.raises(DiskFull):
            store.demonstrations.add(said("more"))


def test_a_full_disk_leaves_no_half_snapshot_for_the_trainer(tmp_path: Path) -> None:
    disk = FailingDisk(NEVER, errno.ENOSPC, only="write")
    with Store.open(tmp_path / "store", disk=disk) as store:
        store.demonstrations.add(said("one"))
        disk.left = 1
        with pytest.raises(DiskFull):
            store.snapshot(tmp_path / "snapshot.jsonl", [1])
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


@pytest.fixture
def memory() -> Iterator[Path]:
    with scratch() as folder:
        yield folder


@pytest.fixture
def lived_in(memory: Path) -> tuple[Path, list[dict[int, str]]]:
    """A store that was killed with a snapshot, a backup and a journal, and every state that it went through."""
    folder, states = memory / "lived in", [{}]
    live = Store.open(folder)
    collection = live.demonstrations
    changes = [
        lambda: collection.add(said("a")),
        lambda: collection.add_many([said("b"), said("ß \u2028")]),
        live.compact,
        lambda: collection.put(2, said("b2")),
        lambda: collection.add(said("d")),
        live.compact,
        lambda: collection.remove([1]),
        lambda: collection.add(said("e")),
        lambda: collection.put(3, said("c3")),
        lambda: collection.remove([2, 3]),
    ]
    for change in changes:
        change()
        if kept(live) != states[-1]:
            states.append(kept(live))
    dead = copied(folder, memory / "dead")
    Files(dead).owner.unlink()
    live.close()
    return dead, states


def test_a_journal_cut_at_any_byte_opens_with_every_whole_change_before_the_cut(lived_in, memory: Path) -> None:
    dead, states = lived_in
    data = Files(dead).journal.read_bytes()
    for size in range(len(data)):
        folder = copied(dead, memory / "cut")
        Files(folder).journal.write_bytes(data[:size])
        whole = (data[:size] + b"\n").count(b"\n", 0, size + 1) - 1
        whole += data[size : size + 1] == b"\n"
        with Store.open(folder, disk=SwiftDisk()) as store:
            assert kept(store) == states[-5 + max(0, whole - 1)], f"{size} bytes"
            assert not store.warnings
            number = store.demonstrations.add(said("goes on"))
            killed = copied(folder, memory / "killed")
        for end in (folder, killed):
            with Store.open(end, disk=SwiftDisk()) as store:
                assert kept(store)[number] == "goes on"
                assert not store.warnings
    print(f"{len(data)} cuts of the journal")


def test_a_journal_with_any_byte_damaged_loses_at_most_one_change_and_says_so(lived_in, memory: Path) -> None:
    dead, states = lived_in
    data, rng = Files(dead).journal.read_bytes(), random.Random(0)
    texts = {id: {state.get(id) for state in states} for id in states[-1]}
    for place in range(len(data)):
        folder = copied(dead, memory / "flipped")
        flipped = bytes([data[place] ^ 1 << rng.randrange(8)])
        Files(folder).journal.write_bytes(data[:place] + flipped + data[place + 1 :])
        with Store.open(folder, disk=SwiftDisk()) as store:
            found = kept(store)
            assert found == states[-1] or store.warnings, f"byte {place}: a loss is said"
            missed = {id for id in states[-1] if found.get(id) != states[-1][id]}
            assert len(missed) <= 1, f"byte {place}"
            assert all(text in texts.get(id, {text}) for id, text in found.items()), f"byte {place}: nothing made up"
            assert store.demonstrations.add(said("new")) > 5, "an id is not used again, even after a loss"
        assert not (store.warnings and not list(folder.glob("*.corrupt*"))), "what was damaged is kept"
        with Store.open(folder, disk=SwiftDisk()) as store:
            assert not store.warnings, "said once"
    print(f"{len(data)} flipped bits in the journal")


def test_two_lines_of_the_journal_that_became_one_are_both_read(lived_in, memory: Path) -> None:
    dead, states = lived_in
    data = Files(dead).journal.read_bytes()
    for place in (place for place, byte in enumerate(data) if byte == ord("\n")):
        folder = copied(dead, memory / "joined")
        Files(folder).journal.write_bytes(data[:place] + b"\x0b" + data[place + 1 :])
        assert kept_in(folder) == states[-1]


def test_a_snapshot_with_any_byte_damaged_loses_nothing(lived_in, memory: Path) -> None:
    dead, states = lived_in
    data, rng = Files(dead).snapshot.read_bytes(), random.Random(1)
    for place in range(len(data)):
        folder = copied(dead, memory / "flipped")
        flipped = bytes([data[place] ^ 1 << rng.randrange(8)])
        Files(folder).snapshot.write_bytes(data[:place] + flipped + data[place + 1 :])
        with Store.open(folder, disk=SwiftDisk()) as store:
            assert kept(store) == states[-1], f"byte {place}"
            assert "chatlab.json was damaged" in store.warnings[0]
        aside = folder / "chatlab.json.corrupt1"
        assert aside.read_bytes() != data
        if place % 10 == 0:
            Files(folder).snapshot.write_bytes(b"damaged again")
            assert kept_in(folder) == states[-1], "the backup is good for the next time"
    print(f"{len(data)} flipped bits in the snapshot")


@pytest.mark.parametrize("attack", ["snapshot", "journal", "missing", "format"])
@pytest.mark.parametrize("end", ["killed", "full once", "full", "broken once", "broken"])
def test_a_repair_that_is_itself_cut_off_loses_nothing(lived_in, memory: Path, attack: str, end: str) -> None:
    dead, states = lived_in
    files = Files(dead)
    if attack == "snapshot":
        files.snapshot.write_bytes(files.snapshot.read_bytes()[:-9])
    elif attack == "journal":
        first, *rest = files.journal.read_bytes().split(b"\n")
        files.journal.write_bytes(b"\n".join([first, b"damaged", *rest]))
    elif attack == "missing":
        files.snapshot.unlink()
    newer = Migrations(FORMAT + 1, {FORMAT: lambda tables: tables}) if attack == "format" else None
    for nth in range(1, 100):
        folder = copied(dead, memory / "repaired")
        error = errno.EIO if "broken" in end else errno.ENOSPC
        disk = KillingDisk(nth) if end == "killed" else FailingDisk(nth, error, for_good="once" not in end)
        try:
            Store.open(folder, disk=disk, migrations=newer).close()
        except (ChatlabError, PowerCut):
            assert disk.failed
        with Store.open(folder, disk=SwiftDisk(), migrations=newer) as store:
            assert kept(store) == states[-1], f"call {nth}"
        if not disk.failed:
            break
    assert nth > 5


def test_a_snapshot_cut_at_any_byte_loses_nothing(lived_in, memory: Path) -> None:
    dead, states = lived_in
    data = Files(dead).snapshot.read_bytes()
    for size in range(len(data)):
        folder = copied(dead, memory / "cut")
        Files(folder).snapshot.write_bytes(data[:size])
        with Store.open(folder, disk=SwiftDisk()) as store:
            assert kept(store) == states[-1], f"{size} bytes"
            assert store.warnings
    print(f"{len(data)} cuts of the snapshot")


def test_a_deleted_snapshot_is_found_again_in_the_backup(lived_in) -> None:
    dead, states = lived_in
    Files(dead).snapshot.unlink()
    with Store.open(dead) as store:
        assert kept(store) == states[-1]
        assert "was missing" in store.warnings[0]


def test_a_first_snapshot_that_breaks_is_made_again_from_the_journals(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        store.demonstrations.add(said("first"))
    Files(tmp_path).snapshot.write_bytes(b'{"_meta')
    assert kept_in(tmp_path) == {1: "first"}


def test_with_snapshot_and_backup_unreadable_the_store_says_what_to_do_and_touches_nothing(lived_in) -> None:
    dead, _ = lived_in
    Files(dead).snapshot.write_bytes(b"not a store")
    Files(dead).backup.write_bytes(b"nor this")
    before = {file.name: file.read_bytes() for file in dead.iterdir()}
    for _ in range(2):
        with pytest.raises(StoreCorrupt, match=r"chatlab.json and chatlab.json.bak") as caught:
            Store.open(dead)
        assert "folder backups over chatlab.json" in caught.value.hint
        assert {file.name: file.read_bytes() for file in dead.iterdir()} == before


def test_what_the_store_says_to_do_when_it_cannot_be_read_works(tmp_path: Path) -> None:
    for text in ("one", "two", "three"):
        with Store.open(tmp_path) as store:
            store.demonstrations.add(said(text))
            copy = (store.backups.all() or [store.backups.make()])[0]
    files = Files(tmp_path)
    files.snapshot.write_bytes(b"not a store")
    files.backup.write_bytes(b"nor this")
    with pytest.raises(StoreCorrupt):
        Store.open(tmp_path)
    shutil.copy(files.backups / copy.name, files.snapshot)
    assert "one" in kept_in(tmp_path).values()


def test_an_interrupted_change_is_not_lost_and_no_other_is_taken_after_it(tmp_path: Path) -> None:
    class Interrupted(SwiftDisk):
        now = False

        def sync(self, handle: int) -> None:
            if self.now:
                raise KeyboardInterrupt

    disk = Interrupted()
    with Store.open(tmp_path, disk=disk) as store:
        store.demonstrations.add(said("one"))
        disk.now = True
        with pytest.raises(KeyboardInterrupt):
            store.demonstrations.add(said("two"))
        disk.now = False
        with pytest.raises(StoreError, match="interrupted"):
            store.demonstrations.add(said("three"))
    assert kept_in(tmp_path) == {1: "one", 2: "two"}


def test_a_lost_middle_of_the_history_is_said(lived_in) -> None:
    dead, _ = lived_in
    Files(dead).snapshot.unlink()
    Files(dead).old_journal.unlink()
    with Store.open(dead) as store:
        assert any("2 change(s) to the store are lost" in warning for warning in store.warnings)


def test_a_folder_that_cannot_be_written_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("a file where the folder should be")
    with pytest.raises(ChatlabError, match="would not open the store"):
        Store.open(tmp_path / "store")
