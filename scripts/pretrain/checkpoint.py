"""All of a run's state in one safetensors file, replaced in one move so that a kill leaves a whole one."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from scripts.pretrain.mix import Mix, Position
from scripts.pretrain.model import Llama


@dataclass(slots=True)
class Progress:
    """How far the run is.

    `branched` is the step at which the cool-down began, `started` its clock time, `warmed` the step at which
    the rate last began to grow from nothing.
    """

    step: int = 0
    tokens: int = 0
    branched: int | None = None
    started: float | None = None
    warmed: int = 0


def save(path: Path, model: Llama, optimizers: list[torch.optim.Optimizer], mix: Mix, progress: Progress) -> None:
    """Write weights, what the optimizers remember, data position and progress."""
    tensors = {f"weight/{name}": weight.detach() for name, weight in model.named_parameters()}
    for name, weight in model.named_parameters():
        for optimizer in optimizers:
            for key, value in optimizer.state.get(weight, {}).items():
                tensors[f"{key}/{name}"] = value
    told = {
        "progress": asdict(progress),
        "positions": {name: asdict(position) for name, position in mix.positions.items()},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_suffix(".half")
    save_file({key: value.contiguous() for key, value in tensors.items()}, half, {"about": json.dumps(told)})
    half.replace(path)


def about(path: Path) -> dict[str, Any]:
    """What a checkpoint says of itself: `progress` and the `positions` of its streams."""
    with safe_open(path, "pt") as file:
        told: dict[str, Any] = json.loads(file.metadata()["about"])
    return told


def load(path: Path, model: Llama, optimizers: list[torch.optim.Optimizer], mix: Mix) -> Progress:
    """Put the state at `path` into model, optimizers and mix; what the file lacks starts afresh."""
    weights = dict(model.named_parameters())
    with safe_open(path, "pt") as file, torch.no_grad():
        for label in sorted(file.keys()):
            kind, name = label.split("/")
            value = file.get_tensor(label)
            if kind == "weight":
                weights[name].copy_(value)
                continue
            owner = next(o for o in optimizers if any(weights[name] is p for p in o.param_groups[0]["params"]))
            owner.state[weights[name]][kind] = value.float()
    told = about(path)
    mix.positions.update({name: Position(**position) for name, position in told["positions"].items()})
    return Progress(**told["progress"])
