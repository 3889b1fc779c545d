"""The store as the rest of the app sees it."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from tinydb import TinyDB

from chatlab.conversation import Conversation
from chatlab.errors import InputError, NotFound, StoreCorrupt, StoreError
from chatlab.records import AdapterCard, Demonstration, Message, Preference, Provenance, Rating, TrainSettings, Vote
from chatlab.store import Store
from chatlab.store.disk import Files
from chatlab.store.journal import encode_line
from chatlab.store.migrations import FORMAT, Migrations
from chatlab.system.codec import from_document, to_document
from tests.support.hostile.store import kept, kept_in, said

ASKED = (Message(role="user", content="What is a whale?"),)
SPEAKER = Provenance(adapter="stage", sha256="ab", base="cd", strength=0.5, tokens=7, seconds=1.5)
TALK = (
    Conversation(title="Whales", system="Be brief.", created="2026-01-01T00:00:00.000+00:00")
    .grown(role="user", content="What is a whale?")
    .grown(role="assistant", content="A fish. 🐳", provenance=SPEAKER, stopped="end")
    .changed(1, rating=Rating(liked=False, reasons=("not correct", "too long")))
    .grown(role="assistant", content="A mammal.", parent=0, edited_from=1, demonstration=3)
)
PREFERENCE = Preference(
    prompt=ASKED, chosen="A mammal.", rejected="A fish.", source="edit", rejected_by=SPEAKER, created="2026"
)
VOTE = Vote(
    prompt=ASKED, answers=("A mammal.", "A fish."), provenances=(SPEAKER, Provenance()), verdict="best", winner=0
)


def test_what_is_put_in_comes_out_equal_also_after_a_restart(tmp_path: Path) -> None:
    demonstration = replace(said("A mammal.", "sea", "animals"), origin="1/2", source="edited")
    with Store.open(tmp_path) as store:
        assert store.conversations.add(TALK) == 1
        assert store.demonstrations.add(demonstration) == 1
        assert store.preferences.add(PREFERENCE) == 1
        assert store.votes.add(VOTE) == 1
        store.state.set("live", ["base", "stage"])
    with Store.open(tmp_path) as store:
        assert store.conversations.get(1) == TALK
        assert store.demonstrations.get(1) == demonstration
        assert store.preferences.get(1) == PREFERENCE
        assert store.votes.get(1) == VOTE
        assert store.state.get("live") == ["base", "stage"]
        assert store.state.get("theme", "dark") == "dark"
        assert not store.warnings


def test_an_id_is_never_used_again(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        assert store.demonstrations.add_many([said("a"), said("b"), said("c")]) == [1, 2, 3]
        store.demonstrations.remove([2, 3])
        assert store.demonstrations.add(said("d")) == 4
        store.demonstrations.remove([4])
    with Store.open(tmp_path) as store:
        assert store.demonstrations.add(said("e")) == 5
        store.demonstrations.put(9, said("placed"))
        store.demonstrations.remove([9])
    with Store.open(tmp_path) as store:
        assert store.demonstrations.add(said("f")) == 10


def test_what_was_removed_can_be_put_back(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        store.demonstrations.add_many([said("a"), said("b"), said("c")])
        removed = store.demonstrations.remove([3, 1, 17, 3])
        assert {id: value.answer for id, value in removed.items()} == {3: "c", 1: "a"}
        assert kept(store) == {2: "b"}
        assert 1 not in store.demonstrations
        store.demonstrations.put_many(removed)
        assert list(kept(store).items()) == [(1, "a"), (2, "b"), (3, "c")]
        assert len(store.demonstrations) == 3


def test_a_record_that_is_not_there_is_not_found(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        with pytest.raises(NotFound, match="no demonstration 7"):
            store.demonstrations.get(7)
        with pytest.raises(NotFound):
            store.demonstrations.put(0, said("nowhere"))
        with pytest.raises(NotFound):
            store.demonstrations.put("1", said("nowhere"))  # type: ignore[arg-type]


def test_records_are_found_by_their_words_in_any_case_newest_first(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        collection = store.demonstrations
        collection.add_many(
            [said("The Moon"), said("the sun"), said("a moonless night", "sky"), said("STRASSE"), said("Straße")]
        )
        assert [id for id, _ in collection.find("moon")[0]] == [3, 1]
        assert [id for id, _ in collection.find("MOON", reverse=False)[0]] == [1, 3]
        assert [id for id, _ in collection.find("straße")[0]] == [5, 4]
        assert [id for id, _ in collection.find("sky")[0]] == [3]
        assert collection.find("assistant") == ([], 0), "a role is not one of its words"
        collection.put(1, said("a candle"))
        collection.remove([3])
        assert collection.find("moon") == ([], 0)
        assert collection.find("candle")[1] == 1
        collection.add(said("new moon"))
        assert [id for id, _ in collection.find("moon")[0]] == [6]


def test_a_list_is_read_page_by_page_with_its_total(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        store.demonstrations.add_many([said(f"n{number}", "even" if number % 2 else "odd") for number in range(1, 121)])
        page, total = store.demonstrations.find(offset=50, limit=20)
        assert ([id for id, _ in page], total) == (list(range(70, 50, -1)), 120)
        page, total = store.demonstrations.find("n1", where=lambda d: "odd" in d.tags, limit=3)
        assert ([id for id, _ in page], total) == ([120, 118, 116], 16)
        assert store.demonstrations.find(offset=500) == ([], 120)


def test_conversations_preferences_and_votes_are_found_by_what_was_said(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        store.conversations.add(TALK)
        store.preferences.add(PREFERENCE)
        store.votes.add(VOTE)
        for text in ("whale", "mammal", "BE BRIEF", "a fish. 🐳"):
            assert store.conversations.find(text)[1] == 1, text
        assert store.preferences.find("a FISH")[1] == 1
        assert store.votes.find("mammal")[1] == 1


def test_half_a_character_is_replaced_and_the_rest_of_the_text_kept(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        id = store.demonstrations.add(said("sun \ud83c and \ud83c\udf1e whole", "\udfff"))
        assert store.demonstrations.get(id).answer == "sun \N{REPLACEMENT CHARACTER} and 🌞 whole"
        assert store.demonstrations.find("🌞")[1] == 1
        store.state.set("note", "fine")
        with pytest.raises(InputError):
            store.state.set("note", "\ud83c")
        assert store.state.get("note") == "fine"


@pytest.mark.parametrize(
    "wrong",
    [
        replace(TALK, turns=(replace(TALK.turns[1], provenance=replace(SPEAKER, seconds=math.nan)),)),
        replace(TALK, turns=(replace(TALK.turns[1], provenance=replace(SPEAKER, strength=math.inf)),)),
        replace(TALK, title=3),
        replace(TALK, turns="not turns"),
        replace(TALK, turns=(replace(TALK.turns[0], role="wizard"),)),
        replace(TALK, head=True),
        said("a demonstration among conversations"),
        {"title": "a dict"},
        None,
    ],
    ids=str,
)
def test_a_value_that_is_not_what_it_says_is_refused_and_nothing_is_kept(tmp_path: Path, wrong: Any) -> None:
    with Store.open(tmp_path) as store:
        with pytest.raises(InputError, match="cannot be kept"):
            store.conversations.add_many([TALK, wrong])
        assert len(store.conversations) == 0


@pytest.mark.parametrize(
    "wrong",
    [math.nan, {1: 2}, (1, 2), {"a": object()}, {1, 2}, 2**80],
    ids=["nan", "number as key", "tuple", "object", "set", "too large"],  # the same in every process of a run
)
def test_state_that_would_come_back_different_is_refused(tmp_path: Path, wrong: object) -> None:
    with Store.open(tmp_path) as store:
        with pytest.raises(InputError):
            store.state.set("live", wrong)
        assert store.state.get("live") is None


def test_state_is_handed_out_as_copies(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        given = ["base"]
        store.state.set("live", given)
        given.append("mine")
        store.state.get("live").append("yours")
        assert store.state.get("live") == ["base"]


def test_a_snapshot_holds_the_asked_demonstrations_in_order_and_its_hash(tmp_path: Path) -> None:
    path = tmp_path / "run" / "snapshot.jsonl"
    path.parent.mkdir()
    with Store.open(tmp_path / "store") as store:
        store.demonstrations.add_many([said("one"), said("two\nlines \u2028"), said("three")])
        sha256 = store.snapshot(path, [3, 2])
        assert sha256 == hashlib.sha256(path.read_bytes()).hexdigest() == store.snapshot(path, [3, 2])
        rows = [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]]
        assert [row["id"] for row in rows] == [3, 2]
        assert rows[1]["messages"][-1] == {"role": "assistant", "content": "two\nlines \u2028"}
        with pytest.raises(NotFound):
            store.snapshot(path, [1, 99])
        assert [file.name for file in path.parent.iterdir()] == ["snapshot.jsonl"]


def test_plain_tinydb_opens_the_store_and_what_it_writes_is_taken_over(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        store.demonstrations.add_many([said("one"), said("two")])
        store.demonstrations.remove([2])
    with TinyDB(Files(tmp_path).snapshot) as plain:
        assert plain.table("demonstrations").get(doc_id=1)["messages"][-1]["content"] == "one"
        plain.table("demonstrations").insert(to_document(said("three, by another program")))
    with Store.open(tmp_path) as store:
        assert kept(store) == {1: "one", 2: "three, by another program"}
        assert "another program" in store.warnings[0]
        assert store.demonstrations.add(said("four")) == 3
    with Store.open(tmp_path) as store:
        assert not store.warnings


def test_a_shelf_follows_what_is_done_to_its_table(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        table = store.db.table("demonstrations")
        assert (kept(store), store.demonstrations.find("one")[1]) == ({}, 0)
        id = table.insert(to_document(said("one")))
        assert (kept(store), store.demonstrations.find("one")[1]) == ({id: "one"}, 1)
        table.update({"tags": ["sky"]})
        assert store.demonstrations.get(id).tags == ("sky",)
        table.insert(to_document(said("unread")))
        assert store.demonstrations.find("unread", limit=0)[1] == 1
        store.db.drop_tables()
        assert (kept(store), store.demonstrations.find("unread")[1], len(store.demonstrations)) == ({}, 0, 0)
        assert store.demonstrations.add(said("two")) == id + 2
    assert kept_in(tmp_path) == {id + 2: "two"}


def test_a_store_that_a_person_laid_out_anew_is_taken_as_it_is(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        store.demonstrations.add(said("one"))
    file = Files(tmp_path).snapshot
    file.write_text(json.dumps(json.loads(file.read_text()), indent=2))
    assert kept_in(tmp_path) == {1: "one"}


def test_a_tinydb_file_from_elsewhere_becomes_a_store(tmp_path: Path) -> None:
    with TinyDB(Files(tmp_path).snapshot) as plain:
        plain.table("demonstrations").insert(to_document(said("from elsewhere")))
    with Store.open(tmp_path) as store:
        assert store.demonstrations.add(said("two")) == 2
    assert kept_in(tmp_path) == {1: "from elsewhere", 2: "two"}


def test_a_closed_store_takes_nothing_and_can_be_closed_again(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    store.demonstrations.add(said("one"))
    store.close()
    store.close()
    with pytest.raises(StoreError, match="closed"):
        store.demonstrations.add(said("late"))
    assert not store.warnings
    assert not Files(tmp_path).owner.exists()


def test_a_long_journal_becomes_a_snapshot_by_itself(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    id = store.conversations.add(TALK)
    for _ in range(40):
        store.conversations.put(id, replace(TALK, system="x" * 500_000))
    assert Files(tmp_path).journal.stat().st_size < 9 << 20
    assert Files(tmp_path).snapshot.exists()
    store.close()


def edited(folder: Path, change: Any) -> None:
    """Alter the snapshot as a newer version of Chatlab, or a person, might have written it."""
    content = orjson.loads(Files(folder).snapshot.read_bytes())
    change(content)
    Files(folder).snapshot.write_bytes(orjson.dumps(content))


def test_what_a_newer_version_wrote_beside_known_fields_is_kept(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        store.demonstrations.add(said("one"))

    def newer(content: Any) -> None:
        content["demonstrations"]["1"].update(difficulty=0.7, source="dreamt")
        content["demonstrations"]["1"]["messages"][0]["language"] = "en"
        content["moods"] = {"1": {"mood": "merry"}}

    edited(tmp_path, newer)
    with Store.open(tmp_path) as store:
        ((id, found),) = store.demonstrations.rows()
        assert (found.answer, found.source) == ("one", "dreamt")
        store.demonstrations.put(id, said("two"))
    content = orjson.loads(Files(tmp_path).snapshot.read_bytes())
    assert content["demonstrations"]["1"]["difficulty"] == 0.7
    assert content["moods"] == {"1": {"mood": "merry"}}


def test_a_record_that_makes_no_sense_is_left_out_of_lists_and_said(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        store.demonstrations.add_many([said("one"), said("two"), said("three")])

    def spoilt(content: Any) -> None:
        content["demonstrations"]["2"] = {"messages": "none"}
        content["demonstrations"]["3"] = {"tags": []}

    edited(tmp_path, spoilt)
    with Store.open(tmp_path) as store:
        assert kept(store) == {1: "one"}
        assert store.demonstrations.find("one")[1] == 1
        assert "2 record(s) cannot be read" in store.warnings[-1]
        with pytest.raises(StoreCorrupt, match="Demonstration 2 cannot be read"):
            store.demonstrations.get(2)
        store.demonstrations.remove([2, 3])
        assert "cannot be read" not in store.warnings[-1]


def test_an_older_format_is_brought_up_to_date_once(tmp_path: Path) -> None:
    killed = Store.open(tmp_path)
    killed.demonstrations.add(said("in the snapshot"))
    killed.compact()
    killed.demonstrations.add(said("in the journal"))
    killed._lock.release()

    def tagged(tables: Any) -> Any:
        for document in tables["demonstrations"].values():
            document["tags"] = [*document.get("tags", []), "moved"]
        return tables

    for _ in range(2):
        with Store.open(tmp_path, migrations=Migrations(FORMAT + 2, {FORMAT: tagged, FORMAT + 1: tagged})) as store:
            assert {d.answer: d.tags for _, d in store.demonstrations.rows()} == {
                "in the snapshot": ("moved", "moved"),
                "in the journal": ("moved", "moved"),
            }
    with TinyDB(tmp_path / f"chatlab.format{FORMAT}.json") as plain:
        assert len(plain.table("demonstrations")) == 2, "the store as it was is kept"
    with pytest.raises(StoreError, match=rf"newer Chatlab \(format {FORMAT + 2}") as caught:
        Store.open(tmp_path)
    assert "Update" in caught.value.hint


def test_a_journal_of_a_newer_version_is_refused_and_left_alone(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        store.demonstrations.add(said("one"))
    journal = Files(tmp_path).journal
    journal.write_bytes(encode_line(1, {}, FORMAT + 1) + b"damaged\n")
    before = journal.read_bytes()
    with pytest.raises(StoreError, match="newer Chatlab"):
        Store.open(tmp_path)
    assert journal.read_bytes() == before
    assert not list(tmp_path.glob("*corrupt*"))


def test_a_migration_that_fails_leaves_the_store_as_it_was(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        store.demonstrations.add(said("one"))
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    with pytest.raises(ZeroDivisionError):
        Store.open(tmp_path, migrations=Migrations(FORMAT + 1, {FORMAT: lambda tables: 1 // 0}))  # type: ignore[dict-item,return-value]
    for name, data in before.items():
        assert (tmp_path / name).read_bytes() == data
    with Store.open(tmp_path) as store:
        assert kept(store) == {1: "one"}


def test_every_kind_of_record_survives_the_way_to_json_and_back() -> None:
    card = AdapterCard(
        name="stage",
        base="cd",
        settings=TrainSettings(rank=8, mask=False),
        demonstrations=(3, 1),
        forgetting=1,
        forgetting_interval=(0.5, 2),
        stopped_early=True,
    )
    for value in (TALK, PREFERENCE, VOTE, card, said("x"), Demonstration(messages=ASKED), Conversation()):
        assert from_document(type(value), orjson.loads(orjson.dumps(to_document(value)))) == value


def test_a_kind_of_record_that_nobody_thought_of_is_kept_too() -> None:
    @dataclass(frozen=True)
    class Point:
        x: float
        name: str | None = None
        path: tuple[int, ...] = ()

    assert to_document(Point(1.5)) == {"x": 1.5}
    globals()["Point"] = Point
    assert from_document(Point, {"x": 1, "path": [1, 2], "z": 9}) == Point(1.0, None, (1, 2))
    with pytest.raises(ValueError, match="not a Point"):
        from_document(Point, {"name": "no x"})
