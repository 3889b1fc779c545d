"""What a run computes: the loss, what leaves it unchanged, the leash, the measurements. On the embedded base."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from peft import PeftModel
from transformers import AutoConfig, AutoModelForCausalLM

from chatlab.errors import BaseRefused, NothingToLearn
from chatlab.models import Base
from chatlab.records import Message, TrainSettings
from chatlab.settings import PACKAGE
from chatlab.training import measure
from chatlab.training.batches import IGNORED, Row, collate, dealt, read_rows, schedule, split
from chatlab.training.defaults import held_out_count, plan, settings_for
from chatlab.training.departure import Departure
from chatlab.training.learner import Learner
from chatlab.training.leash import Leash, leash_of
from chatlab.training.loop import gather, learning_rate, train
from chatlab.training.loss import next_token_loss

SETTINGS = TrainSettings(rank=4, leash=0, passes=2, held_out=0)


@pytest.fixture(scope="module")
def base(base_folder: Path) -> Base:
    return Base.open(base_folder)


@pytest.fixture(scope="module")
def only(base: Base) -> Learner:
    """In float32, where equal means equal."""
    torch.set_num_threads(1)
    return Learner(base.folder, SETTINGS, Accelerator(cpu=True), bf16=False)


@pytest.fixture
def learner(only: Learner) -> Iterator[Learner]:
    """An adapter that already says something."""
    only.begin(SETTINGS)
    only.flat.data.add_(0.02 * torch.randn(only.flat.shape, generator=torch.Generator().manual_seed(1)))
    only.refresh()
    yield only


@pytest.fixture(scope="module")
def rows(base: Base) -> list[Row]:
    lines = (PACKAGE / "data" / "packs" / "stage.jsonl").read_text(encoding="utf-8").splitlines()[:8]
    return [row_of(base, number, json.loads(line)["messages"]) for number, line in enumerate(lines)]


def row_of(base: Base, number: int, messages: Sequence[dict[str, str]]) -> Row:
    (encoded,) = base.template.encode([Message(**m) for m in messages])  # type: ignore[arg-type]
    return Row(demonstration=number, ids=encoded.ids, labels=encoded.labels)


def gradient(learner: Learner, rows: Sequence[Row], settings: TrainSettings = SETTINGS, leash: Leash | None = None,
             ) -> tuple[float, torch.Tensor]:  # fmt: skip
    assert learner.flat.grad is not None
    learner.flat.grad.zero_()
    loss, _ = gather(learner, rows, settings, leash, 0)
    return loss, learner.flat.grad.clone()


def snapshot(folder: Path, demonstrations: Sequence[tuple[str, str]]) -> Path:
    file = folder / "snapshot.jsonl"
    lines = (
        {"id": n, "messages": [{"role": "user", "content": q}, {"role": "assistant", "content": a}]}
        for n, (q, a) in enumerate(demonstrations, 1)
    )
    file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return file


def saved(learner: Learner, base: Base, folder: Path) -> PeftModel:
    learner.save(folder, base.name)
    plain = AutoModelForCausalLM.from_pretrained(base.folder, dtype=torch.float32)
    return PeftModel.from_pretrained(plain, folder)


def test_the_loss_is_what_transformers_computes_on_a_padded_batch(
    learner: Learner, base: Base, rows: list[Row], tmp_path: Path
) -> None:
    theirs = saved(learner, base, tmp_path)
    width = max(len(row.ids) for row in rows)
    ids = torch.tensor([[*row.ids, *[0] * (width - len(row.ids))] for row in rows])
    labels = torch.tensor([[*row.labels, *[IGNORED] * (width - len(row.ids))] for row in rows])
    attention = torch.tensor([[1] * len(row.ids) + [0] * (width - len(row.ids)) for row in rows])
    expected = theirs(input_ids=ids, attention_mask=attention, labels=labels).loss.item()
    assert gradient(learner, rows)[0] == pytest.approx(expected, abs=1e-5)


def test_the_short_forward_gives_what_peft_gives(learner: Learner, base: Base, rows: list[Row], tmp_path: Path) -> None:
    theirs = saved(learner, base, tmp_path)
    for row in rows[:3]:
        ids = torch.tensor([row.ids])
        mine = F.linear(learner.hidden(collate([row])), learner.head)
        assert torch.allclose(mine, theirs(ids).logits[0], atol=1e-4)


def test_the_gradient_is_what_autograd_finds_through_peft(
    learner: Learner, base: Base, rows: list[Row], tmp_path: Path
) -> None:
    theirs = saved(learner, base, tmp_path)
    wanted = {}
    for name, parameter in theirs.named_parameters():
        if "lora_" in name:
            wanted[name] = parameter.requires_grad_(True)
    row = rows[0]
    theirs(input_ids=torch.tensor([row.ids]), labels=torch.tensor([row.labels])).loss.backward()
    _, found = gradient(learner, [row])
    mine = [name for name, parameter in learner.model.named_parameters() if parameter.requires_grad]
    for name, part in zip(mine, found.split([wanted[n].numel() for n in mine]), strict=True):
        assert torch.allclose(part, wanted[name].grad.flatten(), atol=2e-5), name


@pytest.mark.parametrize("written_out", [True, False])
def test_two_hands_find_what_one_finds(learner: Learner, base: Base, rows: list[Row], written_out: bool) -> None:
    leash = leash_on(learner)
    other = Learner(base.folder, SETTINGS, Accelerator(cpu=True), bf16=False, hands=2, written_out=written_out)
    other.flat.data.copy_(learner.flat.data)
    other.refresh()
    settings = replace(SETTINGS, leash=2.0, leash_texts=3)
    one, two = gradient(learner, rows, settings, leash), gradient(other, rows, settings, leash)
    assert one[0] == pytest.approx(two[0], abs=1e-5)
    assert torch.allclose(one[1], two[1], atol=2e-5)
    assert torch.equal(two[1], gradient(other, rows, settings, leash)[1])


def test_work_is_dealt_evenly_and_none_of_it_twice() -> None:
    assert dealt([64, 31, 40, 28, 26], 2) == [[0, 3], [1, 2, 4]]
    assert dealt([5], 2) == [[0]]
    assert sorted(i for pile in dealt([3] * 7, 4) for i in pile) == list(range(7))


def test_any_other_network_is_trained_through_transformers_to_the_same_gradient(
    learner: Learner, base: Base, rows: list[Row]
) -> None:
    other = Learner(base.folder, SETTINGS, Accelerator(cpu=True), bf16=False, written_out=False)
    assert learner.llama and not other.llama
    other.flat.data.copy_(learner.flat.data)
    other.refresh()
    mine, theirs = gradient(learner, rows), gradient(other, rows)
    assert mine[0] == pytest.approx(theirs[0], abs=1e-5)
    assert torch.allclose(mine[1], theirs[1], atol=2e-5)


@pytest.mark.parametrize("kind", ["gpt2", "qwen3", "gemma3_text"])
def test_networks_of_other_makers_learn_too(tmp_path: Path, kind: str) -> None:
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
             "intermediate_size": 48, "vocab_size": 90, "head_dim": 8}  # fmt: skip
    if kind == "gpt2":
        sizes = {"n_embd": 32, "n_layer": 2, "n_head": 4, "vocab_size": 90}
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **sizes)).save_pretrained(tmp_path)
    settings = replace(SETTINGS, learning_rate=1e-2, passes=10)
    other = Learner(tmp_path, settings, Accelerator(cpu=True), bf16=False)
    rows = [Row(demonstration=n, ids=tuple(range(n, n + 9)), labels=(IGNORED, *range(n + 1, n + 9))) for n in (3, 20)]
    steps = list(train(other, rows, settings, None, lambda *_: {}))
    assert steps[-1].loss < steps[0].loss - 0.05


def test_a_network_that_caps_its_logits_is_refused(tmp_path: Path) -> None:
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "num_key_value_heads": 2,
             "intermediate_size": 48, "vocab_size": 90, "head_dim": 8, "final_logit_softcapping": 0.01}  # fmt: skip
    AutoModelForCausalLM.from_config(AutoConfig.for_model("gemma2", **sizes)).save_pretrained(tmp_path)
    with pytest.raises(BaseRefused):
        Learner(tmp_path, SETTINGS, Accelerator(cpu=True), bf16=False)


def test_bfloat16_is_near_float32(learner: Learner, base: Base, rows: list[Row]) -> None:
    for written_out in (True, False):
        half = Learner(base.folder, SETTINGS, Accelerator(cpu=True), bf16=True, written_out=written_out)
        half.flat.data.copy_(learner.flat.data)
        half.refresh()
        mine, theirs = gradient(learner, rows), gradient(half, rows)
        assert mine[0] == pytest.approx(theirs[0], abs=0.05)
        assert F.cosine_similarity(mine[1], theirs[1], dim=0) > 0.99


def test_cutting_a_batch_into_pieces_changes_neither_loss_nor_gradient(learner: Learner, rows: list[Row]) -> None:
    whole, pieces = gradient(learner, rows), gradient(learner, rows, replace(SETTINGS, accumulate=3))
    assert pieces[0] == pytest.approx(whole[0], abs=1e-5)
    assert torch.allclose(pieces[1], whole[1], atol=1e-5)


def test_a_row_alone_and_in_company_gives_the_same_gradient(learner: Learner, rows: list[Row]) -> None:
    together = gradient(learner, rows[:4])[1]
    learned = [row.learned for row in rows[:4]]
    alone = sum(gradient(learner, [row])[1] * n for row, n in zip(rows[:4], learned, strict=True)) / sum(learned)
    assert torch.allclose(together, alone, atol=1e-5)


def test_padding_changes_neither_loss_nor_gradient(learner: Learner, rows: list[Row]) -> None:
    row = rows[0]
    padded = Row(demonstration=0, ids=row.ids + (5,) * 6, labels=row.labels + (IGNORED,) * 6)
    plain, longer = gradient(learner, [row]), gradient(learner, [padded])
    assert longer[0] == pytest.approx(plain[0], abs=1e-6)
    assert torch.allclose(longer[1], plain[1], atol=1e-6)


def test_every_token_counts_when_the_mask_is_off(learner: Learner, base: Base, tmp_path: Path) -> None:
    file = snapshot(tmp_path, [("Who are you", "A humble player am I, good friend.")])
    masked = read_rows(file, base.template, SETTINGS, 512).learn
    bare = read_rows(file, base.template, replace(SETTINGS, mask=False), 512).learn
    assert bare[0].learned == len(bare[0].ids) - 1 > masked[0].learned
    assert abs(gradient(learner, bare)[0] - gradient(learner, masked)[0]) > 1e-3


def test_no_logits_are_made_where_nothing_is_learned(rows: list[Row]) -> None:
    batch = collate(rows)
    assert len(batch.at) == len(batch.labels) == sum(row.learned for row in rows) < len(batch.ids)


def test_the_answers_end_is_learned(base: Base, rows: list[Row]) -> None:
    assert all({*row.labels} & base.template.stop_ids for row in rows)


def test_a_fresh_adapter_changes_nothing(only: Learner, base: Base, rows: list[Row]) -> None:
    only.begin(SETTINGS)
    with only.asleep():
        before = measure.surprise(only, rows)
    after = measure.surprise(only, rows)
    assert measure.forgetting(before, after) == 0
    assert measure.interval(before, after) == (0, 0)


def test_the_departure_from_the_base_is_the_divergence_that_torch_computes(
    only: Learner, learner: Learner, rows: list[Row]
) -> None:
    only.begin(SETTINGS)
    departure = Departure(only, rows[:3])
    assert departure.now() == 0
    only.flat.data.copy_(learner.flat.data)
    only.refresh()
    sums = 0.0
    for row in rows[:3]:
        batch = collate([row])
        mine = F.linear(only.hidden(batch)[batch.at], only.head).log_softmax(-1)
        with only.asleep():
            base = F.linear(only.hidden(batch)[batch.at], only.head).log_softmax(-1)
        sums += F.kl_div(mine, base, reduction="sum", log_target=True).item()
    assert departure.now() == pytest.approx(sums / sum(row.learned for row in rows[:3]), rel=1e-4)
    assert Departure(only, []).now() is None


def test_surprise_is_the_mean_loss_of_all_tokens(learner: Learner, rows: list[Row]) -> None:
    batch = collate(rows)
    with torch.no_grad():
        total = next_token_loss(learner.hidden(batch)[batch.at], learner.head, batch.labels).item()
    assert measure.surprise(learner, rows).mean == pytest.approx(total / len(batch.at), rel=1e-5)


def test_the_leash_does_not_pull_before_anything_was_learned(only: Learner) -> None:
    only.begin(SETTINGS)
    leash = leash_on(only)
    texts = [0, 1]
    assert leash.loss(only.hidden(leash.batch(texts)), only.head, texts).item() == pytest.approx(0, abs=1e-3)


def test_the_leashs_gradient_is_what_autograd_finds(learner: Learner) -> None:
    leash = leash_on(learner)
    hidden = learner.hidden(leash.batch([0])).detach().requires_grad_()
    leash.loss(hidden, learner.head, [0]).backward()
    again = hidden.detach().clone().requires_grad_()
    chances = F.softmax(F.linear(again, learner.head), dim=-1)
    near, q = chances.gather(1, leash.top[0]), leash.chance[0]
    rest, rest_q = 1 - near.sum(1), 1 - q.sum(1)
    ((q * (q / near).log()).sum() + (rest_q * (rest_q / rest).log()).sum()).backward()
    assert hidden.grad is not None and again.grad is not None
    assert torch.allclose(hidden.grad, again.grad, atol=1e-4)


def test_a_leash_costs_less_forgetting(only: Learner, base: Base, rows: list[Row], tmp_path: Path) -> None:
    settings = replace(SETTINGS, passes=4, learning_rate=3e-3, leash_texts=1)
    only.begin(settings)
    leash = leash_of(only, tmp_path / "leash.safetensors", base.tokenizer.eos_token_id, texts=8)
    prose = measure.windows(PACKAGE / "data" / "held_out.jsonl", base.tokenizer.encode, 3)
    with only.asleep():
        before = measure.surprise(only, prose)
    forgot = []
    for weight in (0.0, 5.0):
        only.begin(settings)
        for _ in train(only, rows, replace(settings, leash=weight), leash, lambda *_: {}):
            pass
        forgot.append(measure.forgetting(before, measure.surprise(only, prose)))
    assert forgot[1] < 0.7 * forgot[0]


def leash_on(learner: Learner) -> Leash:
    """A leash on two texts, in place of the cached one's sixty-four."""
    ids = torch.randint(10, 2000, (2, 24), generator=torch.Generator().manual_seed(0))
    bare = Leash(ids, torch.empty(0), torch.empty(0))
    with torch.no_grad(), learner.asleep():
        logits = F.linear(learner.hidden(bare.batch([0, 1])), learner.head)
    chance, top = logits.softmax(-1).unflatten(0, (2, 24)).topk(32)
    return Leash(ids, top, chance)


def test_the_adapter_that_is_saved_speaks_as_the_one_that_learned(
    only: Learner, base: Base, rows: list[Row], tmp_path: Path
) -> None:
    only.begin(SETTINGS)
    steps = list(train(only, rows, SETTINGS, None, lambda *_: {}))
    assert steps[-1].loss < steps[0].loss
    theirs = saved(only, base, tmp_path)
    ids = torch.tensor([rows[0].ids])
    assert torch.allclose(theirs(ids).logits[0], F.linear(only.hidden(collate(rows[:1])), only.head), atol=1e-4)


def test_an_adapters_papers_name_no_folder_of_this_machine(learner: Learner, base: Base, tmp_path: Path) -> None:
    learner.save(tmp_path, base.name)
    config = json.loads((tmp_path / "adapter_config.json").read_text(encoding="utf-8"))
    assert config["base_model_name_or_path"] == base.name


def test_a_run_that_goes_on_from_any_step_equals_one_that_never_stopped(only: Learner, rows: list[Row]) -> None:
    only.begin(SETTINGS)
    states = []
    for _ in train(only, rows, SETTINGS, None, lambda *_: {}):
        states.append({name: tensor.clone() for name, tensor in only.state().items()})
    for done in range(1, len(states)):
        only.begin(SETTINGS)
        only.restore(states[done - 1])
        list(train(only, rows, SETTINGS, None, lambda *_: {}, done=done))
        assert torch.equal(only.flat.data, states[-1]["weights"])


def test_another_seed_gives_another_order_and_another_start(only: Learner) -> None:
    only.begin(SETTINGS)
    first = only.flat.data.clone()
    only.begin(replace(SETTINGS, seed=1))
    assert not torch.equal(first, only.flat.data)
    assert schedule(8, SETTINGS) != schedule(8, replace(SETTINGS, seed=1))


def test_every_pass_reads_every_row_once() -> None:
    steps = schedule(10, replace(SETTINGS, passes=3, batch=4))
    assert len(steps) == 9
    for number in range(3):
        assert sorted(i for step in steps[3 * number : 3 * number + 3] for i in step) == list(range(10))


def test_the_learning_rate_rises_and_falls_to_nearly_nothing() -> None:
    rates = [learning_rate(number, 100, 1.0) for number in range(100)]
    assert rates[0] < rates[3] < rates[4] == max(rates) == 1.0
    assert rates[-1] < 0.01


def test_few_demonstrations_are_all_learned_and_many_keep_some_aside() -> None:
    assert held_out_count(19, 0.1) == 0
    assert held_out_count(20, 0.1) == held_out_count(40, 0.1) == 4
    assert held_out_count(100, 0.1) == 10
    assert held_out_count(100, 0.0) == 0


def test_what_is_held_out_depends_on_the_seed_alone() -> None:
    rows = [Row(demonstration=n, ids=(1, 2), labels=(IGNORED, 2)) for n in range(40)]
    settings = replace(SETTINGS, held_out=0.1)
    learn, aside = split(rows, settings)
    assert len(aside) == 4 and len(learn) == 36
    assert split(list(reversed(rows)), settings)[1] == list(reversed(aside))
    assert split(rows, replace(settings, seed=5))[1] != aside


def test_rows_that_cannot_be_learned_are_left_out_and_counted(base: Base, tmp_path: Path) -> None:
    file = snapshot(tmp_path, [("Hello", "Good day."), ("Hello", ""), ("Hello", "word " * 600)])
    found = read_rows(file, base.template, SETTINGS, 512)
    assert [row.demonstration for row in found.learn] == [1]
    assert [d.id for d in found.dropped] == [2, 3]
    assert "longer than 512 tokens" in found.dropped[1].reason


@pytest.mark.parametrize("demonstrations", [[], [("Hello", "")], [("Hello", "word " * 600)]])
def test_nothing_usable_is_said_and_why(base: Base, tmp_path: Path, demonstrations: list[tuple[str, str]]) -> None:
    with pytest.raises(NothingToLearn) as error:
        read_rows(snapshot(tmp_path, demonstrations), base.template, SETTINGS, 512)
    assert error.value.hint


def test_a_plan_says_how_many_steps_and_how_long() -> None:
    settings = settings_for(40, 10_000_000, passes=6, batch=4)
    found = plan(settings, 40, 10_000_000)
    assert (found.learned, found.held_out, found.steps) == (36, 4, 54)
    assert 0 < found.seconds < 60 and found.memory_mb > 0
    assert plan(settings, 80, 10_000_000).seconds > found.seconds
