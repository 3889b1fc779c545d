"""PiSSA and OLoRA as plain LoRA: what they took out of the base is put beside what was trained.

Both begin with the largest part of each matrix as B0 A0, take it out of the base, and train it. peft does the same when
such an adapter is loaded: W - s B0 A0 + s B A. That is W + s [B, -B0] [A; A0], a plain LoRA of twice the rank, which
needs no change of the base (peft's `subtract_mutated_init`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from math import sqrt
from pathlib import Path

import torch
from safetensors.torch import load, save
from torch import Tensor

from chatlab.engines.adapter_config import AdapterConfig
from chatlab.engines.folder import PREFIX, read_adapter
from chatlab.errors import TrainingError
from chatlab.system.files import write_whole

Weight = Callable[[str], Tensor]
"""A module's matrix (out, in) in the base."""
Pairs = dict[str, tuple[Tensor, Tensor]]
"""A (r, in) and B (out, r) by module."""


def subtracted(pairs: Mapping[str, tuple[Tensor, Tensor]], config: AdapterConfig, weight: Weight) -> Pairs:
    """The pairs of the plain LoRA that says the same. Raises ValueError for what is no plain pair of matrices."""
    if not config.is_plain or config.fan_in_fan_out:
        raise ValueError(f"it is {config.init_lora_weights} with something else beside it")
    found: Pairs = {}
    for module, (a, b) in pairs.items():
        first_a, first_b = _first(config.init_lora_weights, weight(module).float(), len(a), config.scaling(module))
        found[module] = torch.cat([a.float(), first_a]), torch.cat([b.float(), -first_b], dim=1)
    return found


def doubled(config: AdapterConfig) -> AdapterConfig:
    """The config of what `subtracted` gives: the scale of every module as it was, at twice the rank."""
    times = sqrt(2) if config.use_rslora else 2
    return replace(
        config,
        r=2 * config.r,
        lora_alpha=times * config.lora_alpha,
        rank_pattern={name: 2 * rank for name, rank in config.rank_pattern.items()},
        alpha_pattern={name: times * alpha for name, alpha in config.alpha_pattern.items()},
        init_lora_weights="",
    )


def _first(init: str, weight: Tensor, rank: int, scaling: float) -> tuple[Tensor, Tensor]:
    """A and B whose product, scaled, peft takes out of a matrix (out, in) before the first step.

    PiSSA (Meng et al. 2024): the part of the `rank` largest singular values. U U^T W is the same as the product of the
    singular vectors, and U, of the smaller of W W^T and W^T W, costs a fraction of a whole decomposition. OLoRA (Büyük-
    akyüz 2024): the first columns and rows of W = Q R, which peft scales when it takes them out.
    """
    if init == "olora":
        q, r = torch.linalg.qr(weight)
        return r[:rank].contiguous(), q[:, :rank].contiguous()
    wide = weight.double()
    if wide.shape[0] <= wide.shape[1]:
        b = torch.linalg.eigh(wide @ wide.T).eigenvectors[:, -rank:]
        return (b.T @ wide / scaling).float(), b.float()
    a = torch.linalg.eigh(wide.T @ wide).eigenvectors[:, -rank:].T
    return a.float(), (wide @ a.T / scaling).float()


def write_start(adapter: Path, rank: int, alpha: float, to: Path) -> None:
    """Write an adapter's weights as a run goes on from them: all of one scale, alpha / rank.

    Raises AdapterError, and TrainingError for an adapter that is more than pairs, or of a higher rank.
    """
    files = read_adapter(adapter, None).checked()
    config = files.config
    if not config.is_plain or any(config.rank(module) > rank for module in files.modules):
        raise TrainingError(
            f"{adapter.name} is more than a plain LoRA, so a correction cannot go on from it.",
            "Choose another adapter, or retrain on all demonstrations.",
        )
    tensors = load(files.weights)
    for module in files.modules:
        name = f"{PREFIX}{module}.lora_B.weight"
        tensors[name] = tensors[name].float() * (config.scaling(module) * rank / alpha)
    write_whole(to, save({name: tensor.float().contiguous() for name, tensor in tensors.items()}))
