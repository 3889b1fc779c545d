"""Loss and gradient of preference objectives against TRL's trainers, on the same ids and the same adapters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from chatlab.models.base import Base
from chatlab.training.model import LoraModel
from chatlab.training.preferences.loss import PreferenceLoss, ThumbLoss
from chatlab.training.preferences.pairs import Pair
from tests.training.test_preferences import (
    SETTINGS,
    answers_of,
    base,
    loss_and_gradient,
    model,
    moved,
    pairs,
    references,
)

pytest.importorskip("trl", reason="TRL is installed with the `bench` extra")
pytestmark = [
    pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning", "ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]
__all__ = ["base", "model", "pairs"]

NAMES = {
    "dpo": "sigmoid",
    "dpo_norm": "sigmoid_norm",
    "ipo": "ipo",
    "apo_zero": "apo_zero",
    "apo_down": "apo_down",
}


def theirs(base: Base, model: LoraModel, folder: Path, start: int, end: int) -> tuple[Any, Any]:
    """The reference adapter and, over it, the weights of the trained one, both as PEFT loads them."""
    from peft import PeftModel
    from safetensors.torch import load_file

    for name, seed in (("start", start), ("end", end)):
        moved(model, seed)
        model.save(folder / name, base.name)
    causal = AutoModelForCausalLM.from_pretrained(base.folder, dtype=torch.float32)
    tuned = PeftModel.from_pretrained(causal, folder / "start", is_trainable=True)
    return tuned, load_file(folder / "end" / "adapter_model.safetensors")


def put(tuned: Any, weights: dict[str, torch.Tensor]) -> None:
    for name, parameter in tuned.named_parameters():
        if (kept := weights.get(name.replace(".default", ""))) is not None:
            parameter.data.copy_(kept)


def gradient_of(tuned: Any, weights: dict[str, torch.Tensor], model: LoraModel, folder: Path) -> torch.Tensor:
    """TRL's gradient as one vector in the order of ours: saved as if it were an adapter, and loaded."""
    from safetensors.torch import save_file

    named = dict(tuned.named_parameters())
    found = {name: named[_own(name)].grad.clone() for name in weights}
    (folder / "gradient").mkdir()
    save_file(found, folder / "gradient" / "adapter_model.safetensors")
    kept = model.flat.data.clone()
    model.load(folder / "gradient")
    gradient, model.flat.data = model.flat.data.clone(), model.flat.data.copy_(kept)
    model.sync_weights()
    return gradient


def _own(name: str) -> str:
    return name.replace("lora_A.weight", "lora_A.default.weight").replace("lora_B.weight", "lora_B.default.weight")


def options(folder: Path) -> dict[str, Any]:
    return {
        "output_dir": str(folder / "trl"),
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
        "per_device_train_batch_size": 6,
        "max_length": 1024,
        "report_to": "none",
        "save_strategy": "no",
        "disable_tqdm": True,
    }


def prompt_and_answer(example: Any) -> tuple[list[int], list[int]]:
    cut = len(example.ids) - example.num_labels
    return list(example.ids[:cut]), list(example.ids[cut:])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("sft_weight", [0.0, 0.5])
def test_pairs_have_the_loss_and_the_gradient_of_trls_dpo_trainer(
    name: str, sft_weight: float, model: LoraModel, base: Base, pairs: list[Pair], tmp_path: Path
) -> None:
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer

    class Ready(DPOTrainer):
        """Takes the ids as they are."""

        def _prepare_dataset(self, dataset: Any, *args: Any, **kwargs: Any) -> Any:
            return dataset

    tuned, weights = theirs(base, model, tmp_path, 1, 2)
    rows = []
    for pair in pairs:
        (prompt, chosen), (_, rejected) = prompt_and_answer(pair.chosen), prompt_and_answer(pair.rejected)
        rows.append({"prompt_ids": prompt, "chosen_ids": chosen, "rejected_ids": rejected})
    losses = [NAMES[name], *(["sft"] if sft_weight else [])]
    config = DPOConfig(
        **options(tmp_path), beta=SETTINGS.beta, loss_type=losses, loss_weights=[1.0, sft_weight][: len(losses)]
    )
    trainer = Ready(
        model=tuned,
        args=config,
        train_dataset=Dataset.from_list(rows),
        processing_class=base.tokenizer,
    )
    put(trainer.model, weights)
    trainer.model.eval()
    loss = trainer.compute_loss(trainer.model, trainer.data_collator(rows))
    loss.backward()

    moved(model, 1)
    kept = references(model, pairs)
    moved(model, 2)
    settings = replace(SETTINGS, loss=name, sft_weight=sft_weight)
    own, gradient = loss_and_gradient(model, PreferenceLoss(settings, kept), pairs)
    assert own == pytest.approx(loss.item(), abs=1e-4)
    assert torch.allclose(gradient, gradient_of(trainer.model, weights, model, tmp_path), atol=1e-4)
    assert gradient.abs().max() > 1e-3


@pytest.mark.parametrize("name", ["kto", "apo_zero_unpaired"])
def test_thumbs_have_the_loss_and_the_gradient_of_trls_kto_trainer(
    name: str, model: LoraModel, base: Base, pairs: list[Pair], tmp_path: Path
) -> None:
    from datasets import Dataset
    from trl import KTOConfig, KTOTrainer

    class Ready(KTOTrainer):
        """Takes the ids as they are."""

        def _prepare_dataset(self, dataset: Any, *args: Any, **kwargs: Any) -> Any:
            return dataset

    tuned, weights = theirs(base, model, tmp_path, 1, 2)
    answers = answers_of(pairs)
    rows = []
    for number, one in enumerate(answers):
        prompt, answer = prompt_and_answer(one.example)
        _, shifted = prompt_and_answer(answers[(number + 1) % len(answers)].example)
        rows.append({"prompt_ids": prompt, "completion_ids": answer, "KL_completion_ids": shifted, "label": one.liked})
    config = KTOConfig(**options(tmp_path), beta=SETTINGS.beta, loss_type=name, undesirable_weight=0.7)
    trainer = Ready(model=tuned, args=config, train_dataset=Dataset.from_list(rows), processing_class=base.tokenizer)
    put(trainer.model, weights)
    trainer.model.eval()
    loss = trainer.compute_loss(trainer.model, trainer.data_collator(rows))
    loss.backward()

    start = moved(model, 1)
    kept = references(model, answers)
    moved(model, 2)
    settings = replace(SETTINGS, loss=name, undesirable_weight=0.7)
    own, gradient = loss_and_gradient(model, ThumbLoss(settings, kept, start), answers)
    assert own == pytest.approx(loss.item(), abs=1e-4)
    assert torch.allclose(gradient, gradient_of(trainer.model, weights, model, tmp_path), atol=1e-4)


@pytest.mark.parametrize("name", ["orpo", "simpo"])
def test_objectives_without_a_reference_are_trls_own_functions(name: str) -> None:
    """TRL's experimental trainers, their formula alone: their batches are read otherwise."""
    from types import SimpleNamespace

    from chatlab.training.preferences.objectives import PAIRED, PairScores

    torch.manual_seed(0)
    sums, tokens = -20 * torch.rand(2, 5) - 1, torch.tensor([[5.0, 7, 3, 9, 4], [6, 2, 8, 4, 4]])
    scores = PairScores(sums[0], sums[1], sums[0] * 0, sums[1] * 0, tokens[0], tokens[1])
    means: Sequence[torch.Tensor] = tuple(sums / tokens)
    accelerator = SimpleNamespace(device=torch.device("cpu"))
    if name == "orpo":
        from trl.experimental.orpo import ORPOTrainer

        beside = SimpleNamespace(beta=0.4, accelerator=accelerator)
        wanted = -ORPOTrainer.odds_ratio_loss(beside, *means)[0]
    else:
        from trl.experimental.cpo import CPOTrainer

        beside = SimpleNamespace(
            beta=2.0, accelerator=accelerator, alpha=0.0, loss_type="simpo", simpo_gamma=0.8, label_smoothing=0.0
        )
        wanted = CPOTrainer.cpo_loss(beside, *means)[0]
    settings = replace(SETTINGS, beta=beside.beta, simpo_gamma=0.8)
    assert torch.allclose(PAIRED[name](scores, settings), wanted, atol=1e-4)
