"""The adapters folder: published whole or not at all, and nothing in it believed unchecked."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from chatlab.adapters import Adapters, check_name
from chatlab.adapters.card import card_as_json, card_from_json
from chatlab.adapters.manifest import CARD, CONFIG, MANIFEST, WEIGHTS
from chatlab.errors import (
    AdapterDamaged,
    AdapterError,
    AdapterMissing,
    NameRefused,
    WrongBase,
)
from chatlab.records import AdapterCard, TrainSettings
from chatlab.system.files import sha256_of

CARD_OF_STAGE = AdapterCard(
    name="stage",
    base="f" * 64,
    base_name="small base",
    created="2026-11-23T09:00:00.000+00:00",
    demonstrations=(1, 2, 3, 7),
    parameters=600_000,
    base_parameters=8_000_000,
    steps=60,
    seconds=9.5,
    forgetting=1.2,
    forgetting_interval=(0.4, 2.0),
    held_out_before=3.1,
    held_out_after=2.2,
    settings=TrainSettings(rank=8),
)


def visible(shelf: Adapters, tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "adapters").iterdir())


def test_a_published_adapter_is_listed_and_opens_with_its_card_and_every_byte(shelf, source, tmp_path):
    card = shelf.publish(source, CARD_OF_STAGE)
    opened, folder = shelf.open("stage", "f" * 64)
    assert shelf.cards() == [card] == [opened]
    assert folder == tmp_path / "adapters" / "stage"
    assert (folder / WEIGHTS).read_bytes() == (source / WEIGHTS).read_bytes()
    assert card.sha256 == sha256_of(source / WEIGHTS)
    assert replace(card, sha256="") == CARD_OF_STAGE


def test_the_model_card_names_the_base_and_what_was_learned(shelf, source, tmp_path):
    shelf.publish(source, replace(CARD_OF_STAGE, base_name='my "base" | `x`\n---'))
    text = (tmp_path / "adapters" / "stage" / "README.md").read_text()
    front = text.split("---\n")[1]
    assert 'base_model: "my \\"base\\" | `x`\\n---"' in front
    assert "library_name: peft" in front
    assert "1-3, 7" in text and "+1.2 % (95 %: +0.4 to +2.0)" in text and "7.50 % of the base" in text


def test_a_second_adapter_of_the_same_name_gets_a_name_of_its_own(shelf, source):
    names = [shelf.publish(source, replace(CARD_OF_STAGE, name=name)).name for name in ("stage", "stage", "STAGE")]
    assert names == ["stage", "stage-2", "STAGE-3"]
    assert shelf.free_name("stage") == "stage-4"


def test_the_longest_name_leaves_room_for_its_number(shelf, source):
    longest = "a" * 64
    assert shelf.publish(source, replace(CARD_OF_STAGE, name=longest)).name == longest
    second = shelf.publish(source, replace(CARD_OF_STAGE, name=longest)).name
    assert second == "a" * 62 + "-2"
    assert set(shelf.names()) == {longest, second}


def test_the_newest_adapter_comes_first(shelf, source):
    for name, created in (("old", "2026-01-01"), ("new", "2026-03-01"), ("middle", "2026-02-01")):
        shelf.publish(source, replace(CARD_OF_STAGE, name=name, created=created))
    assert shelf.names() == ["new", "middle", "old"]


@pytest.mark.parametrize(
    "name",
    [
        "../../x",
        "..",
        ".",
        "",
        "/etc/passwd",
        "a/b",
        "a\\b",
        "C:\\x",
        "nul",
        "NUL.txt",
        "CON",
        "com1",
        "lpt9.x",
        "base",
        "Base",
        "a\0b",
        "a\n",
        "-rf",
        ".hidden",
        "~",
        "a b",
        "a;touch x",
        "é",
        "٣",
        "a" * 65,
        "dot.",
        "$(x)",
    ],
)
def test_a_name_that_could_leave_the_folder_is_refused_with_a_hint(name, shelf, source):
    with pytest.raises(NameRefused) as refused:
        shelf.publish(source, replace(CARD_OF_STAGE, name=name))
    assert refused.value.hint
    with pytest.raises(AdapterMissing):
        shelf.open(name, "f" * 64)
    assert shelf.names() == []


@given(st.text(max_size=70) | st.from_regex(r"[./\\~A-Za-z0-9_-]{1,8}", fullmatch=True))
def test_whatever_name_is_accepted_is_one_plain_folder_inside(name):
    try:
        check_name(name)
    except NameRefused:
        return
    root = Path("/adapters")
    assert (root / name).resolve().parent == root and name.isascii() and not name.startswith(".")
    assert Path(name).name == name and name.lower() not in ("base", "con", "nul")


def test_one_changed_byte_is_noticed_and_nothing_is_opened(shelf, source, tmp_path):
    shelf.publish(source, CARD_OF_STAGE)
    for name in (WEIGHTS, CONFIG, CARD):
        file = tmp_path / "adapters" / "stage" / name
        kept = file.read_bytes()
        file.write_bytes(kept[:-2] + b" " + kept[-1:])
        with pytest.raises(AdapterDamaged):
            shelf.open("stage", "f" * 64)
        file.write_bytes(kept)
    assert shelf.open("stage", "f" * 64)


@pytest.mark.parametrize("name", [WEIGHTS, CONFIG, CARD, MANIFEST])
def test_a_lost_file_is_noticed(name, shelf, source, tmp_path):
    shelf.publish(source, CARD_OF_STAGE)
    (tmp_path / "adapters" / "stage" / name).unlink()
    with pytest.raises(AdapterDamaged, match="stage"):
        shelf.open("stage", "f" * 64)


def test_a_person_may_edit_the_model_card(shelf, source, tmp_path):
    shelf.publish(source, CARD_OF_STAGE)
    (tmp_path / "adapters" / "stage" / "README.md").write_text("mine")
    assert shelf.open("stage", "f" * 64)


def test_an_adapter_of_another_base_is_refused_by_the_name_of_its_base(shelf, source):
    shelf.publish(source, CARD_OF_STAGE)
    with pytest.raises(WrongBase, match="small base"):
        shelf.open("stage", "0" * 64)


def test_a_source_without_weights_publishes_nothing(shelf, source, tmp_path):
    (source / WEIGHTS).unlink()
    with pytest.raises(AdapterDamaged, match=WEIGHTS):
        shelf.publish(source, CARD_OF_STAGE)
    assert visible(shelf, tmp_path) == []


def test_removing_hides_an_adapter_and_restoring_brings_the_last_one_back(shelf, source):
    first = shelf.publish(source, CARD_OF_STAGE)
    shelf.remove("stage")
    assert shelf.names() == [] and shelf.free_name("stage") == "stage"
    second = shelf.publish(source, replace(CARD_OF_STAGE, steps=61))
    shelf.remove("stage")
    assert shelf.restore("stage") == second
    assert replace(shelf.restore("stage"), name="stage") == first
    assert sorted(shelf.names()) == ["stage", "stage-2"]
    assert shelf.open("stage-2", "f" * 64)[0].steps == 60
    with pytest.raises(AdapterMissing):
        shelf.restore("stage")
    with pytest.raises(AdapterMissing):
        shelf.remove("never")


class ShelfMachine(RuleBasedStateMachine):
    """Any order of publishing, removing, restoring and starting again, against a plain dictionary."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp())
        self.source = self.root / "run"
        self.source.mkdir()
        (self.source / CONFIG).write_text("{}")
        self.shelf = Adapters(self.root / "adapters")
        self.there: dict[str, int] = {}
        self.removed: dict[str, list[int]] = {}
        self.steps = 0

    @rule(name=st.sampled_from(["a", "A", "b", "a-2"]))
    def publish(self, name):
        self.steps += 1
        (self.source / WEIGHTS).write_bytes(b"%d" % self.steps)
        card = self.shelf.publish(self.source, AdapterCard(name=name, base="f", steps=self.steps))
        assert card.name.casefold() not in map(str.casefold, self.there)
        self.there[card.name] = self.steps

    @precondition(lambda self: self.there)
    @rule(data=st.data())
    def remove(self, data):
        name = data.draw(st.sampled_from(sorted(self.there)))
        assert self.shelf.remove(name) == self.root / "adapters" / name
        self.removed.setdefault(name, []).append(self.there.pop(name))

    @rule(name=st.sampled_from(["a", "A", "b", "a-2", "c"]))
    def restore(self, name):
        if self.removed.get(name):
            card = self.shelf.restore(name)
            assert card.steps == self.removed[name].pop()
            self.there[card.name] = card.steps
        else:
            with pytest.raises(AdapterMissing):
                self.shelf.restore(name)

    @rule()
    def start_again(self):
        (self.root / "adapters" / ".publish-left").mkdir()
        self.shelf = Adapters(self.root / "adapters")

    @invariant()
    def what_is_there_is_whole(self):
        assert sorted(self.shelf.names()) == sorted(self.there) and self.shelf.problems == {}
        for name, steps in self.there.items():
            card, folder = self.shelf.open(name, "f")
            assert (card.name, card.steps, (folder / WEIGHTS).read_bytes()) == (name, steps, b"%d" % steps)

    def teardown(self):
        shutil.rmtree(self.root)


TestAnyOrderOfUse = ShelfMachine.TestCase
TestAnyOrderOfUse.settings = settings(max_examples=15, stateful_step_count=15, deadline=None)


def test_foreign_things_in_the_folder_do_not_break_the_list(shelf, source, tmp_path):
    shelf.publish(source, CARD_OF_STAGE)
    root = tmp_path / "adapters"
    (root / "README.md").write_text("a note")
    (root / "picture").mkdir()
    (root / "bare").mkdir()
    (root / "bare" / CONFIG).write_text("{}")
    for name, card in {
        "torn": b'{"name": "to',
        "list": b"[]",
        "deep": b"[" * 100_000,
        "binary": b"\xff\xfe\0",
        "types": b'{"name": "types", "base": "f", "loss": "much"}',
        "nan": b'{"name": 3, "base": null}',
        "empty": b"",
        "bad name": json.dumps(asdict(CARD_OF_STAGE)).encode(),
    }.items():
        (root / name).mkdir()
        (root / name / CARD).write_bytes(card)
    (root / "folder-card" / CARD).mkdir(parents=True)
    (root / "pipe").mkdir()
    os.mkfifo(root / "pipe" / CARD)
    (root / "link").symlink_to(root / "stage")
    (root / "nowhere").symlink_to(root / "gone")
    assert shelf.names() == ["stage"]
    assert set(shelf.problems) == {
        "bare",
        "torn",
        "list",
        "deep",
        "binary",
        "types",
        "nan",
        "empty",
        "bad name",
        "folder-card",
        "pipe",
        "link",
    }
    assert all(shelf.problems.values())
    for name in shelf.problems:
        with pytest.raises(AdapterError):
            shelf.open(name, "f" * 64)


def test_a_manifest_that_points_outside_the_folder_is_damage(shelf, source, tmp_path):
    shelf.publish(source, CARD_OF_STAGE)
    manifest = tmp_path / "adapters" / "stage" / MANIFEST
    files = json.loads(manifest.read_text())["files"]
    (tmp_path / "secret").write_text("x")
    manifest.write_text(json.dumps({"files": files | {"../../secret": sha256_of(tmp_path / "secret")}}))
    with pytest.raises(AdapterDamaged):
        shelf.open("stage", "f" * 64)


def test_a_card_survives_the_way_through_json_and_keys_of_later_versions_are_ignored():
    data = json.loads(json.dumps(card_as_json(CARD_OF_STAGE)))
    data["mood"] = "merry"
    data["settings"]["galore"] = True
    assert card_from_json(data) == CARD_OF_STAGE
    assert card_from_json({"name": "bare", "base": "f"}) == AdapterCard(name="bare", base="f")


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from([*asdict(CARD_OF_STAGE), "rank", "seed"]), inner, max_size=6)
        ),
        max_leaves=20,
    )
)
def test_any_json_at_all_is_a_card_or_an_adapter_error(tmp_path_factory, data):
    root = tmp_path_factory.mktemp("fuzz")
    (root / "odd").mkdir()
    (root / "odd" / CARD).write_text(json.dumps(data))
    shelf = Adapters(root)
    assert len(shelf.cards()) + len(shelf.problems) == 1
