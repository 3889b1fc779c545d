"""Bring an adapter: what the Train tab says of one that was trained elsewhere. Real files, spoken for by the fake."""

from __future__ import annotations

import json
import shutil
from argparse import Namespace
from pathlib import Path

import pytest

from chatlab.commands.adapters import AdapterCommands
from chatlab.errors import InputError, NameRefused
from chatlab.lab import Lab
from chatlab.ui.train.tab import TrainTab
from tests.support.lora import make_adapter
from tests.support.page import told


@pytest.fixture(scope="module")
def elsewhere(base_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A PEFT folder without any of our papers."""
    return make_adapter(base_folder, tmp_path_factory.mktemp("elsewhere") / "my lora!", 1, target_modules=["q_proj"])


def test_a_folder_is_brought_by_its_path_and_its_card_says_where_it_comes_from(
    lab: Lab, tab: TrainTab, elsewhere: Path
):
    shown = tab.history.brought(f" {elsewhere} ")
    assert told(shown[tab.history.variants])["value"] == "my-lora" and shown[tab.history.bring.path] == ""
    card = lab.variants.card("my-lora")
    assert card and card.origin.startswith("'my lora!', PEFT 0.") and card.base == lab.machine.base.fingerprint
    assert (card.settings.rank, card.settings.alpha, card.demonstrations) == (8, 16.0, ())
    said = shown[tab.history.bring.told]
    assert card.sha256[:16] in said and "3 of 3 answers differ" in said and "Nothing is known of its training" in said
    rows = [label for label, name in told(shown[tab.history.variants])["choices"] if name == "my-lora"]
    assert rows == ["my-lora\ntrained elsewhere · forgetting not measured"]
    assert "not known here" in tab.history.picked("my-lora")[tab.history.training_data]
    readme = (lab.settings.adapters / "my-lora" / "README.md").read_text(encoding="utf-8")
    assert "brought to Chatlab" in readme and "0 demonstrations" not in readme and "epochs" not in readme
    lab.variants.go_live("my-lora")
    assert lab.variants.live == "my-lora" and "trained elsewhere" in str(lab.checklist.items())


def test_files_that_are_dropped_are_brought_and_their_copies_thrown_away(
    lab: Lab, tab: TrainTab, elsewhere: Path, tmp_path: Path
) -> None:
    copies = [shutil.copy(elsewhere / name, tmp_path) for name in ("adapter_config.json", "adapter_model.safetensors")]
    before = set(lab.variants.names())
    shown = tab.history.dropped([str(copy) for copy in copies])
    (name,) = set(lab.variants.names()) - before
    assert told(shown[tab.history.variants])["value"] == name and not any(Path(copy).exists() for copy in copies)


def test_a_folder_that_lies_among_the_adapters_takes_its_place(lab: Lab, tab: TrainTab, elsewhere: Path) -> None:
    folder = shutil.copytree(elsewhere, lab.settings.adapters / "dropped-here")
    assert "Bring an adapter" in lab.variants.problems["dropped-here"]
    tab.history.brought(str(folder))
    assert lab.variants.problems == {} and lab.variants.card("dropped-here") is not None


def test_one_is_brought_and_listed_in_a_terminal(lab: Lab, elsewhere: Path) -> None:
    said: list[str] = []
    commands = AdapterCommands(lab, said.append)
    commands.run(Namespace(do="add", path=[elsewhere], name="by-hand"))
    card = lab.variants.card("by-hand")
    assert card is not None and said[0] == f"by-hand is in the list, from {card.origin}." and card.sha256 in said[1]
    commands.run(Namespace(do=None))
    assert any("by-hand" in line and "my lora!" in line for line in said[3:])
    with pytest.raises(NameRefused):
        commands.run(Namespace(do="add", path=[elsewhere], name="../out"))


def test_what_cannot_be_brought_is_said_and_leaves_nothing(
    lab: Lab, tab: TrainTab, elsewhere: Path, tmp_path: Path
) -> None:
    names = lab.variants.names()
    folder = shutil.copytree(elsewhere, tmp_path / "corda")
    config = json.loads((folder / "adapter_config.json").read_text()) | {"init_lora_weights": "corda"}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    shown = tab.history.brought(str(folder))
    assert "corda" in shown[tab.history.bring.told].casefold() and tab.history.bring.path not in shown
    for path, why in (("", "empty"), (str(tmp_path / "nowhere"), "nothing at")):
        with pytest.raises(InputError, match=why):
            tab.history.brought(path)
    assert lab.variants.names() == names and lab.variants.problems == {}
