"""The store over time: files that the first version wrote, and a clock that jumps."""

from __future__ import annotations

from pathlib import Path

import pytest

from chatlab.engines.fake import FakeEngine
from chatlab.lab import Lab
from chatlab.lab.chat import chat
from chatlab.settings import Settings
from chatlab.store import Store, backups
from chatlab.store.disk import Files
from tests.support.hostile.store import kept, said

SNAPSHOT = (
    b'{"_meta":{"1":{"format":1,"seq":3,"next":{"demonstrations":3,"state":2},"crc":"f1f77f23"}}\n'
    b',"demonstrations":{"1":{"messages":[{"role":"user","content":"Who goes there?"},{"role":"assistant","content":'
    b'"one"}],"source":"written","status":"approved"},"2":{"messages":[{"role":"user","content":"Who goes there?"},'
    b'{"role":"assistant","content":"two"}],"source":"written","status":"approved"}},"state":{"1":{"live":["base"]}}}'
)
JOURNAL = (
    b'03152dfc [3,{},{"format":1}]\n'
    b'0757d23f [4,{"demonstrations":{"3":{"messages":[{"role":"user","content":"Who goes there?"},{"role":'
    b'"assistant","content":"three"}],"source":"written","status":"approved"}}}]\n'
    b'5c5758ba [5,{"conversations":{"1":{"title":"Hello","turns":[{"id":0,"parent":null,"role":"user","con'
    b'tent":"Hello"}],"head":0,"shortens":false}}}]\n'
)
"""As the first version left them; a change of these bytes is a change of the format, and needs a migration."""


def test_what_the_first_version_wrote_is_read_and_written_on(tmp_path: Path) -> None:
    files = Files(tmp_path)
    files.snapshot.write_bytes(SNAPSHOT)
    files.journal.write_bytes(JOURNAL)
    with Store.open(tmp_path) as store:
        assert not store.warnings
        assert kept(store) == {1: "one", 2: "two", 3: "three"}
        assert store.state.get("live") == ["base"]
        talk = store.conversations.get(1)
        assert talk.title == "Hello" and talk.owner == "" and talk.turns[0].content == "Hello"
        assert store.demonstrations.add(said("four")) == 4
    with Store.open(tmp_path) as store:
        assert kept(store)[4] == "four" and not store.warnings


def test_a_clock_that_jumps_loses_no_backup_and_no_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    times = ["2026-11-25", "2031-01-01", "1970-01-01", "2026-11-25", "2026-11-26"]
    for turn, day in enumerate(times):
        monkeypatch.setattr(backups, "now", lambda day=day: f"{day}T00:00:00.000+00:00")
        with Store.open(tmp_path) as store:
            store.demonstrations.add(said(f"turn {turn}"))
            copies = store.backups.all()
            assert [copy.number for copy in copies] == list(range(turn, 0, -1)), "one a day, the newest first"
    with Store.open(tmp_path) as store:
        assert len(kept(store)) == len(times) and not store.warnings
        store.backups.restore(store.backups.all()[-1].name)
        assert list(kept(store).values()) == ["turn 0"]
        assert store.demonstrations.add(said("later")) == len(times) + 1


def test_a_clock_that_alternates_between_two_days_pushes_no_good_backup_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(40):  # a machine whose clock begins at 1970 and is put right after the start
        day = "1970-01-01" if number % 2 else "2026-11-27"
        monkeypatch.setattr(backups, "now", lambda day=day: f"{day}T00:00:00.000+00:00")
        with Store.open(tmp_path) as store:
            store.demonstrations.add(said(f"turn {number}"))
    with Store.open(tmp_path) as store:
        assert [copy.number for copy in store.backups.all()] == [2, 1]


def test_the_conversation_used_last_comes_first_whatever_the_clock_says(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for life, year in enumerate(["2026", "2036", "1970", "2025"]):
        monkeypatch.setattr(chat, "now", lambda year=year: f"{year}-11-27T00:00:00.000+00:00")
        lab = Lab(settings, open_engine=lambda base: FakeEngine())
        for number in range(60):
            lab.chat.rename(lab.chat.new(), f"{life}.{number}")
        first = [talk.title for _, talk in lab.chat.conversations()]
        assert len(first) == min(100, 60 * (life + 1))
        assert first[:60] == [f"{life}.{number}" for number in reversed(range(60))]
        lab.close()
