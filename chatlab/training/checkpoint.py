"""The state of a run, written whole or not at all, so that a kill at any moment costs seconds and changes nothing."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from chatlab.system.files import private_folder, write_whole

FILE = "state.safetensors"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The model's and optimizer's state after `step` steps, which took `seconds`."""

    step: int
    seconds: float
    state: dict[str, Tensor]


def write(folder: Path, checkpoint: Checkpoint) -> None:
    """Replaces the one before. The one before stays whatever goes wrong; raises OSError on a full disk."""
    private_folder(folder)
    notes = {"step": str(checkpoint.step), "seconds": repr(checkpoint.seconds)}
    write_whole(folder / FILE, safetensors.torch.save(checkpoint.state, metadata=notes))


def read(folder: Path) -> Checkpoint | None:
    """None where there is none that can be read: the run then begins again, to the same end.

    Read whole and not mapped: the next checkpoint takes the file's place, which Windows refuses for one that is mapped.
    """
    try:
        data = (folder / FILE).read_bytes()
        notes = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]
        return Checkpoint(int(notes["step"]), float(notes["seconds"]), safetensors.torch.load(data))
    except (OSError, SafetensorError, KeyError, ValueError, TypeError):
        return None
