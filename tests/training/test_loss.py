"""The loss held to references from outside the trainer: worked out by hand, TRL's, and rows in any company."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from transformers import AutoModelForCausalLM

from chatlab.models.base import Base
from chatlab.records import TrainSettings
from chatlab.settings import PACKAGE
from chatlab.template import IGNORED
from chatlab.training.data import Example, read_examples
from chatlab.training.loop import compute_gradients
from chatlab.training.loss import next_token_loss
from chatlab.training.model import LoraModel
from chatlab.training.packing import collate
from chatlab.training.sft import SFTLoss

SETTINGS = TrainSettings(rank=4, kl_weight=0, held_out=0)


@pytest.fixture(scope="module")
def base(base_folder: Path) -> Base:
    return Base.open(base_folder)


@pytest.fixture(scope="module")
def model(base: Base) -> LoraModel:
    """An adapter that already says something, in float32."""
    torch.set_num_threads(1)
    made = LoraModel(base.folder, SETTINGS, Accelerator(cpu=True), bf16=False)
    made.flat.data.add_(0.02 * torch.randn(made.flat.shape, generator=torch.Generator().manual_seed(1)))
    made.sync_weights()
    return made


@pytest.fixture(scope="module")
def talks() -> list[list[dict[str, str]]]:
    """Some of one question and one answer, some that go on."""
    lines = (PACKAGE / "data" / "packs" / "stage.jsonl").read_text(encoding="utf-8").splitlines()
    single = [json.loads(line)["messages"] for line in lines[:6]]
    return [*single[:4], single[4] + single[5]]


@pytest.fixture
def rows(base: Base, talks: list[list[dict[str, str]]], tmp_path: Path) -> list[Example]:
    """As the trainer itself reads a snapshot."""
    file = tmp_path / "snapshot.jsonl"
    file.write_text("".join(json.dumps({"id": n, "messages": talk}) + "\n" for n, talk in enumerate(talks)))
    return list(read_examples(file, base.template, SETTINGS, base.context).train)


def loss_and_gradient(model: LoraModel, rows: Sequence[Example]) -> tuple[float, torch.Tensor]:
    assert model.flat.grad is not None
    model.flat.grad.zero_()
    loss = compute_gradients(model, SFTLoss(SETTINGS).step(model, rows, 0))["loss"]
    return loss, model.flat.grad.clone()


def test_three_tokens_worked_out_by_hand() -> None:
    """Hidden states that are logits, a vocabulary of three: -log(e^right / sum e^each), added up."""
    logits = torch.tensor([[1.0, 2.0, 3.0], [0.0, 0.0, 0.0], [5.0, -5.0, 0.0]])
    right = torch.tensor([2, 1, 0])
    by_hand = (
        -math.log(math.exp(3) / (math.exp(1) + math.exp(2) + math.exp(3)))
        - math.log(1 / 3)
        - math.log(math.exp(5) / (math.exp(5) + math.exp(-5) + 1))
    )
    assert next_token_loss(logits, torch.eye(3), right).item() == pytest.approx(by_hand, abs=1e-6)


def test_the_loss_of_a_run_is_that_of_the_answers_tokens_and_no_others_worked_out_in_float64(
    model: LoraModel, base: Base, talks: list[list[dict[str, str]]], rows: list[Example], tmp_path: Path
) -> None:
    """Written anew from the definition: each answer token and each end, given all before it, over their number."""
    from peft import PeftModel

    model.save(tmp_path / "adapter", base.name)
    plain = AutoModelForCausalLM.from_pretrained(base.folder, dtype=torch.float32)
    theirs = PeftModel.from_pretrained(plain, tmp_path / "adapter").eval()
    vocabulary = base.tokenizer.get_vocab()
    nats = []
    for talk in talks:
        ids: list[int] = []
        graded: list[bool] = []
        for message in talk:  # the embedded base's form, spelt out: <|role|>words, and <|end|> after an answer
            words = base.tokenizer.encode(message["content"], add_special_tokens=False)
            answer = message["role"] == "assistant"
            ids += [vocabulary[f"<|{message['role']}|>"], *words, *([vocabulary["<|end|>"]] if answer else [])]
            graded += [False, *[answer] * len(words), *([True] if answer else [])]
        with torch.no_grad():
            logits = theirs(torch.tensor([ids])).logits[0].double().numpy()
        for place, token in enumerate(ids[1:]):
            if graded[place + 1]:
                row = logits[place] - logits[place].max()
                nats.append(float(np.log(np.exp(row).sum()) - row[token]))
    assert sum(row.num_labels for row in rows) == len(nats)
    assert loss_and_gradient(model, rows)[0] == pytest.approx(sum(nats) / len(nats), abs=1e-5)


@pytest.mark.filterwarnings("ignore::FutureWarning")  # which TRL gives for its own settings
def test_the_loss_is_trls_prompt_completion_loss(
    model: LoraModel, base: Base, talks: list[list[dict[str, str]]], rows: list[Example], tmp_path: Path
) -> None:
    pytest.importorskip("trl", reason="TRL is installed with the `bench` extra")
    from bench.trl_script import loss_of

    model.save(tmp_path / "adapter", base.name)
    job = {"base": str(base.folder), "adapter": str(tmp_path / "adapter"), "rows": talks[:4], "batch": 4}
    assert loss_and_gradient(model, rows[:4])[0] == pytest.approx(loss_of(job)["loss"], abs=1e-4)


def test_rows_packed_into_one_line_are_read_as_if_each_were_alone(model: LoraModel, rows: list[Example]) -> None:
    """Positions begin anew, and no row sees another: whatever stands before, between and behind."""
    long = Example(demonstration=9, ids=rows[0].ids * 4, labels=rows[0].labels * 4)
    line = [rows[2], long, *rows]
    batch = collate(line)
    ordered = sorted(line, key=lambda row: -len(row.ids))
    with torch.no_grad():
        together = model.hidden(batch)
        for row, span in zip(ordered, batch.spans, strict=True):
            own = slice(span.start, span.start + span.width)
            assert torch.equal(batch.positions[own], torch.arange(len(row.ids)))
            assert torch.allclose(together[own], model.hidden(collate([row])), atol=1e-5)
    assert len(batch.ids) == sum(len(row.ids) for row in line), "no padding"


def test_what_all_rows_begin_with_is_computed_once_to_the_same_loss_and_gradient(
    model: LoraModel, rows: list[Example]
) -> None:
    """As under one system message: also where the first label follows right on what is shared."""
    start = tuple(range(20, 32))
    alike = [replace(row, ids=start + row.ids[:-1], labels=(IGNORED,) * 12 + row.ids[:-1]) for row in rows]
    batch = collate(alike)
    shared = batch.spans[0].width
    assert shared >= 12 and len(batch.ids) == shared + sum(len(row.ids) - shared for row in alike)
    loss, together = loss_and_gradient(model, alike)
    labels = [row.num_labels for row in alike]
    alone = [loss_and_gradient(model, [row]) for row in alike]
    assert loss == pytest.approx(
        sum(one * n for (one, _), n in zip(alone, labels, strict=True)) / sum(labels), abs=1e-5
    )
    wanted = sum(own * n for (_, own), n in zip(alone, labels, strict=True)) / sum(labels)
    assert (together - wanted).abs().max() < 1e-5 + 1e-4 * wanted.abs().max()


def test_company_changes_a_rows_gradient_by_its_share_and_nothing_else(model: LoraModel, rows: list[Example]) -> None:
    loss, together = loss_and_gradient(model, rows)
    num_labels = [row.num_labels for row in rows]
    alone = [loss_and_gradient(model, [row]) for row in rows]
    mean = sum(one * n for (one, _), n in zip(alone, num_labels, strict=True)) / sum(num_labels)
    assert loss == pytest.approx(mean, abs=1e-5)
    summed = sum(grad * n for (_, grad), n in zip(alone, num_labels, strict=True)) / sum(num_labels)
    assert torch.allclose(together, summed, atol=1e-5)
    assert torch.allclose(together, loss_and_gradient(model, rows[::-1])[1], atol=1e-6)


def test_what_is_not_an_answer_has_no_part_in_the_loss(model: LoraModel, rows: list[Example]) -> None:
    row = rows[0]
    logits = torch.nn.functional.linear(model.hidden(collate([row])), model.head)
    labels = torch.tensor(row.labels[1:])
    expected = torch.nn.functional.cross_entropy(logits[: len(labels)], labels, ignore_index=IGNORED)
    assert loss_and_gradient(model, [row])[0] == pytest.approx(expected.item(), abs=1e-5)


def test_every_answer_of_a_conversation_is_graded_with_its_end(base: Base, rows: list[Example]) -> None:
    (last,) = (row for row in rows if row.demonstration == 4)
    assert sum(label in base.template.stop_ids for label in last.labels) == 2
