"""What was trained is what speaks: the trainer's numbers and the engine's, from the folder that passes between them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from accelerate import Accelerator

from chatlab.adapters import Adapters
from chatlab.engines.base import Variant
from chatlab.engines.transformers.network import open_network
from chatlab.engines.transformers.variant_cache import VariantCache
from chatlab.models.base import Base
from chatlab.records import AdapterCard, Message, TrainSettings
from chatlab.training.data import Example
from chatlab.training.loss import logits_of
from chatlab.training.model import LoraModel
from chatlab.training.packing import collate


@pytest.fixture(scope="module")
def base(base_folder: Path) -> Base:
    return Base.open(base_folder)


@pytest.mark.parametrize("bf16, close", [(False, 2e-3), (True, 0.35)])
def test_the_engine_gives_the_scores_that_the_trainer_saw(base, tmp_path, bf16, close):
    torch.set_num_threads(1)
    model = LoraModel(base.folder, TrainSettings(rank=4), Accelerator(cpu=True), bf16)
    with torch.no_grad():
        model.flat.add_(0.02 * torch.randn(model.flat.shape, generator=torch.Generator().manual_seed(0)))
        model.sync_weights()
    model.save(tmp_path / "run", base.name)
    card = Adapters(tmp_path / "adapters").publish(tmp_path / "run", AdapterCard(name="run", base=base.fingerprint))

    ids = base.tokenizer("The old king sat by the window and watched the rain.")["input_ids"]
    with torch.no_grad():
        hidden = model.hidden(collate([Example(demonstration=1, ids=tuple(ids), labels=tuple(ids))]))
        seen = logits_of(hidden[len(ids) - 1 :][:1], model.head)[0]
    variant = Variant(name="run", folder=tmp_path / "adapters" / card.name)
    cache = VariantCache(open_network(base.folder, base.parameters), base.fingerprint)
    served = cache.get(variant).model.start(ids).read(ids)
    plain = cache.get(Variant()).model.start(ids).read(ids)
    assert (served - seen).abs().max() < close < (served - plain).abs().max()


def test_the_prompt_that_chat_asks_is_the_prefix_that_training_saw_and_the_reply_can_end(base):
    messages = [Message(role="user", content="Good day"), Message(role="assistant", content="Well met, good friend.")]
    (row,) = base.template.encode(messages)
    prompt = base.template.prompt(messages[:1])
    assert list(row.ids[: len(prompt)]) == list(prompt)
    assert set(row.labels) & base.template.stop_ids
