"""Votes in the store: kept whole, counted by what spoke, taken back, exported."""

from __future__ import annotations

import errno
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from chatlab.adapters import Adapters
from chatlab.engines.base import Sampling, Variant
from chatlab.engines.fake import FakeEngine
from chatlab.errors import ChatlabError, DiskFull, InputError, NotFound
from chatlab.lab import Lab
from chatlab.lab.compare.compare import Pane
from chatlab.records import BASE, AdapterCard, Message, Provenance, Vote
from chatlab.settings import Settings
from chatlab.system.codec import from_document, to_document
from chatlab.ui.compare.session import CompareSession, Round
from chatlab.ui.compare.tab import CompareTab
from tests.support.page import built, publish_adapter


def says_who(prompt: object, variant: Variant, sampling: Sampling) -> str:
    if variant.name == "broken":
        raise RuntimeError("no such luck")
    return f"I am number {sum(variant.name.encode())}"


@pytest.fixture
def lab(settings: Settings) -> Iterator[Lab]:
    lab = Lab(settings, open_engine=lambda base: FakeEngine(says_who))
    yield lab
    lab.close()


def answered(lab: Lab, *variants: str, prompt: str = "Who are you?") -> list[Pane]:
    return list(lab.compare.ask(prompt, variants, Sampling(temperature=0)))[-1]


def names_of(lab: Lab) -> dict[str, float]:
    results = lab.votes.results(draws=0)
    return {results.names[s.contender]: round(s.share, 2) for s in results.standings}


def test_a_vote_comes_back_from_the_disk_as_it_was(lab: Lab, settings: Settings) -> None:
    publish_adapter(lab, "player")
    panes = answered(lab, BASE, "player")
    id = lab.votes.cast("Who are you?", panes, "best", 1, system="Be brief.", blind=False)
    kept = lab.store.votes.get(id)
    assert from_document(Vote, to_document(kept)) == kept
    assert [m.role for m in kept.prompt] == ["system", "user"]
    assert kept.provenances == tuple(pane.provenance for pane in panes) and kept.winner == 1 and not kept.blind
    lab.close()
    again = Lab(settings, open_engine=lambda base: FakeEngine(says_who))
    try:
        assert again.store.votes.get(id) == kept
        assert [p.chosen for _, p in again.store.preferences.rows()] == [panes[1].text]
    finally:
        again.close()


def test_a_vote_of_before_there_was_blindness_is_read() -> None:
    old = to_document(Vote(prompt=(Message(role="user", content="?"),), answers=(), provenances=(), verdict="tie"))
    del old["blind"]
    assert from_document(Vote, old).blind


def test_votes_and_preferences_are_kept_together_or_not_at_all(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    publish_adapter(lab, "player")
    panes = answered(lab, BASE, "player")
    broken = replace(panes[1], provenance=Provenance(adapter="player", strength=float("nan")))
    with pytest.raises(InputError):
        lab.votes.cast("Who are you?", [panes[0], broken], "best", 0)
    assert len(lab.store.votes) == len(lab.store.preferences) == 0


def test_a_vote_that_is_taken_back_takes_its_preferences_along_and_no_others(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even those of an equal vote that was cast in the same moment."""
    monkeypatch.setattr("chatlab.lab.compare.votes.now", lambda: "2026-11-25T01:00:00.000+00:00")
    publish_adapter(lab, "one")
    publish_adapter(lab, "two")
    panes = answered(lab, BASE, "one", "two")
    first = lab.votes.cast("Who are you?", panes, "best", 1)
    second = lab.votes.cast("Who are you?", panes, "best", 1)
    assert len(lab.store.preferences) == 4
    lab.votes.take_back(second)
    assert [id for id, _ in lab.store.votes.rows()] == [first]
    assert len(lab.store.preferences) == 2
    with pytest.raises(NotFound):
        lab.votes.take_back(second)


def test_a_renamed_or_deleted_adapter_keeps_its_votes_and_a_namesake_gets_none(lab: Lab) -> None:
    publish_adapter(lab, "player")
    for _ in range(3):
        lab.votes.cast("?", answered(lab, BASE, "player"), "best", 1)
    lab.variants.remove("player")
    assert names_of(lab)["player"] > 0.8
    assert lab.votes.results(draws=0).gone
    made = lab.settings.home / "made-player"
    (made / "adapter_model.safetensors").write_bytes(b"other weights under the same name")
    Adapters(lab.settings.adapters).publish(made, AdapterCard(name="player", base=lab.machine.base.fingerprint))
    lab.votes.cast("?", answered(lab, BASE, "player"), "best", 0)
    found = names_of(lab)
    assert len(found) == 3 and sum(name.startswith("player ") for name in found) == 2, found
    assert sorted(found.values())[0] < 0.5 < sorted(found.values())[-1]


def test_another_strength_is_another_variant_and_another_base_is_not_mixed_in(lab: Lab) -> None:
    publish_adapter(lab, "player")
    panes = answered(lab, BASE, "player")
    assert panes[1].provenance
    half = replace(panes[1], text="So.", provenance=replace(panes[1].provenance, strength=0.5))
    lab.votes.cast("?", [*panes, half], "best", 2)
    assert set(names_of(lab)) == {BASE, "player", "player at 0.5"}
    strangers = [replace(pane, provenance=replace(pane.provenance, base="x")) for pane in panes if pane.provenance]
    lab.votes.cast("?", strangers, "best", 0)
    assert lab.votes.results(draws=0).votes == 1


def test_votes_with_the_names_in_sight_are_kept_and_not_counted(lab: Lab) -> None:
    publish_adapter(lab, "player")
    lab.votes.cast("?", answered(lab, BASE, "player"), "best", 1, blind=False)
    results = lab.votes.results(draws=0)
    assert (results.votes, results.seen, results.standings) == (0, 1, ())
    assert len(lab.store.preferences) == 1


def test_a_variant_that_breaks_does_not_spoil_the_others(lab: Lab) -> None:
    for name in ("one", "broken"):
        publish_adapter(lab, name)
    panes = answered(lab, "one", "broken", BASE)
    assert [bool(pane.error) for pane in panes] == [False, True, False]
    assert all(pane.done for pane in panes)
    lab.votes.cast("?", panes, "best", 2)
    ((_, vote),) = lab.store.votes.rows()
    assert [s.adapter for s in vote.provenances] == ["one", BASE] and vote.winner == 1
    with pytest.raises(InputError):
        lab.votes.cast("?", panes, "best", 1)
    with pytest.raises(InputError):
        lab.votes.cast("?", panes[:2], "tie")


def test_the_prompts_that_were_judged_are_those_of_just_these_variants(lab: Lab) -> None:
    publish_adapter(lab, "one")
    publish_adapter(lab, "two")
    lab.votes.cast("First?", answered(lab, "one", BASE, prompt="First?"), "tie")
    assert lab.votes.judged([BASE, "one"]) == {"First?": 1}
    assert not lab.votes.judged([BASE, "two"]) and not lab.votes.judged([BASE, "one", "two"])
    assert not lab.votes.judged(["nobody"])


def test_all_votes_go_into_a_file_with_the_proof_beside_them(lab: Lab, tmp_path: Path) -> None:
    with pytest.raises(ChatlabError):
        lab.votes.export(tmp_path)
    assert list(tmp_path.glob("votes*")) == []
    card = publish_adapter(lab, "player")
    id = lab.votes.cast("Who?", answered(lab, BASE, "player"), "best", 1)
    (line,) = lab.votes.export(tmp_path).read_text().splitlines()
    row = json.loads(line)
    assert (row["id"], row["verdict"], row["winner"], row["blind"]) == (id, "best", 1, True)
    assert [s.get("sha256", "") for s in row["provenances"]] == ["", card.sha256]


def test_a_vote_that_finds_no_room_is_neither_half_kept_nor_lost_from_the_screen(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish_adapter(lab, "player")
    tab = built(CompareTab(lab), "compare")
    panes = tuple(answered(lab, BASE, "player"))
    round_ = Round(prompt="Who are you?", panes=panes)

    def full(handle: int, data: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(lab.store._storage.disk, "write", full)
        with pytest.raises(DiskFull):
            tab.vote(CompareSession(), round_, "best", 1)
    assert len(lab.store.votes) == len(lab.store.preferences) == 0
    tab.vote(CompareSession(), round_, "best", 1)
    assert len(lab.store.votes) == len(lab.store.preferences) == 1
