"""Lineage both ways: which adapters learned a demonstration, and what exactly an adapter learned."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from chatlab.adapters import Adapters
from chatlab.adapters.manifest import DEMONSTRATIONS, MANIFEST
from chatlab.engines.fake import FakeEngine
from chatlab.errors import AdapterDamaged, TrainingError
from chatlab.lab import Lab
from chatlab.records import AdapterCard, Message
from chatlab.settings import Settings
from chatlab.training.process.runs import Request, Result, write_json, write_request
from chatlab.ui.demonstrations.lineage import ask_for, asked_for, learned_by
from chatlab.ui.demonstrations.tab import DemonstrationsTab
from chatlab.ui.train import lineage
from chatlab.web.app import on_page_event
from tests.support.page import at, built, told

HOSTILE = "<script>alert(1)</script>"


@pytest.fixture
def lab(settings: Settings) -> Iterator[Lab]:
    lab = Lab(settings, open_engine=lambda base: FakeEngine())
    yield lab
    lab.close()


def trained(lab: Lab, name: str, ids: list[int], aside: tuple[int, ...] = ()) -> str:
    """An adapter as a finished run leaves it, without the training; the run's id."""
    run = lab.settings.runs / f"run-{name}"
    run.mkdir(parents=True)
    snapshot = lab.store.snapshot(run / "snapshot.jsonl", ids)
    base = lab.machine.base
    write_request(
        run,
        Request(
            base=base.fingerprint,
            base_folder=str(base.folder),
            snapshot=snapshot,
            name=name,
            demonstrations=tuple(ids),
            live=False,
        ),
    )
    (run / "adapter").mkdir()
    (run / "adapter" / "adapter_config.json").write_text(
        json.dumps({"peft_type": "LORA", "r": 2, "target_modules": ["q_proj"]})
    )
    (run / "adapter" / "adapter_model.safetensors").write_bytes(name.encode())
    learned = tuple(i for i in ids if i not in aside)
    result = Result(adapter="", template=base.template_sha256, steps=1, demonstrations=learned, held_out=aside)
    write_json(run / "result.json", {k: getattr(result, k) for k in Result.__slots__})
    lab.training.adopt()
    assert lab.training.adapter_of(run.name) == name, lab.training.news
    return run.name


def edit(lab: Lab, one: int, answer: str) -> None:
    asked = lab.demonstrations.get(one).prompt
    lab.demonstrations.update(one, messages=(*asked, Message(role="assistant", content=answer)))


def test_a_demonstration_knows_every_adapter_that_learned_it(lab: Lab) -> None:
    one, two = lab.demonstrations.write("Hi", "Ay."), lab.demonstrations.write("Well?", "No.")
    assert lab.lineage.learned_by(one) == []
    trained(lab, "first", [one])
    time.sleep(0.01)
    trained(lab, "second", [one, two])
    assert [(a.adapter, a.changed) for a in lab.lineage.learned_by(one)] == [("second", False), ("first", False)]
    assert [a.adapter for a in lab.lineage.learned_by(two)] == ["second"]


def test_it_is_said_when_the_demonstration_has_changed_since(lab: Lab) -> None:
    one = lab.demonstrations.write("Hi", "Ay.")
    trained(lab, "first", [one])
    edit(lab, one, "Ay, my lord.")
    trained(lab, "second", [one])
    assert {a.adapter: a.changed for a in lab.lineage.learned_by(one)} == {"first": True, "second": False}
    edit(lab, one, "Ay.")
    assert {a.adapter: a.changed for a in lab.lineage.learned_by(one)} == {"first": False, "second": True}


def test_what_was_kept_aside_was_not_learned(lab: Lab) -> None:
    one, two = lab.demonstrations.write("Hi", "Ay."), lab.demonstrations.write("Well?", "No.")
    trained(lab, "first", [one, two], aside=(two,))
    assert lab.lineage.learned_by(two) == []
    assert {lesson.id: lesson.part for lesson in lab.lineage.examples("first")} == {one: "learned", two: "held out"}


def test_an_adapter_tells_the_words_of_then_and_what_became_of_them(lab: Lab) -> None:
    ids = [lab.demonstrations.write(f"Question {n}", "Ay.") for n in range(4)]
    run = trained(lab, "first", ids)
    edit(lab, ids[1], "Nay.")
    lab.demonstrations.update(ids[2], status="discarded")
    lab.demonstrations.delete([ids[3]])
    lessons = lab.lineage.examples("first")
    assert [lesson.now for lesson in lessons] == ["same", "edited", "discarded", "deleted"]
    assert [(lesson.asked, lesson.answer) for lesson in lessons] == [(f"Question {n}", "Ay.") for n in range(4)]
    assert lab.lineage.run_examples(lab.training.run(run)) == lessons
    lab.demonstrations.undo()
    assert lab.lineage.examples("first")[3].now == "same"


def test_lineage_outlives_the_run_and_a_restart(settings: Settings) -> None:
    lab = Lab(settings, open_engine=lambda base: FakeEngine())
    one = lab.demonstrations.write("Hi", "Ay.")
    run = trained(lab, "first", [one])
    lessons = lab.lineage.examples("first")
    lab.training.discard(run)
    lab.close()
    lab = Lab(settings, open_engine=lambda base: FakeEngine())
    assert lab.lineage.examples("first") == lessons
    assert [a.changed for a in lab.lineage.learned_by(one)] == [False]
    lab.variants.remove("first")
    assert lab.lineage.learned_by(one) == []
    lab.variants.restore()
    assert [a.adapter for a in lab.lineage.learned_by(one)] == ["first"]
    lab.close()


def test_the_words_lie_with_the_adapter_and_its_manifest_covers_them(lab: Lab) -> None:
    one = lab.demonstrations.write("Hi", "Ay.")
    run = lab.training.run(trained(lab, "first", [one]))
    folder = lab.settings.adapters / "first"
    assert (folder / DEMONSTRATIONS).read_bytes() == (run.folder / "snapshot.jsonl").read_bytes()
    card = lab.variants.card("first")
    assert card is not None
    assert json.loads((folder / MANIFEST).read_text())["files"][DEMONSTRATIONS] == card.snapshot == run.request.snapshot


def test_changed_words_are_not_believed_and_taken_out_ones_are_no_damage(lab: Lab) -> None:
    one = lab.demonstrations.write("Hi", "Ay.")
    run = trained(lab, "first", [one])
    file = lab.settings.adapters / "first" / DEMONSTRATIONS
    file.write_text(file.read_text().replace("Ay.", "No."))
    with pytest.raises(AdapterDamaged, match=DEMONSTRATIONS):
        lab.lineage.examples("first")
    assert [a.changed for a in lab.lineage.learned_by(one)] == [None]
    assert lab.variants.get("first").name == "first"
    file.unlink()
    assert lab.lineage.examples("first")[0].answer == "Ay."
    lab.training.discard(run)
    with pytest.raises(TrainingError, match="no longer stored"):
        lab.lineage.examples("first")
    assert lab.variants.get("first").name == "first"


def test_an_adapter_of_before_is_told_from_its_run_while_that_is_there(lab: Lab, tmp_path: Path) -> None:
    one = lab.demonstrations.write("Hi", "Ay.")
    run = trained(lab, "first", [one])
    card = lab.variants.card("first")
    assert card is not None
    lab.variants.remove("first")  # not from the disk: it may be asked its unseen prompts meanwhile
    Adapters(lab.settings.adapters).publish(lab.settings.runs / run / "adapter", replace(card, name="old"))
    assert lab.lineage.examples("old")[0].answer == "Ay."
    with pytest.raises(TrainingError):
        lab.lineage.examples("nobody")


def test_a_card_that_lists_a_demonstration_nobody_kept_says_so(lab: Lab, tmp_path: Path) -> None:
    one = lab.demonstrations.write("Hi", "Ay.")
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    (tmp_path / "made" / "adapter_model.safetensors").write_bytes(b"x")
    card = AdapterCard(name="found", base=lab.machine.base.fingerprint, demonstrations=(one,))
    Adapters(lab.settings.adapters).publish(tmp_path / "made", card)
    assert [a.changed for a in lab.lineage.learned_by(one)] == [None]
    assert "changed" not in learned_by(lab.lineage.learned_by(one), "base")


def test_an_adapter_that_is_exported_leaves_the_words_at_home(lab: Lab, tmp_path: Path) -> None:
    trained(lab, "first", [lab.demonstrations.write("Hi", "Ay.")])
    shutil.unpack_archive(lab.exports.make("first", "peft", tmp_path), tmp_path / "given")
    names = {file.name for file in (tmp_path / "given").rglob("*")}
    assert "adapter_model.safetensors" in names and DEMONSTRATIONS not in names
    assert lab.lineage.examples("first")


# What the tabs show.


def test_the_desk_names_the_adapters_and_says_what_changed(lab: Lab) -> None:
    tab = built(DemonstrationsTab(lab), "demonstrations")
    one = lab.demonstrations.write("Hi", "Ay.")
    assert "No adapter" in tab.open(one)[tab.learned.line]
    trained(lab, "first", [one])
    edit(lab, one, "Ay, my lord.")
    lab.variants.go_live("first")
    line = tab.open(one)[tab.learned.line]
    assert "first" in line and "changed since" in line and "●" in line
    assert tab.open(None)[tab.learned.line] == ""


def test_an_adapters_list_opens_what_is_still_there(lab: Lab) -> None:
    one, two = lab.demonstrations.write(HOSTILE, HOSTILE), lab.demonstrations.write("Well?", "No.")
    trained(lab, "first", [one, two])
    lab.demonstrations.delete([two])
    html = lineage.of_adapter(lab, "first")
    assert html.count("<tr>") == 2 and unescape(html).count("open-demonstration") == 1
    assert "deleted since" in html and "<script" not in html
    assert "is no longer stored" in lineage.of_adapter(lab, "nobody")


def test_a_click_opens_the_demonstration_on_its_own_tab(lab: Lab) -> None:
    tab = built(DemonstrationsTab(lab), "demonstrations")
    one, two = lab.demonstrations.write("Hi", "Ay."), lab.demonstrations.write("Well?", "No.")
    assert told(on_page_event(lab, json.dumps({"act": "open-demonstration", "turn": str(one)})))["selected"] == (
        "demonstrations"
    )
    assert tab.refresh(at(tab, two))[tab.editor.selected] == one
    assert tab.editor.selected not in tab.refresh(at(tab, two))
    lab.demonstrations.delete([one])
    ask_for(lab, one)
    assert asked_for(lab) is None


def test_the_history_shows_what_an_adapter_learned(lab: Lab) -> None:
    from chatlab.ui.train.tab import TrainTab

    tab = built(TrainTab(lab), "train")
    one = lab.demonstrations.write("Hi", "Ay.")
    run = trained(lab, "first", [one])
    lab.training.discard(run)
    drawn: dict[Any, Any] = tab.history.picked("first")
    assert told(drawn[tab.history.details])["visible"] and "Ay" in drawn[tab.history.training_data]
    assert not told(tab.history.picked("base")[tab.history.details])["visible"]
