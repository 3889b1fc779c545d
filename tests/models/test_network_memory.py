"""What an open network keeps in memory."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from chatlab.models.network import load_network
from tests.support.report_figures import tiny_base


@pytest.mark.skipif(sys.platform != "linux", reason="reads what is mapped")
def test_norms_in_float32_do_not_keep_a_file_of_bfloat16_mapped(base_folder: Path, tmp_path: Path) -> None:
    folder = tiny_base(base_folder, tmp_path / "base")
    weights = load_file(folder / "model.safetensors")
    mixed = {name: one.to(torch.float32 if one.dim() == 1 else torch.bfloat16) for name, one in weights.items()}
    folder = Path(shutil.copytree(folder, tmp_path / "mixed"))
    save_file(mixed, folder / "model.safetensors", {"format": "pt"})
    network = load_network(folder, torch.float32)
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}
    assert str(folder) not in Path("/proc/self/maps").read_text(encoding="utf-8")
