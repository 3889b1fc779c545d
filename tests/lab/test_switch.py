"""Another model while the app runs: what follows, what stays, and what a person is told."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from chatlab.adapters import Adapters
from chatlab.engines.base import Sampling
from chatlab.engines.fake import FakeEngine
from chatlab.errors import BaseError, ChatlabError, EngineError, TrainingError, WrongBase
from chatlab.lab import Lab
from chatlab.lab.chat.reply_stream import ReplyOptions
from chatlab.lab.models import memory
from chatlab.models.base import Base
from chatlab.records import BASE, AdapterCard, Demonstration, Message
from chatlab.settings import Settings
from tests.support.lora import make_adapter
from tests.support.report_figures import tiny_base

GREEDY = ReplyOptions(sampling=Sampling(temperature=0.0, max_tokens=24))
LONG = "one two three four five six seven eight nine ten eleven twelve"


@dataclass
class Engines:
    """Makes a fake engine for each base, and remembers them."""

    made: list[tuple[str, FakeEngine]] = field(default_factory=list)

    def open(self, base: Base) -> FakeEngine:
        engine = FakeEngine(lambda prompt, variant, sampling: f"{base.name} says {LONG}", fingerprint=base.fingerprint)
        self.made.append((base.name, engine))
        return engine

    def open_now(self) -> list[str]:
        """Names of the models whose engines are open."""
        return [name for name, engine in self.made if not engine._closed.is_set()]


@pytest.fixture(scope="module")
def tiny(base_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_base(base_folder, tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def engines() -> Engines:
    return Engines()


@pytest.fixture
def lab(settings: Settings, engines: Engines) -> Iterator[Lab]:
    lab = Lab(settings, open_engine=engines.open)
    yield lab
    lab.close()


def said(lab: Lab, text: str = "Good morning.") -> str:
    return lab.chat.reply(lab.chat.new(), text, GREEDY).finish().text


def published(lab: Lab, folder: Path, name: str, tmp_path: Path) -> AdapterCard:
    """An adapter for the base in a folder."""
    base = Base.open(folder)
    made = make_adapter(folder, tmp_path / f"made-{name}", seed=3)
    return Adapters(lab.settings.adapters).publish(
        made, AdapterCard(name=name, base=base.fingerprint, base_name=base.name)
    )


def copy_of(tiny: Path, name: str, tmp_path: Path) -> Path:
    """Another model: the same with another template, and so another fingerprint."""
    folder = tmp_path / name
    shutil.copytree(tiny, folder)
    for file in folder.glob("*.jinja"):
        file.write_text(file.read_text(encoding="utf-8") + f"{{# {name} #}}", encoding="utf-8")
    return folder


def test_the_next_reply_is_by_the_model_that_was_chosen_and_says_so(lab: Lab, tiny: Path) -> None:
    chat = lab.chat.new()
    lab.chat.reply(chat, "Good morning.", GREEDY).finish()
    lab.switch.use(tiny)
    lab.chat.reply(chat, "And you?", GREEDY).finish()
    first, second = (turn for turn in lab.chat.get(chat).path() if turn.role == "assistant")
    assert first.provenance is not None and second.provenance is not None
    assert first.content.startswith("embedded says") and second.content.startswith("tiny says")
    assert (first.provenance.base_name, second.provenance.base_name) == ("embedded", "tiny")
    assert first.provenance.base != second.provenance.base == lab.machine.base.fingerprint


def test_a_reply_under_way_ends_with_the_model_it_began_with(lab: Lab, tiny: Path, tmp_path: Path) -> None:
    reply = lab.chat.reply(lab.chat.new(), "Good morning.", GREEDY)
    next(reply)
    third = copy_of(tiny, "third", tmp_path)
    lab.switch.use(tiny)
    lab.switch.use(third)
    assert said(lab).startswith("third says")
    assert reply.finish().text == f"embedded says {LONG}"
    assert reply.provenance is not None and reply.provenance.base_name == "embedded"


def test_an_engine_is_closed_once_nobody_uses_it_and_two_stay_open(
    lab: Lab, engines: Engines, tiny: Path, tmp_path: Path
) -> None:
    reply = lab.chat.reply(lab.chat.new(), "Good morning.", GREEDY)
    next(reply)
    lab.switch.use(tiny)
    lab.switch.use(copy_of(tiny, "third", tmp_path))
    assert engines.open_now() == ["embedded", "tiny", "third"]
    reply.finish()
    assert engines.open_now() == ["tiny", "third"]
    lab.switch.use(tiny)
    assert [name for name, _ in engines.made].count("tiny") == 1, "a model that is open is not opened again"


def test_a_model_that_cannot_be_opened_leaves_the_old_one_in_place(lab: Lab, tiny: Path, tmp_path: Path) -> None:
    before = said(lab)
    damaged = copy_of(tiny, "damaged", tmp_path)
    weights = next(damaged.glob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:100])
    gone = copy_of(tiny, "gone", tmp_path)
    shutil.rmtree(gone)
    for folder in (damaged, gone):
        with pytest.raises(BaseError) as refusal:
            lab.switch.use(folder)
        assert refusal.value.hint
        assert said(lab) == before and lab.machine.base.name == "embedded"


def test_an_engine_that_does_not_open_leaves_the_old_one_in_place(settings: Settings, tiny: Path) -> None:
    def opened(base: Base) -> FakeEngine:
        if base.name == "tiny":
            raise EngineError("llama.cpp cannot read it.", "Download it again.")
        return FakeEngine(lambda *_: "Still here.")

    lab = Lab(settings, open_engine=opened)
    try:
        said(lab)
        with pytest.raises(EngineError):
            lab.switch.use(tiny)
        assert said(lab) == "Still here."
    finally:
        lab.close()


def test_too_little_memory_is_said_before_loading_with_what_would_fit(
    lab: Lab, engines: Engines, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said(lab)
    monkeypatch.setattr(memory, "chat_memory", lambda base: 10**15)
    with lab.machine.lease(), pytest.raises(EngineError) as refusal:
        lab.switch.use(tiny)
    assert "GB of memory" in str(refusal.value) and "a file of up to" in refusal.value.hint
    assert engines.open_now() == ["embedded"]


def test_two_quick_switches_end_with_the_last_one(lab: Lab, tiny: Path, tmp_path: Path) -> None:
    third = copy_of(tiny, "third", tmp_path)
    began = threading.Event()

    def first() -> None:
        began.set()
        lab.switch.use(tiny)

    switching = threading.Thread(target=first)
    switching.start()
    began.wait()
    switching.join()
    lab.switch.use(third)
    assert lab.machine.base.name == "third" and said(lab).startswith("third says")


def test_a_model_whose_files_changed_is_opened_anew(lab: Lab, engines: Engines, tiny: Path, tmp_path: Path) -> None:
    folder = copy_of(tiny, "third", tmp_path)
    lab.switch.use(folder)
    before = lab.machine.base.fingerprint
    lab.switch.use(tiny)
    (folder / "model.safetensors").touch()
    lab.switch.use(folder)
    assert [name for name, _ in engines.made].count("third") == 2
    assert lab.machine.base.fingerprint == before, "the same bytes are the same model"
    assert sorted(engines.open_now()) == ["third", "tiny"]


def test_each_model_has_its_own_live_adapter_and_its_own_undo(lab: Lab, tiny: Path, tmp_path: Path) -> None:
    embedded = lab.settings.base
    published(lab, embedded, "player", tmp_path)
    published(lab, tiny, "small", tmp_path)
    assert lab.machine.engine and lab.variants.names() == [BASE, "player"]
    lab.variants.go_live("player")
    lab.switch.use(tiny)
    assert lab.variants.live == BASE and lab.variants.names() == [BASE, "small"]
    assert [card.name for card in lab.variants.others()] == ["player"]
    lab.variants.go_live("small")
    lab.switch.use(embedded)
    assert lab.variants.live == "player" and lab.variants.previous == BASE
    assert lab.variants.undo() == BASE
    lab.switch.use(tiny)
    assert lab.variants.live == "small"


def test_a_restart_shows_the_live_adapter_of_the_model_that_answered_last(
    lab: Lab, tiny: Path, tmp_path: Path, engines: Engines
) -> None:
    published(lab, lab.settings.base, "player", tmp_path)
    said(lab)
    lab.variants.go_live("player")
    lab.switch.use(tiny)
    lab.close()
    again = Lab(lab.settings, open_engine=engines.open)
    assert not again.machine.started and again.variants.live == BASE
    said(again)
    assert again.variants.live == "player", "the settings name the first model, whose adapter is live"
    again.close()


def test_an_adapter_of_another_model_is_refused_and_says_whose_it_is(lab: Lab, tiny: Path, tmp_path: Path) -> None:
    published(lab, tiny, "small", tmp_path)
    said(lab)
    with pytest.raises(WrongBase, match="tiny"):
        lab.variants.get("small")
    with pytest.raises(WrongBase, match="tiny"):
        lab.variants.go_live("small")
    (pane,) = list(lab.compare.ask("Hello.", ["small"], GREEDY.sampling))[-1]
    assert "tiny" in pane.error


def test_what_was_live_in_an_older_version_is_still_live(lab: Lab, tiny: Path, tmp_path: Path) -> None:
    published(lab, lab.settings.base, "player", tmp_path)
    published(lab, tiny, "small", tmp_path)
    lab.store.state.set("live", [BASE, "player", "small"])
    assert lab.machine.base and lab.variants.live == "player"
    lab.switch.use(tiny)
    assert lab.variants.live == "small"
    lab.variants.undo()
    lab.switch.use(lab.settings.base)
    assert (lab.variants.live, lab.variants.previous) == ("player", BASE)


def test_demonstrations_votes_and_conversations_stay(lab: Lab, tiny: Path) -> None:
    lab.demonstrations.write("Hello.", "Good morrow.")
    chat = lab.chat.new()
    lab.chat.reply(chat, "Hello.", GREEDY).finish()
    panes = list(lab.compare.ask("Hello.", [BASE, BASE], GREEDY.sampling))[-1]
    lab.votes.cast("Hello.", panes, "tie")
    lab.switch.use(tiny)
    assert lab.demonstrations.find()[1] == 1 and len(lab.chat.get(chat).path()) == 2
    assert len(lab.votes) == 1 and lab.votes.results(draws=0).votes == 0, "votes count for the model they were about"
    lab.switch.use(lab.settings.base)
    assert lab.votes.results(draws=0).votes == 1


def test_the_replies_to_the_unseen_prompts_belong_to_their_model(lab: Lab, tiny: Path) -> None:
    lab.unseen.rewrite(["What is love?"])
    assert list(lab.grid.ask([BASE]))[-1].cells[0][0].said
    lab.switch.use(tiny)
    assert lab.grid.cached([BASE]).cells[0][0].said is None
    said_now = list(lab.grid.ask([BASE]))[-1].cells[0][0].said
    assert said_now is not None and said_now.text.startswith("tiny says")
    lab.switch.use(lab.settings.base)
    again = lab.grid.cached([BASE]).cells[0][0].said
    assert again is not None and again.text.startswith("embedded says")
    assert again.provenance.base_name == "embedded"


def test_how_long_answers_are_is_told_for_each_model(lab: Lab, tiny: Path) -> None:
    said(lab)
    assert lab.answer_lengths.report().now.count == 1
    lab.switch.use(tiny)
    assert lab.answer_lengths.report().now.count == 0
    said(lab), said(lab)
    assert lab.answer_lengths.report().now.count == 2
    assert set(lab.answer_lengths.averages()) == {BASE, "embedded"}


def test_the_checklist_speaks_of_an_adapter_of_this_model(lab: Lab, tiny: Path, tmp_path: Path) -> None:
    published(lab, lab.settings.base, "player", tmp_path)
    said(lab)
    lab.variants.go_live("player")
    subject = lab.checklist.subject()
    assert subject is not None and subject.name == "player"
    lab.switch.use(tiny)
    assert lab.checklist.subject() is None


def test_a_difficulty_is_known_for_the_model_it_was_measured_with(lab: Lab, tiny: Path) -> None:
    messages = (Message(role="user", content="Hello."), Message(role="assistant", content="Good morrow."))
    lab.store.demonstrations.add(Demonstration(messages=messages))
    difficulties = lab.quality.difficulties
    assert difficulties.measure() == 1
    assert difficulties.wait().done == 1
    assert len(difficulties.known()) == 1
    lab.switch.use(tiny)
    assert not difficulties.known() and difficulties.missing() == 1
    lab.switch.use(lab.settings.base)
    assert len(difficulties.known()) == 1


def test_a_run_under_way_goes_on_with_its_model_and_its_adapter_is_live_there(lab: Lab, tiny: Path) -> None:
    lab.demonstrations.load_pack("stage")
    said(lab)
    run = lab.training.retrain("player", epochs=1)
    lab.switch.use(tiny)
    lab.training.wait(timeout=240)
    name = lab.training.adapter_of(run)
    card = lab.variants.card(name or "")
    assert name == "player" and card is not None and card.base_name == "embedded", lab.training.news
    assert lab.variants.live == BASE and "embedded" in lab.training.news
    lab.switch.use(lab.settings.base)
    assert lab.variants.live == "player"
    lab.switch.use(tiny)
    with pytest.raises(TrainingError, match="finished"):
        lab.training.resume(run)
    again = lab.training.retrain_like(card)
    lab.training.wait(timeout=240)
    other = lab.variants.card(lab.training.adapter_of(again) or "")
    assert other is not None and other.base_name == "tiny" and other.base == lab.machine.base.fingerprint
    assert (other.settings.epochs, other.settings.rank) == (1, card.settings.rank)


def test_an_unfinished_run_of_another_model_is_not_gone_on_with(lab: Lab, tiny: Path) -> None:
    lab.demonstrations.write("Hello.", "Good morrow.")
    said(lab)
    run = lab.training.prepare("player")
    lab.switch.use(tiny)
    with pytest.raises(TrainingError, match="embedded"):
        lab.training.resume(run)


def test_a_lab_that_closes_while_a_model_opens_ends_in_words(settings: Settings, tiny: Path) -> None:
    opening, go_on = threading.Event(), threading.Event()
    failed: list[ChatlabError] = []

    def opened(base: Base) -> FakeEngine:
        if base.name == "tiny":
            opening.set()
            go_on.wait()
        return FakeEngine()

    lab = Lab(settings, open_engine=opened)

    def switch() -> None:
        try:
            lab.switch.use(tiny)
        except ChatlabError as error:
            failed.append(error)

    thread = threading.Thread(target=switch)
    thread.start()
    opening.wait()
    lab.close()
    go_on.set()
    thread.join()
    assert [type(error) for error in failed] == [EngineError]
