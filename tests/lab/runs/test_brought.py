"""An adapter from elsewhere is compared, exported and continued like our own. Real engine, real training."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from chatlab.engines.base import Sampling
from chatlab.lab import Lab
from chatlab.lab.runs.exports import KINDS
from chatlab.records import BASE, Message, Preference
from chatlab.settings import Settings
from tests.support.lora import make_adapter

PATIENCE = 240.0
GREEDY = Sampling(temperature=0.0, max_tokens=12)


@pytest.fixture(scope="module")
def lab(base_folder: Path, cache_folder: Path, tmp_path_factory: pytest.TempPathFactory):
    """With one adapter that peft wrote for this base, and nothing of ours beside it."""
    home = tmp_path_factory.mktemp("brought")
    lab = Lab(Settings(home=home / "home", base=base_folder, cache_folder=cache_folder))
    source = make_adapter(base_folder, home / "theirs", 3, target_modules=["q_proj", "v_proj"])
    lab.adapter_import.bring([source], "theirs")
    yield lab
    lab.close()


def test_it_is_compared(lab: Lab) -> None:
    panes = list(lab.compare.ask("Tell me about the sea", [BASE, "theirs"], GREEDY))[-1]
    assert [pane.provenance.adapter for pane in panes] == [BASE, "theirs"]
    assert panes[1].provenance.sha256 == lab.variants.card("theirs").sha256
    assert panes[0].text != panes[1].text


@pytest.mark.parametrize("kind", [kind.name for kind in KINDS])
def test_it_is_exported(lab: Lab, kind: str, tmp_path: Path) -> None:
    made = lab.exports.make("theirs", kind, tmp_path)
    assert made.stat().st_size > 1000


def test_preferences_go_on_from_it(lab: Lab) -> None:
    lab.variants.go_live("theirs")
    for number in range(20):
        asked = (Message(role="user", content=f"Name bird {number} of the wood"),)
        lab.store.preferences.add(
            Preference(prompt=asked, chosen=f"A wren, number {number}.", rejected="No bird.", source="compare")
        )
    run = lab.preferences.learn(name="preferred", live=False, epochs=1)
    lab.training.wait(PATIENCE)
    assert lab.training.run(run).state == "finished", lab.training.run(run).error
    assert lab.variants.card("preferred").parent == "theirs"


def test_a_correction_goes_on_from_it(lab: Lab) -> None:
    lab.variants.go_live("theirs")
    new = lab.demonstrations.write("Which bus goes to the harbour?", "Take bus 42 to the harbour.", release=True)
    run = lab.training.learn(new)
    lab.training.wait(PATIENCE)
    assert lab.training.run(run).state == "finished", lab.training.run(run).error
    card = lab.variants.card(lab.variants.live)
    assert card is not None and (card.name, card.parent) == ("theirs.1", "theirs")
    config = json.loads((lab.training.run(run).adapter / "adapter_config.json").read_text(encoding="utf-8"))
    assert config["r"] == 8
    panes = list(lab.compare.ask("Which bus goes to the harbour?", ["theirs", "theirs.1"], GREEDY))[-1]
    assert panes[0].text != panes[1].text
