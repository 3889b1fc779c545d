"""Adapters that other programs wrote, brought: each says what it says there, or is refused with the true reason."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.support.lora import make_adapter
from tests.support.tiny_models import llama_folder

torch = pytest.importorskip("torch")

from safetensors.torch import load_file, save_file  # noqa: E402

from chatlab.adapters.manifest import CONFIG, WEIGHTS  # noqa: E402
from chatlab.engines.adapter_import.convert import Converted, convert  # noqa: E402
from chatlab.engines.adapter_import.source import adapter_files  # noqa: E402
from chatlab.engines.folder import PREFIX, read_adapter  # noqa: E402
from chatlab.engines.gguf_export.files import write_adapter  # noqa: E402
from chatlab.engines.transformers.merge import with_adapter  # noqa: E402
from chatlab.engines.transformers.network import open_network  # noqa: E402
from chatlab.errors import AdapterDamaged, InputError, WrongBase  # noqa: E402
from chatlab.models.base import Base  # noqa: E402

IDS = torch.tensor([[5, 80, 300, 41, 7, 1200, 9, 64]])
ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


@pytest.fixture(scope="module")
def base(base_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Base:
    """Numbers so large that the part PiSSA takes out matters, and an output matrix of its own."""
    folder = tmp_path_factory.mktemp("tiny") / "base"
    return Base.open(llama_folder(base_folder, folder, initializer_range=0.3, tie_word_embeddings=False))


@pytest.fixture(scope="module")
def network(base: Base):
    torch.set_num_threads(1)
    return open_network(base.folder, base.parameters, torch.float32)


def brought(paths: Sequence[Path], base: Base, to: Path) -> Converted:
    to.mkdir()
    with adapter_files(paths) as (name, files):
        return convert(files, base, name, to)


def logits(network, adapter: Path) -> Any:
    with torch.inference_mode():
        return with_adapter(network, read_adapter(adapter, None), 1.0)(IDS).logits


def by_peft(base: Base, adapter: Path) -> Any:
    """As peft's own loading has it."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base.folder, dtype=torch.float32)
    with torch.inference_mode():
        return PeftModel.from_pretrained(model, adapter)(IDS).logits


def trained(base: Base, to: Path, **config: Any) -> Path:
    """Four steps of Adam with peft."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_pretrained(base.folder, dtype=torch.float32)
    settings = {"r": 8, "lora_alpha": 8, "target_modules": ALL} | config
    model = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", **settings))
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=1e-3)
    for _ in range(4):
        model(input_ids=IDS, labels=IDS).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.save_pretrained(to)
    return to


@pytest.mark.parametrize(
    "config",
    [
        {"init_lora_weights": "pissa"},
        {"init_lora_weights": "pissa", "use_rslora": True, "rank_pattern": {r".*\.0\..*q_proj": 4}, "lora_alpha": 5},
        {"init_lora_weights": "olora", "alpha_pattern": {"up_proj": 3}},
    ],
    ids=["pissa", "pissa by patterns", "olora"],
)
def test_what_peft_takes_out_of_the_base_is_worked_out_as_a_plain_lora(base, network, tmp_path, config):
    adapter = trained(base, tmp_path / "made", **config)
    wanted = by_peft(base, adapter)
    brought([adapter], base, tmp_path / "brought")
    assert torch.allclose(logits(network, tmp_path / "brought"), wanted, atol=2e-3)
    config = json.loads((adapter / CONFIG).read_text()) | {"init_lora_weights": True}
    (adapter / CONFIG).write_text(json.dumps(config))
    assert not torch.allclose(logits(network, adapter), wanted, atol=0.5), "as a plain LoRA it says something else"


def test_a_plain_peft_folder_keeps_its_bytes(base, network, tmp_path):
    adapter = make_adapter(base.folder, tmp_path / "made", 1, target_modules=r".*self_attn\.(q|v)_proj")
    found = brought([adapter], base, tmp_path / "brought")
    for name in (CONFIG, WEIGHTS):
        assert (tmp_path / "brought" / name).read_bytes() == (adapter / name).read_bytes()
    assert found.program.startswith("PEFT 0.") and found.files.sha256 == read_adapter(adapter, None).sha256


def test_a_gguf_lora_says_what_the_adapter_said_that_it_was_made_of(base, network, tmp_path):
    adapter = make_adapter(base.folder, tmp_path / "made", 1, target_modules=ALL, rank_pattern={"v_proj": 3})
    write_adapter(base, read_adapter(adapter, None), tmp_path / "adapter.gguf")
    found = brought([tmp_path / "adapter.gguf"], base, tmp_path / "brought")
    assert torch.allclose(logits(network, tmp_path / "brought"), logits(network, adapter), atol=1e-4)
    assert found.program == "GGUF LoRA"


def as_mlx(adapter: Path, to: Path, scale: float, **config: Any) -> Path:
    """As mlx-lm writes the same matrices: the other way round, and with other names."""
    to.mkdir()
    tensors = {}
    for name, tensor in load_file(adapter / WEIGHTS).items():
        part = name.removeprefix(PREFIX).replace("lora_A.weight", "lora_a").replace("lora_B.weight", "lora_b")
        tensors[part] = tensor.T.contiguous()
    save_file(tensors, to / "adapters.safetensors")
    told = {"fine_tune_type": "lora", "num_layers": 2, "lora_parameters": {"rank": 8, "scale": scale, "dropout": 0.0}}
    (to / CONFIG).write_text(json.dumps(told | {"model": "org/tiny"} | config))
    return to


def test_an_mlx_folder_says_what_the_same_matrices_say(base, network, tmp_path):
    adapter = make_adapter(base.folder, tmp_path / "made", 1, target_modules=["q_proj", "up_proj"], lora_alpha=16)
    found = brought([as_mlx(adapter, tmp_path / "mlx", 2.0)], base, tmp_path / "brought")
    assert torch.allclose(logits(network, tmp_path / "brought"), logits(network, adapter), atol=1e-4)
    assert (found.program, found.made_for) == ("mlx-lm", "org/tiny")
    with pytest.raises(AdapterDamaged, match="dora"):
        brought([as_mlx(adapter, tmp_path / "dora", 2.0, fine_tune_type="dora")], base, tmp_path / "no")


def test_a_text_model_that_was_a_part_of_a_larger_one_finds_its_modules(base, network, tmp_path):
    adapter = make_adapter(base.folder, tmp_path / "made", 1)
    wanted = logits(network, adapter)
    tensors = load_file(adapter / WEIGHTS)
    save_file(
        {n.replace("model.layers", "model.language_model.layers"): t for n, t in tensors.items()}, adapter / WEIGHTS
    )
    brought([adapter], base, tmp_path / "brought")
    assert torch.allclose(logits(network, tmp_path / "brought"), wanted, atol=1e-4)


def test_it_is_found_in_a_zip_in_a_program_s_output_and_among_files(base, tmp_path):
    output = tmp_path / "output"
    adapter = make_adapter(base.folder, output / "checkpoint-7", 1)
    (output / "trainer_state.json").write_text("{}")
    packed = Path(shutil.make_archive(str(tmp_path / "packed"), "zip", tmp_path, "output"))
    ways = [[adapter], [output], [packed], [adapter / WEIGHTS], [adapter / WEIGHTS, adapter / CONFIG]]
    found = [brought(paths, base, tmp_path / f"to {number}") for number, paths in enumerate(ways)]
    assert len({one.files.sha256 for one in found}) == 1
    shutil.copytree(adapter, output / "checkpoint-9")
    with pytest.raises(InputError, match="2 adapters: checkpoint-7, checkpoint-9"):
        brought([output], base, tmp_path / "none")


def test_what_is_no_adapter_is_refused_with_the_true_reason(base, tmp_path):
    adapter = make_adapter(base.folder, tmp_path / "made", 1)
    pickled = tmp_path / "pickled"
    pickled.mkdir()
    shutil.copy(adapter / CONFIG, pickled)
    (pickled / "adapter_model.bin").write_bytes(b"PK")
    alone = tmp_path / "alone" / WEIGHTS
    alone.parent.mkdir()
    shutil.copy(adapter / WEIGHTS, alone)
    (tmp_path / "torn.zip").write_bytes(b"PK\3\4" + bytes(40))
    (tmp_path / "empty").mkdir()
    with zipfile.ZipFile(tmp_path / "pickled.zip", "w") as packed:
        packed.write(pickled / CONFIG, f"x/{CONFIG}")
        packed.write(pickled / "adapter_model.bin", "x/adapter_model.bin")
    for path, why, hint in (
        (pickled, "pickle", "save_pretrained"),
        (tmp_path / "pickled.zip", "pickle", "save_pretrained"),
        (pickled / "adapter_model.bin", "pickle", "save_file"),
        (alone, "no adapter_config.json", "PEFT folder"),
        (tmp_path / "torn.zip", "unpacked", "zip"),
        (tmp_path / "empty", "no adapter", "PEFT folder"),
        (tmp_path / "nowhere", "nothing at", "PEFT folder"),
    ):
        with pytest.raises(InputError, match=why) as refused:
            brought([path], base, tmp_path / f"to {path.name}")
        assert hint in refused.value.hint
    with pytest.raises(AdapterDamaged, match="torn"):
        brought([torn(adapter, tmp_path / "torn")], base, tmp_path / "to torn")


def torn(adapter: Path, to: Path) -> Path:
    """Cut off where a download ended."""
    shutil.copytree(adapter, to)
    data = (to / WEIGHTS).read_bytes()
    (to / WEIGHTS).write_bytes(data[: len(data) // 2])
    return to


def test_one_of_another_base_is_refused_and_names_the_matrix_and_its_base(base, base_folder, tmp_path):
    adapter = make_adapter(base_folder, tmp_path / "made", 1)
    config = json.loads((adapter / CONFIG).read_text()) | {"base_model_name_or_path": "someone/large"}
    (adapter / CONFIG).write_text(json.dumps(config))
    with pytest.raises(WrongBase, match=r"256 x 704.*64 x 96.*someone/large"):
        brought([adapter], base, tmp_path / "brought")
