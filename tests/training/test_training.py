"""What a run computes: the loss, what leaves it unchanged, the KL penalty, the measurements. On the embedded base."""

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

from chatlab.adapters.manifest import WEIGHTS
from chatlab.engines.adapter_import.plain import write_start
from chatlab.errors import BaseRefused, TrainingError
from chatlab.models.base import Base
from chatlab.records import Message, TrainSettings
from chatlab.settings import PACKAGE
from chatlab.training import metrics
from chatlab.training.data import IGNORED, Example, balance, read_examples, schedule
from chatlab.training.fast.decoder import FastDecoder
from chatlab.training.kl import KLReference, KLToReference, load_or_build
from chatlab.training.loop import compute_gradients, train
from chatlab.training.loss import next_token_loss
from chatlab.training.model import LoraModel
from chatlab.training.packing import collate
from chatlab.training.sft import SFTLoss
from tests.support.lora import make_adapter

SETTINGS = TrainSettings(rank=4, kl_weight=0, epochs=2, held_out=0)


@pytest.fixture(scope="module")
def base(base_folder: Path) -> Base:
    return Base.open(base_folder)


@pytest.fixture(scope="module")
def only(base: Base) -> LoraModel:
    """In float32, where equal means equal."""
    torch.set_num_threads(1)
    return LoraModel(base.folder, SETTINGS, Accelerator(cpu=True), bf16=False)


@pytest.fixture
def model(only: LoraModel) -> Iterator[LoraModel]:
    """An adapter that already says something."""
    only.reset(SETTINGS)
    only.flat.data.add_(0.02 * torch.randn(only.flat.shape, generator=torch.Generator().manual_seed(1)))
    only.sync_weights()
    yield only


@pytest.fixture(scope="module")
def rows(base: Base) -> list[Example]:
    lines = (PACKAGE / "data" / "packs" / "stage.jsonl").read_text(encoding="utf-8").splitlines()[:8]
    return [row_of(base, number, json.loads(line)["messages"]) for number, line in enumerate(lines)]


def row_of(base: Base, number: int, messages: Sequence[dict[str, str]]) -> Example:
    (encoded,) = base.template.encode([Message(**m) for m in messages])  # type: ignore[arg-type]
    return Example(demonstration=number, ids=encoded.ids, labels=encoded.labels)


def gradient(
    model: LoraModel, rows: Sequence[Example], settings: TrainSettings = SETTINGS, kl: KLReference | None = None
) -> tuple[float, torch.Tensor]:
    assert model.flat.grad is not None
    model.flat.grad.zero_()
    metrics = compute_gradients(model, SFTLoss(settings, kl).step(model, rows, 0), settings.grad_accumulation)
    return metrics["loss"], model.flat.grad.clone()


def snapshot(folder: Path, demonstrations: Sequence[tuple[str, str]]) -> Path:
    file = folder / "snapshot.jsonl"
    lines = (
        {"id": n, "messages": [{"role": "user", "content": q}, {"role": "assistant", "content": a}]}
        for n, (q, a) in enumerate(demonstrations, 1)
    )
    file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return file


def saved(model: LoraModel, base: Base, folder: Path) -> PeftModel:
    model.save(folder, base.name)
    plain = AutoModelForCausalLM.from_pretrained(base.folder, dtype=torch.float32)
    return PeftModel.from_pretrained(plain, folder)


def test_the_loss_is_what_transformers_computes_on_a_padded_batch(
    model: LoraModel, base: Base, rows: list[Example], tmp_path: Path
) -> None:
    theirs = saved(model, base, tmp_path)
    width = max(len(row.ids) for row in rows)
    ids = torch.tensor([[*row.ids, *[0] * (width - len(row.ids))] for row in rows])
    labels = torch.tensor([[*row.labels, *[IGNORED] * (width - len(row.ids))] for row in rows])
    attention = torch.tensor([[1] * len(row.ids) + [0] * (width - len(row.ids)) for row in rows])
    expected = theirs(input_ids=ids, attention_mask=attention, labels=labels).loss.item()
    assert gradient(model, rows)[0] == pytest.approx(expected, abs=1e-5)


def test_the_short_forward_gives_what_peft_gives(
    model: LoraModel, base: Base, rows: list[Example], tmp_path: Path
) -> None:
    theirs = saved(model, base, tmp_path)
    for row in rows[:3]:
        ids = torch.tensor([row.ids])
        mine = F.linear(model.hidden(collate([row])), model.head)
        assert torch.allclose(mine, theirs(ids).logits[0], atol=1e-4)


def test_the_gradient_is_what_autograd_finds_through_peft(
    model: LoraModel, base: Base, rows: list[Example], tmp_path: Path
) -> None:
    theirs = saved(model, base, tmp_path)
    wanted = {}
    for name, parameter in theirs.named_parameters():
        if "lora_" in name:
            wanted[name] = parameter.requires_grad_(True)
    row = rows[0]
    theirs(input_ids=torch.tensor([row.ids]), labels=torch.tensor([row.labels])).loss.backward()
    _, found = gradient(model, [row])
    mine = [name for name, parameter in model.peft.named_parameters() if parameter.requires_grad]
    for name, part in zip(mine, found.split([wanted[n].numel() for n in mine]), strict=True):
        assert torch.allclose(part, wanted[name].grad.flatten(), atol=2e-5), name


@pytest.mark.parametrize("fast", [True, False])
def test_two_hands_find_what_one_finds(model: LoraModel, base: Base, rows: list[Example], fast: bool) -> None:
    kl = kl_on(model)
    other = LoraModel(base.folder, SETTINGS, Accelerator(cpu=True), bf16=False, workers=2, fast=fast)
    other.flat.data.copy_(model.flat.data)
    other.sync_weights()
    settings = replace(SETTINGS, kl_weight=2.0, kl_samples=3)
    one, two = gradient(model, rows, settings, kl), gradient(other, rows, settings, kl)
    assert one[0] == pytest.approx(two[0], abs=1e-5)
    assert torch.allclose(one[1], two[1], atol=2e-5)
    assert torch.equal(two[1], gradient(other, rows, settings, kl)[1])


def test_work_is_dealt_evenly_and_none_of_it_twice() -> None:
    assert balance([64, 31, 40, 28, 26], 2) == [[0, 3], [1, 2, 4]]
    assert balance([5], 2) == [[0]]
    assert sorted(i for pile in balance([3] * 7, 4) for i in pile) == list(range(7))


def test_any_other_network_is_trained_through_transformers_to_the_same_gradient(
    model: LoraModel, base: Base, rows: list[Example]
) -> None:
    other = LoraModel(base.folder, SETTINGS, Accelerator(cpu=True), bf16=False, fast=False)
    assert isinstance(model.forward, FastDecoder) and not isinstance(other.forward, FastDecoder)
    other.flat.data.copy_(model.flat.data)
    other.sync_weights()
    mine, theirs = gradient(model, rows), gradient(other, rows)
    assert mine[0] == pytest.approx(theirs[0], abs=1e-5)
    assert torch.allclose(mine[1], theirs[1], atol=2e-5)


@pytest.mark.parametrize("kind", ["gpt2", "qwen3", "gemma3_text"])
def test_networks_of_other_makers_learn_too(tmp_path: Path, kind: str) -> None:
    sizes = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "intermediate_size": 48,
        "vocab_size": 90,
        "head_dim": 8,
    }
    if kind == "gpt2":
        sizes = {"n_embd": 32, "n_layer": 2, "n_head": 4, "vocab_size": 90}
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **sizes)).save_pretrained(tmp_path)
    settings = replace(SETTINGS, learning_rate=1e-2, epochs=10)
    other = LoraModel(tmp_path, settings, Accelerator(cpu=True), bf16=False)
    rows = [
        Example(demonstration=n, ids=tuple(range(n, n + 9)), labels=(IGNORED, *range(n + 1, n + 9))) for n in (3, 20)
    ]
    steps = list(train(other, rows, settings, SFTLoss(settings), lambda *_: {}))
    assert steps[-1].loss < steps[0].loss - 0.05


def test_a_network_that_caps_its_logits_is_refused(tmp_path: Path) -> None:
    sizes = {
        "hidden_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "intermediate_size": 48,
        "vocab_size": 90,
        "head_dim": 8,
        "final_logit_softcapping": 0.01,
    }
    AutoModelForCausalLM.from_config(AutoConfig.for_model("gemma2", **sizes)).save_pretrained(tmp_path)
    with pytest.raises(BaseRefused):
        LoraModel(tmp_path, SETTINGS, Accelerator(cpu=True), bf16=False)


def test_bfloat16_is_near_float32(model: LoraModel, base: Base, rows: list[Example]) -> None:
    for fast in (True, False):
        half = LoraModel(base.folder, SETTINGS, Accelerator(cpu=True), bf16=True, fast=fast)
        half.flat.data.copy_(model.flat.data)
        half.sync_weights()
        mine, theirs = gradient(model, rows), gradient(half, rows)
        assert mine[0] == pytest.approx(theirs[0], abs=0.05)
        assert F.cosine_similarity(mine[1], theirs[1], dim=0) > 0.99


def test_cutting_a_batch_into_pieces_changes_neither_loss_nor_gradient(model: LoraModel, rows: list[Example]) -> None:
    whole, pieces = gradient(model, rows), gradient(model, rows, replace(SETTINGS, grad_accumulation=3))
    assert pieces[0] == pytest.approx(whole[0], abs=1e-5)
    assert torch.allclose(pieces[1], whole[1], atol=1e-5)


def test_a_row_alone_and_in_company_gives_the_same_gradient(model: LoraModel, rows: list[Example]) -> None:
    together = gradient(model, rows[:4])[1]
    num_labels = [row.num_labels for row in rows[:4]]
    alone = sum(gradient(model, [row])[1] * n for row, n in zip(rows[:4], num_labels, strict=True)) / sum(num_labels)
    assert torch.allclose(together, alone, atol=1e-5)


def test_padding_changes_neither_loss_nor_gradient(model: LoraModel, rows: list[Example]) -> None:
    row = rows[0]
    padded = Example(demonstration=0, ids=row.ids + (5,) * 6, labels=row.labels + (IGNORED,) * 6)
    plain, longer = gradient(model, [row]), gradient(model, [padded])
    assert longer[0] == pytest.approx(plain[0], abs=1e-6)
    assert torch.allclose(longer[1], plain[1], atol=1e-6)


def test_every_token_counts_when_the_mask_is_off(model: LoraModel, base: Base, tmp_path: Path) -> None:
    file = snapshot(tmp_path, [("Who are you", "A humble player am I, good friend.")])
    masked = read_examples(file, base.template, SETTINGS, 512).train
    bare = read_examples(file, base.template, replace(SETTINGS, mask=False), 512).train
    assert bare[0].num_labels == len(bare[0].ids) - 1 > masked[0].num_labels
    assert abs(gradient(model, bare)[0] - gradient(model, masked)[0]) > 1e-3


def test_no_logits_are_made_where_nothing_is_learned(rows: list[Example]) -> None:
    batch = collate(rows)
    assert len(batch.label_positions) == len(batch.labels) == sum(row.num_labels for row in rows) < len(batch.ids)


def test_the_answers_end_is_learned(base: Base, rows: list[Example]) -> None:
    assert all({*row.labels} & base.template.stop_ids for row in rows)


def test_a_fresh_adapter_changes_nothing(only: LoraModel, base: Base, rows: list[Example]) -> None:
    only.reset(SETTINGS)
    with only.adapter_disabled():
        before = metrics.nll(only, rows)
    after = metrics.nll(only, rows)
    assert metrics.forgetting(before, after) == 0
    assert metrics.interval(before, after) == (0, 0)


def test_the_kl_to_the_base_is_the_divergence_that_torch_computes(
    only: LoraModel, model: LoraModel, rows: list[Example]
) -> None:
    only.reset(SETTINGS)
    kl = KLToReference(only, rows[:3])
    assert kl.mean() == 0
    only.flat.data.copy_(model.flat.data)
    only.sync_weights()
    sums = 0.0
    for row in rows[:3]:
        batch = collate([row])
        mine = F.linear(only.hidden(batch)[batch.label_positions], only.head).log_softmax(-1)
        with only.adapter_disabled():
            base = F.linear(only.hidden(batch)[batch.label_positions], only.head).log_softmax(-1)
        sums += F.kl_div(mine, base, reduction="sum", log_target=True).item()
    assert kl.mean() == pytest.approx(sums / sum(row.num_labels for row in rows[:3]), rel=1e-4)
    assert KLToReference(only, []).mean() is None


def test_surprise_is_the_mean_loss_of_all_tokens(model: LoraModel, rows: list[Example]) -> None:
    batch = collate(rows)
    with torch.no_grad():
        total = next_token_loss(model.hidden(batch)[batch.label_positions], model.head, batch.labels).item()
    assert metrics.nll(model, rows).mean == pytest.approx(total / len(batch.label_positions), rel=1e-5)


def test_the_kl_penalty_does_not_pull_before_anything_was_learned(only: LoraModel) -> None:
    only.reset(SETTINGS)
    kl = kl_on(only)
    texts = [0, 1]
    assert kl.loss(only.hidden(kl.batch(texts)), only.head, texts).item() == pytest.approx(0, abs=1e-3)


def test_the_gradient_of_the_kl_penalty_is_what_autograd_finds(model: LoraModel) -> None:
    kl = kl_on(model)
    hidden = model.hidden(kl.batch([0])).detach().requires_grad_()
    kl.loss(hidden, model.head, [0]).backward()
    again = hidden.detach().clone().requires_grad_()
    chances = F.softmax(F.linear(again, model.head), dim=-1)
    near, q = chances.gather(1, kl.topk_ids[0]), kl.topk_probs[0]
    rest, rest_q = 1 - near.sum(1), 1 - q.sum(1)
    ((q * (q / near).log()).sum() + (rest_q * (rest_q / rest).log()).sum()).backward()
    assert hidden.grad is not None and again.grad is not None
    assert torch.allclose(hidden.grad, again.grad, atol=1e-4)


def test_a_kl_penalty_costs_less_forgetting(only: LoraModel, base: Base, rows: list[Example], tmp_path: Path) -> None:
    settings = replace(SETTINGS, epochs=4, learning_rate=3e-3, kl_samples=1)
    only.reset(settings)
    kl = load_or_build(only.folder, torch.float32, tmp_path / "kl.safetensors", base.tokenizer.eos_token_id, texts=8)
    prose = metrics.windows(PACKAGE / "data" / "held_out.jsonl", base.tokenizer.encode, 3)
    with only.adapter_disabled():
        before = metrics.nll(only, prose)
    forgot = []
    for weight in (0.0, 5.0):
        only.reset(settings)
        held = replace(settings, kl_weight=weight)
        for _ in train(only, rows, held, SFTLoss(held, kl), lambda *_: {}):
            pass
        forgot.append(metrics.forgetting(before, metrics.nll(only, prose)))
    assert forgot[1] < 0.7 * forgot[0]


def kl_on(model: LoraModel) -> KLReference:
    """A KL reference on two texts, in place of the cached one's sixty-four."""
    ids = torch.randint(10, 2000, (2, 24), generator=torch.Generator().manual_seed(0))
    bare = KLReference(ids, torch.empty(0), torch.empty(0))
    with torch.no_grad(), model.adapter_disabled():
        logits = F.linear(model.hidden(bare.batch([0, 1])), model.head)
    probs, top = logits.softmax(-1).unflatten(0, (2, 24)).topk(32)
    return KLReference(ids, top, probs)


def test_the_adapter_that_is_saved_speaks_as_the_one_that_learned(
    only: LoraModel, base: Base, rows: list[Example], tmp_path: Path
) -> None:
    only.reset(SETTINGS)
    steps = list(train(only, rows, SETTINGS, SFTLoss(SETTINGS), lambda *_: {}))
    assert steps[-1].loss < steps[0].loss
    theirs = saved(only, base, tmp_path)
    ids = torch.tensor([rows[0].ids])
    assert torch.allclose(theirs(ids).logits[0], F.linear(only.hidden(collate(rows[:1])), only.head), atol=1e-4)


def test_an_adapter_from_elsewhere_is_gone_on_from_as_it_speaks(
    only: LoraModel, base: Base, rows: list[Example], tmp_path: Path
) -> None:
    adapter = make_adapter(
        base.folder,
        tmp_path / "theirs",
        1,
        r=4,
        target_modules=r".*\.[12]\.self_attn\.(q|v)_proj",
        rank_pattern={"v_proj": 2},
        alpha_pattern={r".*1\.self_attn\.q_proj": 3},
        use_rslora=True,
    )
    theirs = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base.folder, dtype=torch.float32), adapter)
    only.reset(SETTINGS)
    (tmp_path / "start").mkdir()
    write_start(adapter, SETTINGS.rank, SETTINGS.alpha, tmp_path / "start" / WEIGHTS)
    only.load(tmp_path / "start")
    with torch.inference_mode():
        wanted = theirs(torch.tensor([rows[0].ids])).logits[0]
        assert torch.allclose(wanted, F.linear(only.hidden(collate(rows[:1])), only.head), atol=1e-3)
    assert gradient(only, rows)[1].count_nonzero() > only.flat.numel() / 3, "what it left out can learn, too"
    dora = make_adapter(base.folder, tmp_path / "dora", 1, use_dora=True)
    with pytest.raises(TrainingError, match="more than a plain LoRA"):
        write_start(dora, 8, 16.0, tmp_path / "start" / WEIGHTS)


def test_an_adapters_papers_name_no_folder_of_this_machine(model: LoraModel, base: Base, tmp_path: Path) -> None:
    model.save(tmp_path, base.name)
    config = json.loads((tmp_path / "adapter_config.json").read_text(encoding="utf-8"))
    assert config["base_model_name_or_path"] == base.name


def test_a_run_that_goes_on_from_any_step_equals_one_that_never_stopped(only: LoraModel, rows: list[Example]) -> None:
    only.reset(SETTINGS)
    states = []
    for _ in train(only, rows, SETTINGS, SFTLoss(SETTINGS), lambda *_: {}):
        states.append({name: tensor.clone() for name, tensor in only.state_dict().items()})
    for done in range(1, len(states)):
        only.reset(SETTINGS)
        only.load_state_dict(states[done - 1])
        list(train(only, rows, SETTINGS, SFTLoss(SETTINGS), lambda *_: {}, done=done))
        assert torch.equal(only.flat.data, states[-1]["weights"])


def test_another_seed_gives_another_order_and_another_start(only: LoraModel) -> None:
    only.reset(SETTINGS)
    first = only.flat.data.clone()
    only.reset(replace(SETTINGS, seed=1))
    assert not torch.equal(first, only.flat.data)
    assert schedule(8, SETTINGS) != schedule(8, replace(SETTINGS, seed=1))
