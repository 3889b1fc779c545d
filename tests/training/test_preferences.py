"""Objectives of preference training held to their definitions, to TRL's, and to what may not change them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from transformers import AutoModelForCausalLM

from chatlab.errors import NothingToLearn
from chatlab.models.base import Base
from chatlab.records import TrainSettings
from chatlab.settings import PACKAGE
from chatlab.training.loop import compute_gradients
from chatlab.training.model import LoraModel
from chatlab.training.preferences import names
from chatlab.training.preferences.loss import PreferenceLoss, ThumbLoss, log_probs, log_probs_by_token
from chatlab.training.preferences.objectives import PAIRED, UNPAIRED, PairScores
from chatlab.training.preferences.pairs import Judged, Pair, read_preferences

SETTINGS = TrainSettings(rank=4, kl_weight=0, held_out=0, beta=0.3)


@pytest.fixture(scope="module")
def base(base_folder: Path) -> Base:
    return Base.open(base_folder)


@pytest.fixture(scope="module")
def model(base: Base) -> LoraModel:
    torch.set_num_threads(1)
    return LoraModel(base.folder, SETTINGS, Accelerator(cpu=True), bf16=False)


def told(rows: Sequence[dict[str, Any]], folder: Path) -> Path:
    file = folder / "snapshot.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


def row(id: int, prompt: list[dict[str, str]], chosen: str, rejected: str) -> dict[str, Any]:
    return {"id": id, "messages": [*prompt, said(chosen)], "rejected": said(rejected)}


def asked(prompt: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": prompt}]


def said(answer: str) -> dict[str, str]:
    return {"role": "assistant", "content": answer}


@pytest.fixture(scope="module")
def pairs(base: Base, tmp_path_factory: pytest.TempPathFactory) -> list[Pair]:
    """Prompts with the answers of two demonstrations, once the longer and once the shorter one preferred."""
    lines = (PACKAGE / "data" / "packs" / "stage.jsonl").read_text(encoding="utf-8").split("\n")[:10]
    talks = [json.loads(line)["messages"] for line in lines]
    rows = [
        row(n, talk[:1], talk[1]["content"], "I am a program. " * (1 + n % 2 * 3))
        for n, talk in enumerate(talks[:6], 1)
    ]
    file = told(rows, tmp_path_factory.mktemp("pairs"))
    return list(read_preferences(file, base.template, SETTINGS, base.context).train)


def moved(model: LoraModel, seed: int) -> torch.Tensor:
    """An adapter that says something; its vector."""
    model.reset(SETTINGS)
    model.flat.data.add_(0.03 * torch.randn(model.flat.shape, generator=torch.Generator().manual_seed(seed)))
    model.sync_weights()
    return model.flat.data.clone()


def references(model: LoraModel, compared: Sequence[Any]) -> dict[int, tuple[float, ...]]:
    return dict(zip((one.id for one in compared), log_probs(model, compared), strict=True))


def loss_and_gradient(model: LoraModel, loss: Any, compared: Sequence[Any], cut: int = 1) -> tuple[float, torch.Tensor]:
    assert model.flat.grad is not None
    model.flat.grad.zero_()
    metrics = compute_gradients(model, loss.step(model, compared, 0), cut)
    return metrics["loss"], model.flat.grad.clone()


def by_hand(name: str, s: TrainSettings, c: float, r: float, rc: float, rr: float, nc: int, nr: int) -> float:
    """Written anew from the papers, in float64."""

    def logistic(x: float) -> float:
        return 1 / (1 + math.exp(-x))

    def log_odds(mean: float) -> float:
        return mean - math.log(1 - math.exp(mean))

    up, down = c - rc, r - rr
    found: dict[str, Callable[[], float]] = {
        "dpo": lambda: -math.log(logistic(s.beta * (up - down))),
        "dpo_norm": lambda: -math.log(logistic(s.beta * (up / nc - down / nr))),
        "ipo": lambda: (up / nc - down / nr - 1 / (2 * s.beta)) ** 2,
        "apo_zero": lambda: 1 - logistic(s.beta * up) + logistic(s.beta * down),
        "apo_down": lambda: logistic(s.beta * up) + 1 - logistic(s.beta * (up - down)),
        "dpop": lambda: -math.log(logistic(s.beta * (up - down - s.dpop_lambda * max(0.0, -up)))),
        "orpo": lambda: -s.beta * math.log(logistic(log_odds(c / nc) - log_odds(r / nr))),
        "simpo": lambda: -math.log(logistic(s.beta * (c / nc - r / nr) - s.simpo_gamma)),
    }
    return found[name]()


def test_each_tokens_log_probability_is_that_of_transformers_own_logits(
    model: LoraModel, base: Base, pairs: list[Pair]
) -> None:
    model.reset(SETTINGS)
    causal = AutoModelForCausalLM.from_pretrained(base.folder, dtype=torch.float32)
    for pair, sides in zip(pairs, log_probs_by_token(model, pairs), strict=True):
        for example, found in zip((pair.chosen, pair.rejected), sides, strict=True):
            ids = torch.tensor([example.ids])
            plain = causal(ids).logits[0, :-1].log_softmax(-1).gather(1, ids[0, 1:, None])[-example.num_labels :, 0]
            assert found == pytest.approx(plain.tolist(), abs=1e-3)


@pytest.mark.parametrize("name", PAIRED)
def test_each_objective_on_a_model_is_its_definition_on_plain_logits(
    name: str, model: LoraModel, base: Base, pairs: list[Pair], tmp_path: Path
) -> None:
    """Log-probabilities anew from transformers' own logits, one text at a time; then the formula in float64."""
    from peft import PeftModel

    settings = replace(SETTINGS, loss=name, beta=2.0 if name in ("simpo", "dpo_norm") else 0.3)

    def plain(folder: Path) -> list[list[float]]:
        model.save(folder, base.name)
        causal = AutoModelForCausalLM.from_pretrained(base.folder, dtype=torch.float32)
        theirs = PeftModel.from_pretrained(causal, folder).eval()
        return [[summed(theirs, side.ids, side.num_labels) for side in (p.chosen, p.rejected)] for p in pairs]

    moved(model, 1)
    kept, before = references(model, pairs), plain(tmp_path / "before")
    moved(model, 2)
    after = plain(tmp_path / "after")
    wanted = [
        by_hand(name, settings, *new, *old, pair.chosen.num_labels, pair.rejected.num_labels)
        for pair, new, old in zip(pairs, after, before, strict=True)
    ]
    found, _ = loss_and_gradient(model, PreferenceLoss(settings, kept), pairs)
    assert found == pytest.approx(sum(wanted) / len(wanted), rel=1e-4, abs=1e-4)


def summed(model: Any, ids: Sequence[int], answer: int) -> float:
    with torch.no_grad():
        logits = model(torch.tensor([list(ids)])).logits[0].double().numpy()
    rows = logits - logits.max(1, keepdims=True)
    known = rows - np.log(np.exp(rows).sum(1, keepdims=True))
    return float(sum(known[place - 1, ids[place]] for place in range(len(ids) - answer, len(ids))))


@pytest.mark.parametrize(
    ("name", "at_first"), [("dpo", math.log(2)), ("dpop", math.log(2)), ("apo_zero", 1.0), ("apo_down", 1.0)]
)
def test_the_first_loss_is_that_of_a_model_that_has_not_moved(
    name: str, at_first: float, model: LoraModel, pairs: list[Pair]
) -> None:
    moved(model, 1)
    loss = PreferenceLoss(replace(SETTINGS, loss=name), references(model, pairs))
    assert loss_and_gradient(model, loss, pairs)[0] == pytest.approx(at_first, abs=1e-4)


def test_a_step_in_parts_is_the_same_step(model: LoraModel, pairs: list[Pair]) -> None:
    moved(model, 1)
    kept = references(model, pairs)
    moved(model, 2)
    loss = PreferenceLoss(replace(SETTINGS, loss="dpo", sft_weight=0.5), kept)
    (whole, gradient), (parts, summed_up) = (loss_and_gradient(model, loss, pairs, cut) for cut in (1, 3))
    assert whole == pytest.approx(parts, abs=1e-5)
    assert torch.allclose(gradient, summed_up, atol=1e-5)


def test_a_pair_the_other_way_round_has_the_opposite_margin(model: LoraModel, pairs: list[Pair]) -> None:
    moved(model, 1)
    kept = references(model, pairs)
    moved(model, 2)

    def margin(compared: Sequence[Pair], known: dict[int, tuple[float, ...]]) -> float:
        step = PreferenceLoss(replace(SETTINGS, loss="dpo"), known).step(model, compared, 0)
        return compute_gradients(model, step)["margin"]

    swapped = [replace(pair, chosen=pair.rejected, rejected=pair.chosen) for pair in pairs]
    assert margin(swapped, {id: (b, a) for id, (a, b) in kept.items()}) == pytest.approx(-margin(pairs, kept), abs=1e-4)
    assert abs(margin(pairs, kept)) > 0.01


def test_dpop_punishes_only_a_chosen_answer_that_became_less_likely() -> None:
    some = torch.tensor([-10.0])
    gone = PairScores(some - 1, some - 3, some, some, torch.tensor([5]), torch.tensor([5]))
    come = gone._replace(chosen=some + 1, rejected=some - 1)
    settings = replace(SETTINGS, dpop_lambda=5.0)
    assert PAIRED["dpop"](come, settings) == PAIRED["dpo"](come, settings)
    assert PAIRED["dpop"](gone, settings) > PAIRED["dpo"](gone, settings)


def answers_of(pairs: Sequence[Pair]) -> list[Judged]:
    """Liked and disliked by turns, each pair's chosen answer or its rejected one."""
    return [
        Judged(id=p.id, group=p.group, example=p.chosen if n % 2 else p.rejected, liked=bool(n % 2))
        for n, p in enumerate(pairs)
    ]


@pytest.mark.parametrize("name", UNPAIRED)
def test_thumbs_begin_in_the_middle_and_move_answers_their_own_way(
    name: str, model: LoraModel, pairs: list[Pair]
) -> None:
    start, answers = moved(model, 1), answers_of(pairs)
    loss = ThumbLoss(replace(SETTINGS, loss=name), references(model, answers), start)
    before = references(model, answers)
    for number in range(6):
        assert model.flat.grad is not None
        step = loss.step(model, answers, number)
        found = compute_gradients(model, step)["loss"]
        assert number or found == pytest.approx(0.5, abs=1e-4)
        model.step(2e-3, 1.0)
    after = references(model, answers)
    assert found < 0.48
    for one in answers:
        assert (after[one.id][0] > before[one.id][0]) == one.liked


def test_kto_takes_no_answer_to_its_own_prompt_for_one_that_does_not_belong(
    model: LoraModel, pairs: list[Pair]
) -> None:
    """A last batch of one, and neighbours that answer the same: neither says how far the model has moved elsewhere."""
    start, answers = moved(model, 1), answers_of(pairs)
    kept = references(model, answers)
    moved(model, 2)
    loss = ThumbLoss(replace(SETTINGS, loss="kto"), kept, start)
    plain = ThumbLoss(replace(SETTINGS, loss="apo_zero_unpaired"), kept, start)
    for some in (answers[:1], [answers[0], replace(answers[1], group=answers[0].group)]):
        found, wanted = (compute_gradients(model, each.step(model, some, 0))["loss"] for each in (loss, plain))
        assert found == pytest.approx(wanted, abs=1e-6), "KTO without a KL is its relative"


def test_the_names_that_are_read_without_torch_are_those_of_the_objectives() -> None:
    assert (tuple(PAIRED), tuple(UNPAIRED)) == (names.PAIRED, names.UNPAIRED)


def test_equal_prompts_are_held_out_together_and_what_cannot_be_used_is_named(base: Base, tmp_path: Path) -> None:
    rows = [
        row(n, asked(f"Name bird {n // 2}, please"), "A wren.", answer)
        for n, answer in enumerate(["An owl.", "A tit."] * 20)
    ]
    rows[3]["rejected"] = said("A wren.")
    rows[5]["rejected"] = said("word " * 600)
    rows[7]["rejected"] = said(" ")
    found = read_preferences(told(rows, tmp_path), base.template, replace(SETTINGS, held_out=0.2), base.context)
    aside, learned = {one.group for one in found.held_out}, {one.group for one in found.train}
    assert aside and learned and not aside & learned
    assert len(found.held_out) in (8, 9)
    assert {one.id for one in found.dropped} == {3, 5, 7}
    reasons = {one.id: one.reason for one in found.dropped}
    assert "same" in reasons[3] and "longer than" in reasons[5]
    with pytest.raises(NothingToLearn):
        read_preferences(told(rows[3:4], tmp_path), base.template, SETTINGS, base.context)


def test_prompts_that_differ_in_a_comma_are_on_one_side(base: Base, tmp_path: Path) -> None:
    birds = ("wren", "owl", "robin", "heron", "finch", "swift", "crane", "raven", "stork", "eagle", "gull", "dove")
    ways = ("What does the {} eat?", "what does the {}, eat", "What does the {} eat, please?")
    rows = [row(n, asked(ways[n % 3].format(birds[n // 3])), "Seeds.", "Worms.") for n in range(36)]
    found = read_preferences(told(rows, tmp_path), base.template, replace(SETTINGS, held_out=0.2), base.context)
    aside, learned = ({one.id // 3 for one in part} for part in (found.held_out, found.train))
    assert aside and learned and not aside & learned


def test_only_the_answer_that_was_preferred_has_labels(base: Base, tmp_path: Path) -> None:
    talk = [*asked("Who art thou?"), said("A player."), *asked("Of what company?")]
    rows = [row(1, talk, "The King's Men.", "The King's own.")]
    (pair,) = read_preferences(told(rows, tmp_path), base.template, SETTINGS, base.context).train
    labels = [label for label in pair.chosen.labels if label != -100]
    assert base.template.text(labels).startswith("The King's Men.")
    assert pair.chosen.ids[: -len(labels)] == tuple(base.template.prompt([_message(m) for m in talk]))


def _message(raw: dict[str, str]) -> Any:
    from chatlab.records import Message

    return Message.of(raw)
