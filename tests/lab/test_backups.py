"""Backups from the app: shown, made, restored after a second word, undone; and the trash of adapters."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from chatlab.engines.fake import FakeEngine
from chatlab.errors import AdapterMissing, InputError, NotFound
from chatlab.lab import Lab
from chatlab.settings import Settings
from chatlab.ui.backups import SafekeepingPanel
from tests.support.page import built, publish_adapter, told


@pytest.fixture
def lab(settings: Settings) -> Iterator[Lab]:
    lab = Lab(settings, open_engine=lambda base: FakeEngine())
    yield lab
    lab.close()


@pytest.fixture
def panel(lab: Lab) -> SafekeepingPanel:
    return built(SafekeepingPanel(lab), "demonstrations")


def answers(lab: Lab) -> list[str]:
    return [one.answer for _, one in lab.store.demonstrations.rows()]


def test_a_backup_is_made_shown_restored_after_a_second_word_and_that_is_undone(
    lab: Lab, panel: SafekeepingPanel
) -> None:
    lab.demonstrations.write("Who goes there?", "one")
    assert "Saved as" in told(panel.made()[panel.message])["value"]
    lab.demonstrations.write("And there?", "two")
    ((label, name),) = told(panel.opened()[panel.pick])["choices"]
    assert "kB" in label
    asked = panel.asked(name)
    assert told(asked[panel.sure])["visible"] and "you can undo" in told(asked[panel.message])["value"]
    assert answers(lab) == ["one", "two"], "asking changes nothing"
    restored = panel.restored(name)
    assert answers(lab) == ["one"]
    assert told(restored[panel.undo])["visible"] and len(told(restored[panel.pick])["choices"]) == 2
    assert 'data-act="reload"' in told(restored[panel.message])["value"], "the page shows what was there before"
    reloaded = built(SafekeepingPanel(lab), "demonstrations")
    assert told(reloaded.opened()[reloaded.undo])["visible"], "it can be undone from a page that was opened since"
    undone = reloaded.undone()
    assert answers(lab) == ["one", "two"] and not told(undone[reloaded.undo])["visible"]


def test_nothing_chosen_or_nothing_there_is_said(lab: Lab, panel: SafekeepingPanel) -> None:
    assert not told(panel.opened()[panel.restore])["visible"]
    for name in (None, "../chatlab.json"):
        with pytest.raises(InputError, match="No backup is chosen"):
            panel.restored(name)
    with pytest.raises(NotFound):
        panel.undone()


def test_what_is_not_in_a_backup_is_said_plainly(lab: Lab, panel: SafekeepingPanel, tmp_path: Path) -> None:
    from chatlab.ui.backups import ABOUT

    assert "Documents, adapters and runs are not included" in ABOUT


def test_a_removed_adapter_stays_until_the_trash_is_emptied(lab: Lab, panel: SafekeepingPanel) -> None:
    for name in ("first", "second"):
        publish_adapter(lab, name)
        lab.variants.remove(name)
    assert "2 removed adapters" in told(panel.opened()[panel.trash])["value"]
    lab.variants.restore()
    assert lab.backups.trash()[0] == 1
    assert "Deleted 1 removed adapter" in told(panel.emptied()[panel.message])["value"].replace("&#46;", ".")
    with pytest.raises(AdapterMissing):
        lab.variants.restore()
    assert "second" in lab.variants.names() and not told(panel.opened()[panel.trash])["visible"]
