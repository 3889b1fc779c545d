"""Adapters of other programs than PEFT: mlx-lm's folders and GGUF LoRA, as pairs of PEFT's shape."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from gguf import GGMLQuantizationType
from gguf.quants import dequantize
from safetensors.torch import load
from torch import Tensor

from chatlab.engines.adapter_config import AdapterConfig
from chatlab.models.gguf.architectures import ARCHITECTURES, heads
from chatlab.models.gguf.header import read_header
from chatlab.models.gguf.unpack import llama_cpp_order

if TYPE_CHECKING:
    from chatlab.models.base import Base

_MLX = re.compile(r"(.+)\.lora_([ab])")
_GGUF = re.compile(r"(.+\.weight)\.lora_([ab])")
_PERMUTED = {"q_proj": 0, "k_proj": 1}


@dataclass(frozen=True, slots=True, kw_only=True)
class RawAdapter:
    """Low-rank pairs and how they are scaled."""

    pairs: Mapping[str, tuple[Tensor, Tensor]]
    """A (r, in) and B (out, r) by module."""
    config: AdapterConfig
    made_for: str = ""
    """Name of the base that its files give."""


def read_mlx(config: Mapping[str, Any], weights: bytes) -> RawAdapter:
    """mlx-lm's `adapters.safetensors`: y = W x + scale (x A) B, with A (in, r) and B (r, out). Raises ValueError."""
    kind = config.get("fine_tune_type", "lora")
    if kind != "lora":
        raise ValueError(f"it is of mlx's kind {kind!r:.40}, and only 'lora' can be brought")
    settings = config.get("lora_parameters")
    scale = settings.get("scale") if isinstance(settings, dict) else None
    if not isinstance(scale, int | float) or not 0 < scale < 1e6:
        raise ValueError("its adapter_config.json names no scale under lora_parameters")
    pairs = _paired({name: tensor.T for name, tensor in load(weights).items()}, _MLX)
    return _scaled(pairs, {module: scale * len(a) for module, (a, _) in pairs.items()}, str(config.get("model") or ""))


def read_gguf(file: Path, base: Base, modules: Sequence[str]) -> RawAdapter:
    """A GGUF LoRA for a base that has these modules, as `convert_lora_to_gguf.py` of llama.cpp writes it.

    Raises BaseRefused for what is no GGUF, and ValueError for what is no LoRA of such a base.
    """
    header = read_header(file)
    if header.text("general.type", "model") != "adapter" or header.text("adapter.type") != "lora":
        raise ValueError("the file holds a whole model, or another kind of adapter: add models on the Models panel")
    if "adapter.alora.invocation_tokens" in header.values:
        raise ValueError("it is an aLoRA, which changes only a part of each text")
    model_type = str(base.config.get("model_type"))
    architecture = ARCHITECTURES.get(model_type)
    if architecture is None or architecture.name != header.architecture:
        raise ValueError(f"it is for {header.architecture} models, and {base.name} is one of {model_type}")
    data = np.memmap(file, dtype=np.uint8, mode="r")
    tensors = {}
    for name, stored in header.tensors.items():
        rows = data[header.data_start + stored.start :][: stored.size].reshape(stored.shape[-1], -1)
        numbers = dequantize(np.ascontiguousarray(rows), GGMLQuantizationType(stored.kind))
        tensors[name] = torch.from_numpy(numbers.astype(np.float32)).reshape(tuple(reversed(stored.shape)))
    names = architecture.names(int(base.config["num_hidden_layers"]))
    known = {names.get_name(f"{module}.weight", try_suffixes=(".weight",)): module for module in modules}
    pairs = {}
    for name, (a, b) in _paired(tensors, _GGUF).items():
        if name not in known:
            raise ValueError(f"{base.name} has no {name[:80]!r}")
        module = known[name]
        turned = _PERMUTED.get(module.rpartition(".")[2]) if architecture.permuted else None
        count = heads(base.config)[turned] if turned is not None else 0
        if count and len(b) % (2 * count):
            raise ValueError(f"the shape of {name[:80]!r} does not fit {count} heads")
        pairs[module] = a, b[torch.from_numpy(llama_cpp_order(len(b), count))] if count else b
    alpha = header.values.get("adapter.lora.alpha")
    if not isinstance(alpha, int | float) or not 0 <= alpha < 1e6:
        raise ValueError("it says no alpha")
    alphas = {module: float(alpha) or float(len(a)) for module, (a, _) in pairs.items()}  # 0 is a scale of 1
    key = next((key for key in ("general.base_model.0.name", "general.basename") if key in header.values), "")
    return _scaled(pairs, alphas, header.text(key) if key else "")


def _paired(tensors: Mapping[str, Tensor], shape_of: re.Pattern[str]) -> dict[str, tuple[Tensor, Tensor]]:
    found: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        parts = shape_of.fullmatch(name)
        if parts is None or tensor.ndim != 2:
            raise ValueError(f"{name[:80]!r} is no part of a plain LoRA")
        found.setdefault(parts[1], {})[parts[2]] = tensor.float().contiguous()
    for module, pair in found.items():
        if len(pair) != 2 or len(pair["a"]) != pair["b"].shape[1]:
            raise ValueError(f"{module[:80]!r} has no pair of matrices that fit each other")
    return {module: (pair["a"], pair["b"]) for module, pair in found.items()}


def _scaled(pairs: Mapping[str, tuple[Tensor, Tensor]], alphas: Mapping[str, float], made_for: str = "") -> RawAdapter:
    """With a config in which each module's scale is alpha / r."""
    if not pairs:
        raise ValueError("it holds no pair of matrices")
    ranks = {module: len(a) for module, (a, _) in pairs.items()}
    rank = max(ranks.values())
    alpha = alphas[max(ranks, key=lambda module: ranks[module])]
    config = AdapterConfig(
        target_modules=tuple(pairs),
        r=rank,
        lora_alpha=alpha,
        rank_pattern={module: r for module, r in ranks.items() if r != rank},
        alpha_pattern={module: a for module, a in alphas.items() if a != alpha},
    )
    return RawAdapter(pairs=pairs, config=config, made_for=made_for)
