"""`chatlab doctor`: what is wrong is found, said with what to do, and nothing is touched."""

from __future__ import annotations

import json
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from chatlab.__main__ import main
from chatlab.doctor import Doctor, Finding
from chatlab.settings import Settings
from chatlab.store import Store, checkup
from chatlab.store.disk import Files
from tests.support.hostile.store import said


def visit(settings: Settings) -> dict[str, Finding]:
    return {finding.about: finding for finding in Doctor(settings, quick=True).findings()}


@pytest.fixture
def lived_in(settings: Settings) -> Settings:
    with Store.open(settings.store) as store:
        store.demonstrations.add_many([said("one"), said("two")])
        store.backups.make()
    return settings


def test_a_house_in_order_has_nothing_bad_in_it(lived_in: Settings) -> None:
    found = visit(lived_in)
    assert {"Python", "Packages", "Memory", "Disk", "Store", "Port", "Access", "Base", "Adapters", "Embedder"} <= set(
        found
    )
    assert not [finding for finding in found.values() if finding.mark == "bad"]
    assert "2 records, all readable" in found["Store"].words and "1 backup" in found["Store"].words


def test_a_store_that_is_open_is_looked_at_without_taking_it(lived_in: Settings) -> None:
    with Store.open(lived_in.store, address="http://127.0.0.1:7860") as store:
        before = {file: file.read_bytes() for file in lived_in.store.glob("*") if file.is_file()}
        store.demonstrations.add(said("three"))
        found = checkup(lived_in.store)
        assert found.records == 3 and "http://127.0.0.1:7860" in found.owner
        store.demonstrations.add(said("four"))
        assert set(before) == {file for file in lived_in.store.glob("*") if file.is_file()}


def test_a_damaged_store_is_said_and_left_as_it_is(lived_in: Settings) -> None:
    file = Files(lived_in.store).snapshot
    file.write_bytes(file.read_bytes()[:-20])
    before = {file.name: file.read_bytes() for file in lived_in.store.iterdir() if file.is_file()}
    found = visit(lived_in)["Store"]
    assert found.mark == "bad" and "damaged" in found.words and "Start Chatlab" in found.advice
    assert before == {file.name: file.read_bytes() for file in lived_in.store.iterdir() if file.is_file()}


def test_a_record_that_makes_no_sense_is_counted(lived_in: Settings) -> None:
    with Store.open(lived_in.store) as store:
        store.db.table("demonstrations").insert({"nonsense": 1})
    assert "1 record(s) cannot be read" in visit(lived_in)["Store"].words


def test_a_missing_base_is_bad_and_the_command_says_so_with_its_status(
    lived_in: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CHATLAB_HOME", str(lived_in.home))
    monkeypatch.setenv("CHATLAB_BASE", str(tmp_path / "nowhere"))
    assert main(["doctor", "--quick", "--json"]) == 1
    found = {one["about"]: one for one in json.loads(capsys.readouterr().out)}
    assert found["Base"]["mark"] == "bad" and found["Base"]["advice"]
    monkeypatch.setenv("CHATLAB_BASE", str(lived_in.base))
    assert main(["doctor", "--quick"]) == 0
    assert "records, all readable" in capsys.readouterr().out


def test_a_port_that_is_taken_is_told(settings: Settings) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        found = visit(replace(settings, port=taken.getsockname()[1]))["Port"]
    assert found.mark == "note" and "next free port" in found.advice


def test_listening_wider_is_told_and_no_password_is(settings: Settings) -> None:
    wide = replace(settings, host="0.0.0.0", auth=(("anna", "a-long-password"),))
    found = visit(wide)
    assert "behind your password" in found["Access"].words
    assert not any("a-long-password" in finding.words + finding.advice for finding in found.values())
    assert "a-long-password" not in repr(wide)


def test_a_damaged_adapter_is_named(settings: Settings) -> None:
    folder = settings.adapters / "broken"
    folder.mkdir(parents=True)
    (folder / "adapter_config.json").write_text("{}")
    found = visit(settings)["Adapters"]
    assert found.mark == "note" and "broken" in found.words


@pytest.mark.slow
def test_the_whole_visit_loads_llama_cpp_and_starts_a_trainer(settings: Settings) -> None:
    found = {finding.about: finding for finding in Doctor(settings).findings()}
    assert found["Trainer"].mark == "good" and found["Engines"].mark in ("good", "note")
