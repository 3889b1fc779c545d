"""The store against a plain dict, through every order of changes, crashes and restarts that hypothesis thinks of."""

from __future__ import annotations

import errno
import shutil

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule

from chatlab.errors import DiskFull
from chatlab.store import Store
from chatlab.store.disk import Files
from tests.support.hostile.store import FailingDisk, copied, kept, said, scratch

TEXTS = st.text(max_size=20) | st.sampled_from(["moon", "Moon", "ß", "\ud83c", '"\\\n', "12345678 [1,{}]"])


def held(text: str) -> str:
    """As the store keeps it."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


class StoreMachine(RuleBasedStateMachine):
    """Every rule does the same to a store and to dicts; the invariants compare them."""

    ids = Bundle("ids")
    removed = Bundle("removed")

    @initialize()
    def begin(self) -> None:
        self.scratch = scratch()
        self.home = self.scratch.__enter__()
        self.folder = self.home / "0"
        self.model: dict[int, str] = {}
        self.state: dict[str, str] = {}
        self.highest = 0
        self.lives = 0
        self.open()

    def open(self) -> None:
        self.disk = FailingDisk(10**9, errno.ENOSPC)
        self.store = Store.open(self.folder, disk=self.disk)
        assert not self.store.warnings

    @rule(target=ids, texts=st.lists(TEXTS, max_size=3))
    def add(self, texts: list[str]):
        ids = self.store.demonstrations.add_many([said(text) for text in texts])
        assert all(id > self.highest for id in ids), "an id was used twice"
        self.highest = max([self.highest, *ids])
        self.model |= dict(zip(ids, map(held, texts), strict=True))
        return multiple(*ids)

    @rule(id=ids, text=TEXTS)
    def put(self, id: int, text: str) -> None:
        self.store.demonstrations.put(id, said(text))
        self.model[id] = held(text)

    @rule(target=removed, ids=st.lists(ids, max_size=3))
    def remove(self, ids: list[int]):
        gone = self.store.demonstrations.remove(ids)
        assert {id: value.answer for id, value in gone.items()} == {
            i: self.model.pop(i) for i in set(ids) & {*self.model}
        }
        return gone

    @rule(gone=consumes(removed))
    def put_back(self, gone) -> None:
        self.store.demonstrations.put_many(gone)
        self.model |= {id: value.answer for id, value in gone.items()}

    @rule(key=st.sampled_from("ab"), value=st.text(st.characters(exclude_categories=["Cs"]), max_size=5))
    def set_state(self, key: str, value: str) -> None:
        self.store.state.set(key, value)
        self.state[key] = value

    @rule(text=TEXTS)
    def fill_the_disk_and_make_room_again(self, text: str) -> None:
        self.disk.only, self.disk.left = "write", 1
        try:
            self.store.demonstrations.add(said(text))
            raise AssertionError("a full disk must be said")
        except DiskFull:
            pass

    @rule(call=st.sampled_from(["write", "sync", "replace", "open"]), nth=st.integers(1, 3))
    def compact_on_a_failing_disk(self, call: str, nth: int) -> None:
        self.disk.only, self.disk.left = call, nth
        self.store.compact()
        self.disk.left = 10**9
        if self.store._storage.refusal:
            self.restart()
        self.store._storage.warnings.clear()

    @rule()
    def compact(self) -> None:
        self.store.compact()

    @rule()
    def restart(self) -> None:
        self.store.close()
        self.open()

    @rule(torn=st.binary(max_size=30))
    def crash(self, torn: bytes) -> None:
        self.lives += 1
        old, self.folder = self.folder, copied(self.folder, self.home / str(self.lives))
        self.store.close()
        shutil.rmtree(old)
        with Files(self.folder).journal.open("ab") as journal:
            journal.write(torn.replace(b"\n", b""))
        self.open()

    @invariant()
    def the_store_holds_what_the_model_holds(self) -> None:
        assert kept(self.store) == self.model
        assert len(self.store.demonstrations) == len(self.model)
        assert {key: self.store.state.get(key) for key in self.state} == self.state

    @invariant()
    def every_search_finds_what_the_model_would(self) -> None:
        rows, total = self.store.demonstrations.find("moon", limit=100)
        assert [id for id, _ in rows] == sorted((i for i, t in self.model.items() if "moon" in t.lower()), reverse=True)
        assert total == len(rows)

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.store.close()
            self.scratch.__exit__(None, None, None)


StoreMachine.TestCase.settings = settings(
    max_examples=40, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck), database=None
)
test_the_store_is_a_dict_that_survives = StoreMachine.TestCase
