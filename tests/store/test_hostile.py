"""Whatever the store's files say, the app opens with what is whole, and names what it set aside."""

from __future__ import annotations

import contextlib
import inspect
import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chatlab.engines.base import Sampling
from chatlab.engines.fake import FakeEngine
from chatlab.errors import ChatlabError, StoreCorrupt, StoreError
from chatlab.lab import Lab
from chatlab.lab.chat.reply_stream import ReplyOptions
from chatlab.settings import Settings
from chatlab.store import Store
from chatlab.store.disk import Files
from chatlab.ui.chat.handlers import ChatHandlers
from chatlab.ui.chat.replies import Replies
from chatlab.ui.chat.rows import rows
from chatlab.ui.chat.session import Session
from chatlab.web.app import build
from tests.support.hostile.store import kept, said, scratch
from tests.support.hostile.store_mutations import as_json, held, line, lived_in, mutated, sealed


@pytest.fixture(scope="module")
def memory() -> Iterator[Path]:
    with scratch() as folder:
        yield folder


@pytest.fixture(scope="module")
def home(memory: Path, base_folder: Path, cache_folder: Path) -> Settings:
    """A home with something of everything in its store."""
    settings = Settings(home=memory / "home", base=base_folder, cache_folder=cache_folder)
    lived_in(settings)
    return settings


def opened(settings: Settings) -> Lab:
    return Lab(settings, open_engine=lambda base: FakeEngine())


def looked_through(lab: Lab) -> None:
    """What the page reads as it opens, and every conversation opened. Raises what is no ChatlabError."""
    handlers = ChatHandlers(lab, Replies())
    handlers.load()
    for id, conversation in lab.chat.conversations():
        conversation.path()
        for turn in conversation.turns:
            conversation.siblings(turn.id)
            conversation.showing(turn.id)
            conversation.messages(turn.id)
        rows(conversation)
        with contextlib.suppress(ChatlabError):
            handlers.load(str(id))
    handlers.list.search("sea", Session())
    lab.chat.conversations("whale")
    lab.demonstrations.find("a")
    lab.demonstrations.approved()
    lab.demonstrations.counts()
    lab.demonstrations.tags()
    lab.annotators.names()
    lab.annotators.agreement()
    lab.system_messages.presets()
    lab.system_messages.filled("{name}")
    lab.datasets.undoable  # noqa: B018
    lab.quality.is_audited  # noqa: B018
    lab.variants.names()
    lab.variants.previous  # noqa: B018
    lab.budgets.last()
    lab.unseen.prompts()
    assert isinstance(lab.store.warnings, list)


def goes_on(lab: Lab, speaking: bool) -> None:
    """What is said from now on is kept. Where it is to be answered, the base has to be opened."""
    id = lab.chat.new()
    if speaking:
        lab.chat.reply(id, "Are you there?", ReplyOptions(sampling=Sampling(seed=1))).finish()
        lab.checklist.items()
        lab.votes.results()
        lab.health()
    lab.chat.change(id, lambda c: c.grown(role="user", content="Are you there?"))
    assert lab.chat.get(id).turns[-1].content == "Are you there?"
    new = lab.demonstrations.write("Who goes there?", "Nobody.")
    assert lab.demonstrations.get(new).answer == "Nobody."


def attacked(home: Settings, folder: Path, rng: random.Random) -> Settings:
    """A home whose journal or snapshot holds anything, sealed."""
    settings = Settings(home=folder, base=home.base, cache_folder=home.cache_folder)
    shutil.rmtree(folder, ignore_errors=True)
    settings.store.mkdir(parents=True)
    files = Files(settings.store)
    whole, items = held(home.store)
    meta = {name: whole[name] for name in ("format", "seq", "next")}
    match rng.randrange(6):
        case 0:
            files.journal.write_bytes(b"".join(map(line, mutated(items, rng))))
        case 1:
            files.journal.write_bytes(b"".join([line(items[0]), *(line(mutated(one, rng)) for one in items[1:])]))
        case 2:
            files.snapshot.write_bytes(sealed(mutated(whole["tables"], rng), meta))
        case 3:
            files.snapshot.write_bytes(sealed(whole["tables"], mutated(meta, rng)))
        case 4:
            files.snapshot.write_bytes(as_json(mutated({"_meta": {"1": meta}, **whole["tables"]}, rng)))
        case 5:
            files.snapshot.write_bytes(sealed(mutated(whole["tables"], rng), meta))
            files.backup.write_bytes(sealed(mutated(whole["tables"], rng), mutated(meta, rng)))
            files.journal.write_bytes(b"".join(map(line, mutated(items, rng))))
            files.backups.mkdir()
            shutil.copy(home.store / "chatlab.json", files.backups / "000001-2026-01-01T00-00-00.json")
    return settings


def attack(home: Settings, folder: Path, seeds: range) -> dict[str, int]:
    """Open each home twice and use it; how it went."""
    counts = {"opened": 0, "set aside": 0, "left out": 0, "refused": 0}
    for seed in seeds:
        settings = attacked(home, folder, random.Random(seed))
        before = {file.name: file.read_bytes() for file in settings.store.iterdir() if file.is_file()}
        try:
            lab = opened(settings)
        except StoreError as error:
            assert "newer Chatlab" in str(error), f"seed {seed}: {error}"
            after = {file.name: file.read_bytes() for file in settings.store.iterdir() if file.is_file()}
            assert before.items() <= after.items(), f"seed {seed}: a refused store is left alone"
            counts["refused"] += 1
            continue
        try:
            looked_through(lab)
            goes_on(lab, speaking=seed % 20 == 0)
            talks = len(lab.chat.conversations())
            aside = list(settings.store.glob("*.corrupt*"))
            assert all(any(file.name in warning for warning in lab.store.warnings) for file in aside), f"seed {seed}"
            counts["opened"] += 1
            counts["set aside"] += bool(aside)
            counts["left out"] += any("cannot be read" in warning for warning in lab.store.warnings)
        except Exception as error:
            error.add_note(f"seed {seed}")
            raise
        finally:
            lab.close()
        with Store.open(settings.store) as again:
            named = [warning for warning in again.warnings if "cannot be read" not in warning]
            assert not named, f"seed {seed}: said once, {named}"
            assert len(again.conversations.find(limit=1000)[0]) == talks, f"seed {seed}"
    return counts


def test_whatever_the_files_say_the_app_opens_with_what_is_whole(home: Settings, memory: Path) -> None:
    print(attack(home, memory / "attacked", range(120)))


@pytest.mark.slow
def test_whatever_the_files_say_the_app_opens_with_what_is_whole_thousands_of_times(
    home: Settings, memory: Path
) -> None:
    print(attack(home, memory / "attacked often", range(1000, 5000)))


class Page:
    """The whole page, and what it does when it is loaded, when a tab is opened and when its clock ticks."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.handlers = {
            f"{function.fn.__qualname__} {number}": (
                function.fn.__wrapped__,
                [{c: c.value for c in function.inputs}]
                if function.inputs_as_dict
                else [c.value for c in function.inputs],
            )
            for number, function in build(lab).fns.items()
            if function.fn is not None
            and {event for _, event in function.targets} & {"load", "select", "expand", "tick"}
            and "request" not in inspect.signature(function.fn.__wrapped__).parameters
        }

    def look(self) -> None:
        """Raises what is no ChatlabError."""
        looked_through(self.lab)
        for name, (handler, given) in self.handlers.items():
            try:
                answer = handler(*given)
                if inspect.isgenerator(answer):
                    list(answer)
            except ChatlabError:
                pass
            except Exception as error:
                error.add_note(name)
                raise


def misled(page: Page, tables: dict[str, Any], seeds: range) -> dict[str, int]:
    """Look at the page with records of any shape behind it; how many could be read."""
    counts = {"looked": 0, "refused": 0, "unreadable": 0}
    store = page.lab.store
    for seed in seeds:
        rng = random.Random(seed)
        name = rng.choice([*tables, "state", "state"])
        altered = {**tables, name: {id: mutated(one, rng) for id, one in tables[name].items()}}
        try:
            store.db.storage.write(altered)
        except ChatlabError:
            counts["refused"] += 1
            continue
        try:
            page.look()
        except Exception as error:
            error.add_note(f"seed {seed}, {name}")
            raise
        counts["looked"] += 1
        counts["unreadable"] += any("cannot be read" in warning for warning in store.warnings)
    return counts


@pytest.fixture(scope="module")
def page(home: Settings, memory: Path) -> Iterator[Page]:
    shutil.copytree(home.home, memory / "looked at")
    lab = opened(Settings(home=memory / "looked at", base=home.base, cache_folder=home.cache_folder))
    yield Page(lab)
    lab.close()


def test_whatever_a_record_holds_the_page_can_be_looked_at(page: Page, home: Settings) -> None:
    page.look()
    assert len(page.handlers) > 25
    print(misled(page, held(home.store)[0]["tables"], range(80)))


@pytest.mark.slow
def test_whatever_a_record_holds_the_page_can_be_looked_at_thousands_of_times(page: Page, home: Settings) -> None:
    print(misled(page, held(home.store)[0]["tables"], range(1000, 4000)))


TURN = {"id": 0, "parent": None, "role": "user", "content": "x"}


@pytest.mark.parametrize(
    "talk",
    [
        {"turns": [TURN | {"parent": 0}], "head": 0},
        {"turns": [TURN | {"parent": 1}, TURN | {"id": 1, "parent": 0}], "head": 1},
        {"turns": [TURN, TURN | {"id": 1, "parent": -1}], "head": 1},
        {"turns": [TURN], "head": 7},
        {"turns": [TURN], "head": -1},
        {"turns": [TURN, TURN], "head": 1},
        {"turns": [TURN | {"id": -1}], "head": 0},
        {"turns": [TURN | {"context_start": 3}], "head": 0},
        {"turns": [TURN | {"role": "wizard"}], "head": 0},
        {"turns": {"0": TURN}, "head": 0},
        {"title": ["x"]},
        {"budget": {"answer": "much"}},
    ],
    ids=str,
)
def test_a_conversation_that_leads_nowhere_is_said_and_left_out(tmp_path: Path, talk: dict[str, Any]) -> None:
    items = [[0, {}, {"format": 1}], [1, {"conversations": {"1": talk, "2": {"title": "whole"}}}]]
    Files(tmp_path).journal.write_bytes(b"".join(map(line, items)))
    with Store.open(tmp_path) as store:
        assert [title.title for _, title in store.conversations.rows()] == ["whole"]
        assert store.warnings == ["1 record(s) cannot be read and are left out."]
        with pytest.raises(StoreCorrupt):
            store.conversations.get(1)


@pytest.mark.parametrize(
    "item",
    [
        {"a": 1},
        [],
        None,
        3,
        "text",
        [2],
        [2, []],
        [2, None],
        [-1, {}],
        [True, {}],
        ["2", {}],
        [2.5, {}],
        [2**60, {}],
        [2, {"demonstrations": []}],
        [2, {"demonstrations": {"x": {}}}],
        [2, {"demonstrations": {"0": {}}}],
        [2, {"demonstrations": {"01": {}}}],
        [2, {"demonstrations": {"7": []}}],
        [2, {"_meta": {"1": {}}}],
        [2, {"demonstrations": {"7": {"deep": "nested 400"}}}],
        [2, {"demonstrations": {"7": {"deep": "nested 2000"}}}],
        [2, {}, {"format": "1"}],
        [2, {}, {"format": 0}],
        [2, {}, {}],
        [2, {}, []],
        [2, {"state": {}}, {"format": 1}],
    ],
    ids=str,
)
def test_a_line_of_another_shape_is_set_aside_and_the_rest_read(tmp_path: Path, item: Any) -> None:
    with Store.open(tmp_path / "whole") as store:
        store.demonstrations.add(said("one"))
        store.demonstrations.add(said("two"))
        first, one, two = Files(tmp_path / "whole").journal.read_bytes().splitlines(keepends=True)
    files = Files(tmp_path)
    files.journal.write_bytes(first + one + line(item) + two)
    with Store.open(tmp_path) as store:
        assert kept(store) == {1: "one", 2: "two"}
        (aside,) = tmp_path.glob("chatlab.journal.corrupt*")
        assert aside.read_bytes() == line(item) and any(aside.name in warning for warning in store.warnings)
        new = store.demonstrations.add(said("three"))
    with Store.open(tmp_path) as store:
        assert kept(store) == {1: "one", 2: "two", new: "three"} and not store.warnings


@pytest.mark.parametrize("name", ["snapshot", "backup", "draft", "journal", "old_journal", "lock", "owner", "backups"])
@pytest.mark.parametrize("what", ["folder", "loop", "nothing", "fifo"])
def test_something_else_in_the_place_of_a_file_keeps_nobody_out(tmp_path: Path, name: str, what: str) -> None:
    with Store.open(tmp_path) as store:
        store.demonstrations.add(said("one"))
        store.compact()
    place: Path = getattr(Files(tmp_path), name)
    if place.exists():
        place.unlink()
    match what:
        case "folder" if name != "backups":
            (place / "inside").mkdir(parents=True)
        case "loop":
            place.symlink_to(place)
        case "fifo" if hasattr(os, "mkfifo"):
            os.mkfifo(place)
        case _:
            place.write_bytes(b"")
    if name == "lock" and what in ("loop", "fifo"):
        pytest.skip("the system's own refusal")
    with Store.open(tmp_path, salvage=True) as store:
        assert kept(store) == {1: "one"}
        store.demonstrations.add(said("two"))
    with Store.open(tmp_path) as store:
        assert sorted(kept(store).values()) == ["one", "two"]


@pytest.mark.parametrize("copies", ["whole", "damaged", "none"])
def test_the_app_begins_from_its_newest_backup_where_no_snapshot_can_be_read(settings: Settings, copies: str) -> None:
    files = Files(settings.store)
    with Store.open(settings.store) as store:
        store.demonstrations.add(said("kept long ago"))
        store.compact()
        store.compact()
        if copies != "none":
            store.backups.make()
            newest = store.backups.make()
        store.demonstrations.add(said("kept since"))
        killed = {file: file.read_bytes() for file in (files.journal, files.old_journal)}
    for file, data in killed.items():
        file.write_bytes(data)
    for file in (files.snapshot, files.backup):
        file.write_bytes(b"not a store")
    if copies == "damaged":
        (files.backups / newest.name).write_bytes(b"nor this")
    lab = opened(settings)
    answers = {demonstration.answer for _, demonstration in lab.store.demonstrations.rows()}
    assert answers == ({"kept since"} if copies == "none" else {"kept long ago", "kept since"})
    said_of = " ".join(lab.store.warnings)
    for file in (files.snapshot, files.backup):
        aside = file.with_name(f"{file.name}.corrupt1")
        assert aside.read_bytes() == b"not a store" and aside.name in said_of
    lab.close()
    with Store.open(settings.store) as store:
        assert not store.warnings and len(store.demonstrations) == len(answers)


def test_a_number_out_of_line_hides_no_change_that_follows_it(tmp_path: Path) -> None:
    items = [[0, {}, {"format": 1}], *([n, {"presets": {str(n): {"name": str(n)}}}] for n in (1, 10**12, 2, 3))]
    Files(tmp_path).journal.write_bytes(b"".join(map(line, items)))
    with Store.open(tmp_path) as store:
        assert [preset.name for _, preset in store.presets.rows()] == ["1", "2", "3"]
        assert "1 damaged line(s)" in store.warnings[0]


def test_where_a_file_claims_that_all_numbers_are_given_out_there_are_still_some(tmp_path: Path) -> None:
    meta = {"format": 1, "seq": 2**53 - 2, "next": {"demonstrations": 2**53 - 1}}
    Files(tmp_path).snapshot.write_bytes(sealed({"demonstrations": {}}, meta))
    with Store.open(tmp_path) as store:
        store.demonstrations.add_many([said("one"), said("two")])
        new = store.demonstrations.add_many([said("three"), said("four")])
        store.demonstrations.put(new[0], said("three, again"))
    with Store.open(tmp_path) as store:
        assert sorted(kept(store).values()) == ["four", "one", "three, again", "two"] and not store.warnings
