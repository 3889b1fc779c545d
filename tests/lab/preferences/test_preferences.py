"""Learning from votes, edits, thumbs and the model's own samples. Real training on the embedded base."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from chatlab.__main__ import main
from chatlab.commands import prefer
from chatlab.errors import InputError, NothingToLearn
from chatlab.evaluation.preference_verdict import headline, why_worse
from chatlab.lab import Lab
from chatlab.lab.chat.reply_stream import ReplyOptions
from chatlab.measurements import PreferenceMetrics
from chatlab.records import Message, Preference, Provenance, Rating
from chatlab.settings import Settings
from chatlab.training.process.runs import RunView

PATIENCE = 240.0


@pytest.fixture
def lab(settings: Settings) -> Iterator[Lab]:
    lab = Lab(settings)
    yield lab
    lab.close()


@pytest.fixture(scope="module")
def taught(base_folder: Path, cache_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """With "player" live, which learned the starter pack, briefly."""
    home = tmp_path_factory.mktemp("preferences") / "home"
    lab = Lab(Settings(home=home, base=base_folder, cache_folder=cache_folder))
    lab.demonstrations.load_pack("stage")
    lab.training.retrain("player", epochs=1)
    lab.training.wait(PATIENCE)
    assert lab.variants.live == "player", lab.training.news
    yield lab
    lab.close()


def pair(prompt: str, chosen: str, rejected: str, **more: Any) -> Preference:
    asked = (Message(role="user", content=prompt),)
    return Preference(prompt=asked, chosen=chosen, rejected=rejected, **{"source": "compare", **more})


def add(lab: Lab, pairs: Sequence[Preference]) -> list[int]:
    return [lab.store.preferences.add(one) for one in pairs]


def birds(count: int) -> list[Preference]:
    return [pair(f"Name bird {n} of the wood", f"A wren, number {n}.", f"I know no bird {n}.") for n in range(count)]


def ended(lab: Lab, run: str) -> RunView:
    lab.training.wait(PATIENCE)
    found = lab.training.run(run)
    assert found.state == "finished" and found.result is not None, found.error
    return found


def test_what_is_left_out_is_named(lab: Lab) -> None:
    unseen = lab.unseen.prompts()[0]
    other = Provenance(adapter="base", base="another")
    kept = add(
        lab,
        [
            pair("Good?", "Yes.", "No."),
            pair("Good?", "Yes. ", "No."),  # the same again
            pair("Fair?", "Yes.", "No."),
            pair("Fair?", "No.", "Yes."),  # as often one way as the other
            pair("Fine?", "Yes.", "No."),
            pair("Fine?", "Yes.", "No.", source="edit"),
            pair("Fine?", "No.", "Yes."),  # outvoted
            pair("Same?", "Yes.", " Yes."),
            pair("Empty?", "Yes.", " "),
            pair("Elsewhere?", "Yes.", "No.", rejected_by=other),
            pair(unseen, "Yes.", "No."),
        ],
    )
    found = lab.preferences.usable()
    assert list(found.pairs) == [kept[0], kept[4]]
    assert found.left_out == {
        "the same pair again": 2,
        "preferred both ways equally often": 2,
        "preferred the other way more often": 1,
        "both answers are the same": 1,
        "an answer is empty": 1,
        "answers of another model": 1,
        "repeats an unseen prompt": 1,
    }
    assert found.longer == 2 and found.prompts == 2


def test_thumbs_of_a_conversation_are_answers_with_all_that_came_before(lab: Lab) -> None:
    conversation = lab.chat.new()
    for _ in lab.chat.reply(conversation, "Who art thou?", ReplyOptions()):
        pass
    for _ in lab.chat.reply(conversation, "Of what company?", ReplyOptions()):
        pass
    turn = lab.chat.get(conversation).turns[-1]
    if turn.content.strip():
        lab.chat.rate(conversation, turn.id, liked=False)
        (thumb,) = lab.preferences.usable().thumbs
        assert thumb.answer.content == turn.content and not thumb.liked
        assert [m.role for m in thumb.prompt] == ["user", "assistant", "user"]
        assert isinstance(lab.chat.get(conversation).turns[-1].rating, Rating)
    assert "10 of each" in lab.preferences.plan("thumbs").too_few


def test_too_few_pairs_are_refused_with_what_would_do(lab: Lab) -> None:
    add(lab, birds(5))
    assert "5 of the 20 pairs" in lab.preferences.plan().too_few
    with pytest.raises(NothingToLearn) as refused:
        lab.preferences.learn()
    assert "free pairs" in refused.value.hint


@pytest.mark.parametrize(("source", "loss"), [("thumbs", "dpo"), ("thumbs", "sft"), ("pairs", "kto")])
def test_a_loss_for_something_else_is_refused(lab: Lab, source: Any, loss: str) -> None:
    with pytest.raises(InputError):
        lab.preferences.plan(source, loss=loss)


def test_votes_change_the_live_adapter_and_can_be_undone(taught: Lab) -> None:
    ids = add(taught, birds(30))
    run = ended(taught, taught.preferences.learn(name="birds", epochs=4))
    result, card = run.result, taught.variants.card("birds")
    assert result is not None and card is not None
    assert taught.variants.live == "birds" and card.parent == "player"
    found = result.preferences
    assert found is not None and found.pairs == 6
    assert found.by_reward == 6, "what was never seen is ranked as it was voted"
    assert found.chosen_after > found.chosen_before
    best, *_, worst = found.examples
    assert len(found.examples) == 3 and best.chosen.change - best.rejected.change >= worst.chosen.change > 0
    for shown in found.examples:
        pair = taught.store.preferences.get(shown.preference)
        assert shown.prompt == pair.prompt[-1].content
        for answer, tokens in ((pair.chosen, shown.chosen), (pair.rejected, shown.rejected)):
            assert "".join(tokens.texts).startswith(answer), "the answer as it is, then its end"
            assert len(tokens.texts) == len(tokens.before) == len(tokens.after)
    assert run.steps[-1].margin > 0 and run.steps[0].held_out_margin == 0
    assert set(card.preferences) | set(result.held_out) == set(ids)
    assert set(card.demonstrations) == set(taught.variants.card("player").demonstrations)
    examples = taught.lineage.examples("birds")
    assert len(examples) == 30 and examples[0].preferred and examples[0].answer.startswith("A wren")
    assert taught.variants.undo() == "player"


def test_sft_on_the_chosen_answers_is_measured_on_the_same_pairs(taught: Lab) -> None:
    taught.variants.go_live("player")
    if not taught.preferences.usable().pairs:
        add(taught, birds(30))
    plain = ended(taught, taught.preferences.learn(name="plain", live=False, epochs=1, loss="sft"))
    voted = ended(taught, taught.preferences.learn(name="voted", live=False, epochs=1))
    assert plain.result is not None and voted.result is not None
    assert plain.result.held_out == voted.result.held_out and plain.result.steps == voted.result.steps
    assert plain.result.preferences is not None and plain.result.adapter != voted.result.adapter
    assert plain.result.preferences.chosen_after > plain.result.preferences.chosen_before


def test_the_same_votes_give_the_same_adapter_to_the_bit(taught: Lab) -> None:
    taught.variants.go_live("player")
    if not taught.preferences.usable().pairs:
        add(taught, birds(30))
    first, second = (
        ended(taught, taught.preferences.learn(name=name, live=False, epochs=1)) for name in ("one", "two")
    )
    assert first.result is not None and second.result is not None
    assert first.result.adapter == second.result.adapter
    assert first.result.adapter != taught.variants.card("player").sha256


def test_a_stopped_run_goes_on_to_the_same_adapter(taught: Lab) -> None:
    taught.variants.go_live("player")
    whole = ended(taught, taught.preferences.learn(name="whole", live=False, epochs=3))
    id = taught.preferences.learn(name="halved", live=False, epochs=3)
    while len(taught.training.status().steps) < 4:
        assert taught.training.status().state == "training"
    taught.training.stop()
    taught.training.wait(PATIENCE)
    assert taught.training.run(id).state == "stopped"
    taught.training.resume(id)
    assert ended(taught, id).result.adapter == whole.result.adapter


def test_a_correction_and_another_model_do_not_take_over_what_was_for_preferences(taught: Lab) -> None:
    taught.variants.go_live("player")
    if not taught.preferences.usable().pairs:
        add(taught, birds(30))
    run = ended(taught, taught.preferences.learn(name="swayed", epochs=1))
    assert run.request.settings.loss == "apo_zero"
    new = taught.demonstrations.write("Which bus goes to the harbour?", "Take bus 42 to the harbour.", release=True)
    taught.variants.go_live("swayed", knowingly=True)
    corrected = ended(taught, taught.training.learn(new))
    assert corrected.request.settings.loss == "sft" and corrected.request.parent == "swayed"
    again = ended(taught, taught.training.retrain_like(taught.variants.card("swayed")))
    usual = taught.training.plan().settings
    assert (again.request.settings.loss, again.request.settings.epochs) == ("sft", usual.epochs)
    readme = (taught.settings.adapters / "swayed" / "README.md").read_text(encoding="utf-8")
    assert "and then 24 preferences" in readme and "loss apo_zero" in readme


def test_what_is_sampled_when_the_page_goes_away_is_given_up(taught: Lab) -> None:
    taught.variants.go_live("player")
    sampling = taught.preferences.free_pairs.sample()
    next(sampling)
    sampling.close()
    assert taught.machine.current.leases == taught.machine.current.background, "only measurements go on"
    assert taught.preferences.free_pairs.rows()


def test_free_pairs_are_demonstrations_against_the_models_own_answers(taught: Lab) -> None:
    taught.variants.go_live("player")
    for id in taught.demonstrations.approved()[6:]:
        taught.demonstrations.delete([id])
    progress = list(taught.preferences.free_pairs.sample())
    assert progress[0][0] == 0
    rows = taught.preferences.free_pairs.rows()
    answers = {taught.demonstrations.get(id).answer for id in taught.demonstrations.approved()}
    assert 6 < len(rows) <= 18 and all(row["id"] < 0 for row in rows)
    for row in rows:
        assert row["messages"][-1]["content"] in answers and row["rejected"]["content"] not in answers
    assert {row["rejected_by"] for row in rows} == {"base", taught.variants.card("player").sha256}
    found = ended(taught, taught.preferences.learn("free", name="freed", live=False))
    assert found.request.preferences == tuple(row["id"] for row in rows)


def metrics(**changed: Any) -> PreferenceMetrics:
    usual = {"pairs": 40, "prompts": 40, "by_log_prob_before": 20, "by_log_prob": 28, "by_reward": 34, "by_length": 19}
    return PreferenceMetrics(
        **usual | {"margin": 0.4, "chosen_before": -2.0, "chosen_after": -1.9, "kl": 0.1} | changed
    )


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"by_reward": 8}, "against you"),
        ({"by_log_prob_before": 38, "by_log_prob": 20}, "fewer held-out pairs"),
        ({"chosen_after": -2.6}, "less likely"),
    ],
)
def test_what_ranks_worse_does_not_go_live_unasked(changed: dict[str, Any], said: str) -> None:
    assert said in why_worse(metrics(**changed)) and said in headline(metrics(**changed))
    assert not why_worse(metrics())


def test_thumbs_hold_none_out_and_begin_no_run_of_pairs(taught: Lab) -> None:
    assert taught.preferences.plan("thumbs").held_out == 0
    assert taught.preferences.plan("thumbs").settings.held_out == 0


def test_the_headline_says_when_it_cannot_be_told() -> None:
    assert "Not enough pairs" in headline(None) and "Not enough pairs" in headline(metrics(pairs=6, by_reward=6))
    assert "too few to tell from chance" in headline(metrics(by_reward=23))
    assert "longer" in headline(metrics(by_length=36))
    assert headline(metrics()).endswith("never saw.")


def test_the_terminal_says_what_it_would_learn_and_learns(taught: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    taught.variants.go_live("player")
    usual = {"source": "pairs", "loss": None, "beta": None, "epochs": 1, "adapter": "told", "no_live": True}
    given = argparse.Namespace(**usual, anyway=False, dry_run=True, json=True)
    lines: list[str] = []
    assert prefer.prefer(taught, given, lines.append) == 0
    plan = json.loads("".join(lines))
    assert plan["learned"] + plan["held_out"] == 30 and plan["settings"]["loss"] == "apo_zero"
    lines.clear()
    given.dry_run = given.json = False
    assert prefer.prefer(taught, given, lines.append) == 0
    assert "Goes on from player" in lines[0] and any("told is ready" in line for line in lines)


def test_the_command_refuses_too_little_in_words(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CHATLAB_HOME", str(settings.home))
    monkeypatch.setenv("CHATLAB_BASE", str(settings.base))
    assert main(["prefer"]) == 1
    assert "Too few" in capsys.readouterr().err
