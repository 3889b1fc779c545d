"""A base that cannot be trained says so before a run; a run that cannot begin has failed, and says why."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("torch")

from safetensors.torch import load_file, save_file

from chatlab.engines.fake import FakeEngine
from chatlab.errors import BaseRefused
from chatlab.lab import Lab
from chatlab.models.base import Base
from chatlab.settings import Settings
from tests.support.tiny_models import llama_folder


def opened(settings: Settings, base: Path) -> Lab:
    lab = Lab(replace(settings, base=base), open_engine=lambda base: FakeEngine())
    lab.demonstrations.load_pack("stage")
    return lab


def test_attention_of_its_own_is_known_when_the_base_is_opened(
    settings: Settings, base_folder: Path, tmp_path: Path
) -> None:
    folder = llama_folder(base_folder, tmp_path / "falcon", model_type="falcon", num_key_value_heads=None)
    with pytest.raises(BaseRefused, match="falcon networks compute attention"):
        Base.open(folder).check_trainable()
    lab = opened(settings, folder)
    with pytest.raises(BaseRefused, match="can chat, but not train"):
        lab.training.retrain()
    assert lab.training.runs() == []
    lab.close()


def test_a_run_whose_trainer_cannot_open_the_base_has_failed_with_the_reason(
    settings: Settings, base_folder: Path, tmp_path: Path
) -> None:
    """All layers lack a matrix, which only transformers can tell."""
    folder = llama_folder(base_folder, tmp_path / "tiny")
    tensors = load_file(folder / "model.safetensors")
    kept = {name: tensor for name, tensor in tensors.items() if "up_proj" not in name}
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    lab = opened(settings, folder)
    run = lab.training.run(lab.training.retrain(epochs=1))
    lab.training.wait(180)
    run = lab.training.run(run.id)
    assert run.state == "failed" and "up_proj" in run.error and "Download" in run.hint
    assert lab.training.status().state != "training" and lab.variants.all_cards() == []
    lab.close()
