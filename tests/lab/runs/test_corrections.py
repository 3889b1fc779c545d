"""Learn this now: one demonstration in a few steps, as the next version of the live adapter. Real training."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from chatlab.errors import InputError, RunBusy
from chatlab.lab import Lab
from chatlab.records import BASE, AdapterCard
from chatlab.settings import Settings
from chatlab.training.process.runs import RunView

PATIENCE = 240.0


@pytest.fixture(scope="module")
def own(base_folder: Path, cache_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    home = tmp_path_factory.mktemp("corrections") / "home"
    return Settings(home=home, base=base_folder, cache_folder=cache_folder)


@pytest.fixture(scope="module")
def shared(own: Settings) -> Iterator[Lab]:
    """Its adapter "player" learned the starter pack, in the trainer that learns the corrections."""
    lab = Lab(own)
    lab.demonstrations.load_pack("stage")
    lab.training.retrain("player", live=False, epochs=1, learning_rate=3e-4)
    lab.training.wait(PATIENCE)
    assert lab.variants.names() == [BASE, "player"] and lab.variants.live == BASE, lab.training.news
    yield lab
    lab.close()


@pytest.fixture
def lab(shared: Lab) -> Lab:
    """With "player" live."""
    shared.variants.go_live("player")
    return shared


def learned(lab: Lab, demonstration: int) -> tuple[RunView, AdapterCard]:
    """The run that learned a demonstration, and the card of what came of it."""
    run = lab.training.learn(demonstration)
    lab.training.wait(PATIENCE)
    view = lab.training.run(run)
    name = lab.training.adapter_of(run)
    assert view.state == "finished" and name is not None, (view.error, lab.training.news)
    card = lab.variants.card(name)
    assert card is not None
    return view, card


def weights(run: RunView) -> bytes:
    return (run.adapter / "adapter_model.safetensors").read_bytes()


def test_a_correction_goes_live_as_the_next_version_and_is_undone(lab: Lab) -> None:
    player = lab.variants.card("player")
    new = lab.demonstrations.write("Which bus goes to the harbour?", "Take bus 42 to the harbour.")
    view, card = learned(lab, new)
    assert lab.variants.live == card.name == "player.1"
    assert (card.parent, card.corrections) == ("player", (new,))
    assert card.demonstrations == (*player.demonstrations, new)
    assert new in view.result.demonstrations and len(view.result.demonstrations) > 1, "old ones are replayed"
    assert (view.start / "adapter_model.safetensors").read_bytes() != weights(view)
    again, second = learned(lab, new)
    assert again.steps[0].loss < view.steps[0].loss / 2, "what was learned is likelier than it was"
    assert lab.variants.undo() == "player.1" and lab.variants.undo() == "player"
    third, other = learned(lab, new)
    assert second.name == "player.2" and other.name == "player.1-2", "what was undone keeps its name"
    assert weights(third) == weights(view), "the same correction of the same adapter is the same, to the bit"


def test_corrections_pile_up_in_order_and_the_earlier_ones_are_replayed(lab: Lab) -> None:
    first = lab.demonstrations.write("What is my cat called?", "Your cat is called Pepper.")
    second = lab.demonstrations.write("What day is the market?", "The market is held on Tuesday.")
    learned(lab, first)
    view, card = learned(lab, second)
    assert card.corrections == view.request.corrections == (first, second)
    assert first in view.result.demonstrations


def test_forgetting_is_measured_once_the_correction_is_live(lab: Lab) -> None:
    new = lab.demonstrations.write("Who won the boat race?", "The crew of the Swallow won it.")
    view, card = learned(lab, new)
    assert view.result.forgetting is None
    ends = time.monotonic() + PATIENCE
    while (found := lab.variants.card(card.name)).forgetting is None:
        assert time.monotonic() < ends, lab.training.news
        time.sleep(0.05)
    low, high = found.forgetting_interval
    assert low <= found.forgetting <= high


def test_a_correction_of_the_base_is_an_adapter_of_its_own(lab: Lab) -> None:
    lab.variants.go_live(BASE)
    new = lab.demonstrations.write("How do I reset it?", "Hold the red button for ten seconds.")
    view, card = learned(lab, new)
    assert (card.parent, card.corrections, card.demonstrations) == (BASE, (new,), (new,))
    assert not view.start.exists() and lab.variants.live == card.name


def test_a_killed_correction_ends_as_if_it_never_was(lab: Lab) -> None:
    new = lab.demonstrations.write("Which colour is our logo?", "Our logo is dark green.")
    whole, _ = learned(lab, new)
    lab.variants.undo()
    run = lab.training.learn(new)
    ends = time.monotonic() + PATIENCE
    while not lab.training.status().steps:
        assert time.monotonic() < ends
    pid = int((lab.training.run(run).folder / "worker.pid").read_text())
    os.kill(pid, signal.SIGTERM if sys.platform == "win32" else signal.SIGKILL)
    lab.training.wait(PATIENCE)
    if lab.training.run(run).state != "finished":  # it may have been quicker
        assert lab.training.run(run).state == "interrupted" and lab.variants.live == "player"
        lab.training.resume(run)
        lab.training.wait(PATIENCE)
    assert weights(lab.training.run(run)) == weights(whole)


def test_only_what_runs_may_learn_is_learned_and_one_at_a_time(lab: Lab) -> None:
    new = lab.demonstrations.write("May I bring my dog?", "Yes, dogs are welcome on a lead.")
    lab.demonstrations.update(new, status="waiting")
    with pytest.raises(InputError, match="not approved"):
        lab.training.learn(new)
    lab.demonstrations.update(new, status="approved")
    lab.training.learn(new)
    with pytest.raises(RunBusy):
        lab.training.learn(new)
    lab.training.wait(PATIENCE)


def test_an_answer_that_is_too_long_says_so_and_changes_nothing(lab: Lab) -> None:
    new = lab.demonstrations.write("Tell me everything.", "word " * 2000)
    run = lab.training.learn(new)
    lab.training.wait(PATIENCE)
    view = lab.training.run(run)
    assert view.state == "failed" and "longer than" in view.error and lab.variants.live == "player"


def test_an_adapter_of_another_shape_is_not_continued(lab: Lab, own: Settings) -> None:
    folder = own.adapters / "player"
    card = json.loads((folder / "card.json").read_text())
    assert card["settings"]["rank"] == 16
    new = lab.demonstrations.write("How large is the hall?", "The small hall has eighty seats.")
    run = lab.training.run(lab.training.learn(new)).folder
    lab.training.wait(PATIENCE)
    lab.variants.undo()
    request = json.loads((run / "run.json").read_text())
    request["settings"]["rank"] = 4  # as if its card had said so, which somebody else wrote
    other = run.with_name("another-shape")
    shutil.copytree(run, other, ignore=shutil.ignore_patterns("result.json", "published.json", "adapter", "*.lock"))
    (other / "run.json").write_text(json.dumps(request))
    lab.training.resume("another-shape")
    lab.training.wait(PATIENCE)
    view = lab.training.run("another-shape")
    assert view.state == "failed" and "another rank" in view.error and "Retrain" in view.hint
