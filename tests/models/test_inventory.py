"""Weights and config agree, or the base is refused and the matrix named; the output matrix is one and the same."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch")

import torch
from accelerate import Accelerator
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from chatlab.engines.gguf_export.tensors import converted
from chatlab.engines.transformers.network import open_network
from chatlab.errors import BaseRefused
from chatlab.models.base import Base
from chatlab.models.gguf.architectures import architecture
from chatlab.models.library.entry import ModelEntry
from chatlab.models.library.facts import read_facts
from chatlab.models.network import load_network
from chatlab.records import TrainSettings
from chatlab.training.model import LoraModel
from tests.support.tiny_models import changed, llama_folder

HEAD, EMBEDDING = "lm_head.weight", "model.embed_tokens.weight"


def with_tensors(folder: Path, **changes: torch.Tensor | None) -> Path:
    """The folder, tensors put in or, where they are None, taken out; a dot is written as two underscores."""
    file = folder / "model.safetensors"
    tensors = load_file(file) | {name.replace("__", "."): tensor for name, tensor in changes.items()}
    save_file({n: t.clone() for n, t in tensors.items() if t is not None}, file, metadata={"format": "pt"})
    return folder


@pytest.fixture
def folder(base_folder: Path, tmp_path: Path) -> Path:
    return llama_folder(base_folder, tmp_path / "tiny")


@pytest.mark.parametrize("kind", ["llama", "olmo2", "qwen3", "mixtral", "gpt_neox"])
def test_a_matrix_that_one_layer_lacks_is_named_when_the_base_is_opened(
    base_folder: Path, tmp_path: Path, kind: str
) -> None:
    made = llama_folder(base_folder, tmp_path / kind, model_type=kind)
    Base.open(made)
    names = [n for n in load_file(made / "model.safetensors") if "layers.1." in n]
    for name in (names[0], names[-1]):
        kept = load_file(made / "model.safetensors")[name]
        with_tensors(made, **{name.replace(".", "__"): None})
        with pytest.raises(BaseRefused, match=f"lack .*{name}"):
            Base.open(made)
        with_tensors(made, **{name.replace(".", "__"): kept})


@pytest.mark.parametrize("name", [EMBEDDING, "model.norm.weight"])
def test_what_stands_outside_the_layers_is_looked_for(folder: Path, name: str) -> None:
    with_tensors(folder, **{name.replace(".", "__"): None})
    with pytest.raises(BaseRefused, match=f"lack {name}"):
        Base.open(folder)


@pytest.mark.parametrize("tie", [False, None])
def test_an_output_matrix_of_its_own_has_to_be_there(folder: Path, tie: bool | None) -> None:
    """Llama's default, where the config says nothing, is one of its own."""
    with pytest.raises(BaseRefused, match=r"lack lm_head\.weight"):
        Base.open(changed(folder, tie_word_embeddings=tie))


def test_a_matrix_that_all_layers_lack_is_named_before_anything_is_computed(folder: Path) -> None:
    with_tensors(folder, **{f"model__layers__{n}__mlp__up_proj__weight": None for n in range(2)})
    with pytest.raises(BaseRefused, match="up_proj"):
        load_network(folder, torch.float32)


@pytest.mark.parametrize("equal", [True, False])
def test_one_output_matrix_is_used_everywhere_however_the_config_ties_it(folder: Path, equal: bool) -> None:
    tied = load_file(folder / "model.safetensors")[EMBEDDING]
    own = tied if equal else torch.randn(tied.shape, generator=torch.Generator().manual_seed(9))
    with_tensors(folder, lm_head__weight=own)
    base = Base.open(folder)
    assert base.tied == equal
    theirs = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    settings = TrainSettings(rank=4, kl_weight=0.0, dropout=0.0)
    trainer = LoraModel(folder, settings, Accelerator(cpu=True), bf16=False)
    written = dict(converted(base, architecture(base.config)))
    heads = [
        theirs.lm_head.weight,
        open_network(folder, base.parameters).get_output_embeddings().weight,
        trainer.head,
        written.get("output.weight", written["token_embd.weight"]),
    ]
    assert all(torch.equal(head, own) for head in heads)
    assert ("output.weight" in written) != equal
    assert base.parameters == sum(p.numel() for p in theirs.parameters())
    entry = ModelEntry(id="0" * 12, name="tiny", source="added", place="", path=folder, bytes=1, kind="folder")
    assert read_facts(entry).parameters == base.parameters
