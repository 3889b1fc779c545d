"""The quality panel's handlers, called without a server: cards, buttons, pruning, find similar, the meter."""

from __future__ import annotations

import html
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from chatlab.engines.fake import FakeEngine
from chatlab.errors import InputError
from chatlab.lab import Lab
from chatlab.settings import Settings
from chatlab.ui.demonstrations.list import readiness
from chatlab.ui.demonstrations.tab import DemonstrationsTab
from tests.support.page import at, built, told

FINDINGS = ("", 0, "")
PRUNING = (50, "loss", True)
HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(1)> *a* `b` $$e$$\n\n# f"


@pytest.fixture
def lab(settings: Settings) -> Iterator[Lab]:
    lab = Lab(settings, open_engine=lambda base: FakeEngine())
    yield lab
    lab.close()


@pytest.fixture
def tab(lab: Lab) -> DemonstrationsTab:
    return built(DemonstrationsTab(lab), "demonstrations")


def plain(markup: str) -> str:
    return html.unescape(markup)


def board(tab: DemonstrationsTab) -> str:
    tab.panels.findings._quality.findings()
    return plain(tab.panels.findings.draw(*FINDINGS)[tab.panels.findings.board])


def pressed(tab: DemonstrationsTab, act: str, turn: int = -1, key: str = "", selected: int | None = None) -> Any:
    said = json.dumps({"act": act, "turn": turn, "text": key})
    return tab.panels.pressed(at(tab, selected) | {tab.panels.findings.bridge.payload: said})


def twice(lab: Lab) -> tuple[int, int]:
    return lab.demonstrations.write("What is tin?", "A metal."), lab.demonstrations.write("What is tin?", "A metal.")


def test_a_finding_says_why_and_opens_the_words_side_by_side(tab: DemonstrationsTab, lab: Lab) -> None:
    twice(lab)
    assert "2 demonstrations are identical" in board(tab)
    key = lab.quality.known()[0].key
    shown = pressed(tab, "unfold", key=key)
    assert shown[tab.panels.findings.opened] == key
    assert plain(shown[tab.panels.findings.board]).count("beside-one") == 2


def test_one_press_discards_the_double_and_undo_brings_it_back(tab: DemonstrationsTab, lab: Lab) -> None:
    first, second = twice(lab)
    [finding] = lab.quality.findings()
    shown = pressed(tab, "finding", turn=0, key=finding.key)
    assert lab.demonstrations.get(second).status == "discarded"
    assert told(shown[tab.undo])["value"] == "Undo: discarded 1  (U)"
    assert "discarded" not in told(shown[tab.panels.findings.fold])["label"]
    tab.undone(at(tab, undoable=shown[tab.undoable]))
    assert lab.demonstrations.approved() == [first, second]


def test_fine_as_it_is_takes_the_card_away(tab: DemonstrationsTab, lab: Lab) -> None:
    twice(lab)
    [finding] = lab.quality.findings()
    pressed(tab, "finding", turn=len(finding.actions) - 1, key=finding.key)
    assert lab.quality.findings() == []
    assert len(lab.demonstrations.approved()) == 2


def test_a_number_and_an_edit_open_the_demonstration_on_the_desk(tab: DemonstrationsTab, lab: Lab) -> None:
    cut = lab.demonstrations.write("How?", "Take a saw, a plane,")
    [finding] = lab.quality.findings()
    assert pressed(tab, "desk", turn=cut)[tab.editor.selected] == cut
    edit = next(n for n, a in enumerate(finding.actions) if a.deed == "edit")
    assert pressed(tab, "finding", turn=edit, key=finding.key)[tab.editor.selected] == cut


def test_a_card_that_is_out_of_date_says_so_and_does_nothing(tab: DemonstrationsTab, lab: Lab) -> None:
    twice(lab)
    lab.quality.findings()
    with pytest.raises(InputError):
        pressed(tab, "finding", turn=0, key="nonsense")
    with pytest.raises(InputError):
        pressed(tab, "finding", turn=99, key=lab.quality.known()[0].key)
    assert len(lab.demonstrations.approved()) == 2


def test_findings_are_narrowed_by_kind(tab: DemonstrationsTab, lab: Lab) -> None:
    twice(lab)
    lab.demonstrations.write("How?", "Take a saw, a plane,")
    lab.quality.findings()
    shown = tab.panels.findings.narrow("truncated")
    assert "Truncated" in shown[tab.panels.findings.board] and "Duplicate" not in shown[tab.panels.findings.board]
    labels = [label for label, _ in told(shown[tab.panels.findings.kind])["choices"]]
    assert labels == ["All 2", "Duplicate 1", "Truncated 1"]


def test_many_findings_are_turned_page_by_page(tab: DemonstrationsTab, lab: Lab) -> None:
    for n in range(11):
        lab.demonstrations.write(f"How is job {n} done?", f"Take tool {n}, then")
        lab.demonstrations.write(f"How is work {n} done?", f"Take tool {n} and a saw,")
    assert "1-8" in board(tab)
    assert "9-" in plain(pressed(tab, "turn", turn=1)[tab.panels.findings.board])


def test_opening_the_tab_looks_by_itself_and_the_timer_tells_the_end(tab: DemonstrationsTab, lab: Lab) -> None:
    twice(lab)
    shown = tab.panels.opened(at(tab, pruning=PRUNING))
    while lab.quality.audit_progress is not None:
        time.sleep(0.01)
    shown = tab.panels.findings.draw(*FINDINGS)
    assert not told(shown[tab.panels.findings.timer])["active"]
    assert told(shown[tab.panels.findings.fold])["label"] == "Quality: 1 finding"


def test_pruning_is_offered_once_measured_and_shows_what_goes_first(tab: DemonstrationsTab, lab: Lab) -> None:
    ids = [lab.demonstrations.write(f"Name {n}?", f"It is {'really ' * n}so.") for n in range(1, 5)]
    twice(lab)
    pruning = tab.panels.pruning
    before = pruning.draw(*PRUNING)
    assert told(before[pruning.measure])["value"] == "Measure 5 demonstrations"
    assert not told(before[pruning.pruner])["visible"]
    assert told(pruning.start(*PRUNING)[pruning.timer])["active"]
    lab.quality.difficulties.wait(600)
    shown = pruning.draw(*PRUNING)
    assert told(shown[pruning.pruner])["visible"]
    assert told(shown[pruning.apply])["value"] == "Discard 3"
    assert "3 of 6 approved demonstrations would stay" in plain(shown[pruning.preview])
    assert "duplicate" in plain(shown[pruning.preview]) and shown[pruning.preview].count("fact-row") == 3
    after = tab.panels.pruned(at(tab, ids[0], pruning=PRUNING))
    assert lab.demonstrations.counts() == {"approved": 3, "discarded": 3}
    tab.undone(at(tab, undoable=after[tab.undoable]))
    assert lab.demonstrations.counts() == {"approved": 6}


def test_similar_ones_are_listed_under_the_picture(tab: DemonstrationsTab, lab: Lab) -> None:
    tin = lab.demonstrations.write("What is tin?", "Tin is a soft metal.")
    lead = lab.demonstrations.write("What is lead?", "Lead is a soft metal.")
    shown = tab.similar.find(tin)
    assert f'data-turn="{lead}"' in shown[tab.similar.list]
    assert tab.open(lead)[tab.similar.list] == ""


def test_hostile_words_are_words_in_cards_and_rows(tab: DemonstrationsTab, lab: Lab) -> None:
    one = lab.demonstrations.write(HOSTILE, f"{HOSTILE} and")
    lab.demonstrations.write(HOSTILE, f"{HOSTILE} and")
    board(tab)
    shown = pressed(tab, "unfold", key=lab.quality.known()[0].key)
    for drawn in (shown[tab.panels.findings.board], tab.similar.find(one)[tab.similar.list]):
        assert "<script" not in drawn and "<img" not in drawn and "`" not in drawn and "\n" not in drawn


def test_the_meter_counts_what_can_be_used_and_says_what_cannot(tab: DemonstrationsTab, lab: Lab) -> None:
    twice(lab)
    lab.demonstrations.write("All?", "word " * 900)
    drawn = plain(tab.refresh(at(tab))[tab.list.readiness])
    assert "1 usable demonstration" in drawn
    assert "2 of 3 approved are not usable: 1 duplicate, 1 over 512 tokens." in drawn
    assert "approved demonstration" in plain(readiness(40))
