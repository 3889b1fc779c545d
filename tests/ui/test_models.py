"""The Models panel: what it lists, what its buttons do, and who may press them."""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest

from chatlab.adapters import Adapters
from chatlab.engines.fake import FakeEngine
from chatlab.errors import InputError
from chatlab.lab import Lab
from chatlab.models.base import Base
from chatlab.models.library.entry import ModelEntry, ModelFacts
from chatlab.records import AdapterCard, Provenance
from chatlab.settings import Settings
from chatlab.ui.adapter_choices import adapter_choices
from chatlab.ui.chat.transcript import _provenance
from chatlab.ui.models.known import KnownModel
from chatlab.ui.models.panel import ModelsPanel
from chatlab.ui.models.render import model_list
from chatlab.ui.train.history import TrainHistory
from tests.support.lora import make_adapter
from tests.support.page import built, readable, told
from tests.support.report_figures import tiny_base

HOSTILE = "<img src=x onerror=alert(1)>\u202egnp"


@pytest.fixture(scope="module")
def tiny(base_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_base(base_folder, tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def lab(settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Lab]:
    monkeypatch.setenv("HOME", str(tmp_path))  # what lies in the folders of other programs is not this test's
    lab = Lab(settings, open_engine=lambda base: FakeEngine(lambda *_: f"I am {base.name}."))
    yield lab
    lab.close()


@pytest.fixture
def panel(lab: Lab) -> ModelsPanel:
    panel: ModelsPanel = built(ModelsPanel(lab), "chat")
    return panel


def press(panel: ModelsPanel, act: str, text: str = "", request: Any = None) -> dict[Any, Any]:
    return panel.pressed(json.dumps({"act": act, "text": text}), request)


def shown(panel: ModelsPanel, updates: dict[Any, Any], part: Any) -> str:
    return unescape(str(readable(str(updates[part]))))


def added(panel: ModelsPanel, lab: Lab, folder: Path) -> ModelEntry:
    panel.added(str(folder))
    return next(entry for entry in lab.library.entries() if entry.path == folder)


def test_a_model_that_was_added_is_listed_used_and_kept_for_the_next_start(
    panel: ModelsPanel, lab: Lab, tiny: Path
) -> None:
    entry = added(panel, lab, tiny)
    used = press(panel, "use", entry.id)
    assert "answers from the next reply on" in shown(panel, used, panel.note)
    assert lab.machine.path == tiny and lab.machine.engine
    assert lab.library.chosen is not None and lab.library.chosen.path == tiny
    assert "In use" in shown(panel, used, panel.list)
    assert used[panel._model] == lab.machine.base.fingerprint


def test_a_model_whose_files_are_gone_is_said_to_be_and_the_old_one_answers(
    panel: ModelsPanel, lab: Lab, tiny: Path, tmp_path: Path
) -> None:
    gone = tmp_path / "gone"
    shutil.copytree(tiny, gone)
    entry = added(panel, lab, gone)
    shutil.rmtree(gone)
    used = press(panel, "use", entry.id)
    assert "warn" in shown(panel, used, panel.note) and str(gone) in shown(panel, used, panel.note)
    assert lab.machine.path == lab.settings.base and lab.library.chosen is None


def test_an_added_model_is_removed_from_the_list_and_stays_on_the_disk(
    panel: ModelsPanel, lab: Lab, tiny: Path
) -> None:
    entry = added(panel, lab, tiny)
    press(panel, "remove", entry.id)
    assert entry.id not in {one.id for one in lab.library.entries()} and (tiny / "config.json").is_file()


def test_a_path_that_is_no_model_is_refused_in_words(panel: ModelsPanel, tmp_path: Path) -> None:
    for path in ("", "  "):
        with pytest.raises(InputError):
            panel.added(path)


def test_the_list_says_what_a_model_is_and_what_it_can(base_folder: Path) -> None:
    entry = ModelEntry(
        id="0" * 12,
        name="m",
        title=HOSTILE,
        source="found",
        place=HOSTILE,
        path=base_folder,
        bytes=98_000_000,
        kind="gguf",
    )
    facts = ModelFacts(
        parameters=135_000_000,
        quantisation="Q4_1",
        context=8192,
        licence=HOSTILE,
        template=True,
        chat_bytes=700_000_000,
        training_bytes=1_500_000_000,
    )
    drawn = model_list([KnownModel(entry=entry, facts=facts, seconds=65.0, measured=True)], "", "", 40, False)
    assert "<img" not in drawn and "\u202e" not in drawn
    for word in ("135 M parameters", "Q4_1", "8,192 tokens", "98 MB", "700 MB to chat", "1.5 GB to train", "1 min 5 s"):
        assert word in drawn.unescape() or word in drawn.unescape().replace("\xa0", " "), word
    refused = ModelFacts(parameters=1, untrainable="Its scores are capped.", template=True)
    assert (
        "no. Its scores are capped" in model_list([KnownModel(entry=entry, facts=refused)], "", "", 0, False).unescape()
    )


def test_others_who_sign_in_switch_but_only_the_first_adds_and_removes(
    lab: Lab, settings: Settings, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = lab.library.add(tiny)
    object.__setattr__(
        lab, "settings", Settings(home=settings.home, base=settings.base, auth=(("ann", "x"), ("ben", "y")))
    )
    panel = built(ModelsPanel(lab), "chat")
    ben = SimpleNamespace(headers={"x-chatlab-user": "ben"})
    monkeypatch.setattr("chatlab.ui.models.panel.current_user", lambda request, auth: "ben")
    press(panel, "use", entry.id, ben)
    assert lab.machine.path == tiny
    for forbidden in (
        lambda: panel.added(str(tiny), ben),
        lambda: press(panel, "remove", entry.id, ben),
        lambda: panel.looked("a/b", "", ben),
        lambda: panel.fetched("a/b", "", None, ben),
        lambda: panel.dropped("x.gguf", ben),
    ):
        with pytest.raises(InputError, match="ann"):
            forbidden()


def test_adapters_of_other_models_say_whose_they_are_wherever_adapters_are_chosen(
    lab: Lab, tiny: Path, tmp_path: Path
) -> None:
    base = Base.open(tiny)
    made = make_adapter(tiny, tmp_path / "made", seed=1)
    Adapters(lab.settings.adapters).publish(made, AdapterCard(name="small", base=base.fingerprint, base_name=base.name))
    assert lab.machine.engine
    assert adapter_choices(lab) == [("base", "base"), ("small · made for tiny", "small")]
    history = TrainHistory(lab)
    with gr.Blocks():
        history.build()
    drawn = history.draw("small")
    labels = [label for label, _ in told(drawn[history.variants])["choices"]]
    assert labels[1].startswith("small · made for tiny")
    assert told(drawn[history.live])["interactive"] is False and told(drawn[history.here])["visible"] is True
    assert told(history.picked("base")[history.here])["visible"] is False


def test_a_reply_says_which_model_and_adapter_spoke(lab: Lab) -> None:
    who, _ = _provenance(
        Provenance(adapter="stage", sha256="4f2a" * 16, base="ab12", base_name="SmolLM2 <b>", tokens=3)
    )
    assert "SmolLM2 <b> · stage" in who.striptags() or ("SmolLM2" in who and "<b>" not in who)
    old, _ = _provenance(Provenance(adapter="stage", sha256="4f2a" * 16, base="ab12", tokens=3))
    assert "Model unknown" in old.unescape()


def test_a_model_that_was_never_trained_here_says_roughly_how_long_it_would_take(
    panel: ModelsPanel, lab: Lab, tiny: Path
) -> None:
    added(panel, lab, tiny)
    lab.demonstrations.write("Good morning.", "Good morrow, friend.")
    press(panel, "open")
    while panel._known.looking:
        time.sleep(0.02)
    drawn = shown(panel, press(panel, "open"), panel.list)
    assert re.search(r"Can be trained: yes, roughly .+ for 1 demonstration, by its size alone", drawn)
