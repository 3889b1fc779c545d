"""Which tokens come next: several streams, read side by side in fixed shares."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from scripts.pretrain.model import Shape

RECIPE = Path(__file__).with_name("recipe.toml")


@dataclass(slots=True)
class Position:
    """How far one stream was read. `credit` is the share of a row that the stream is owed."""

    offset: int = 0
    laps: int = 0
    credit: float = 0.0


@dataclass(slots=True)
class Mix:
    """Rows of tokens from several streams; all of its state is `positions`, which JSON keeps exactly."""

    streams: Mapping[str, NDArray[np.uint16]]
    shares: dict[str, float]
    positions: dict[str, Position] = field(default_factory=dict)

    def rows(self, count: int, length: int) -> tuple[Tensor, Tensor]:
        """`count` rows of ids and of the ids that follow them, both (count, length)."""
        drawn = np.stack([self._row(self._next_stream(), length) for _ in range(count)])
        tokens = torch.from_numpy(drawn.astype(np.int64))
        return tokens[:, :-1], tokens[:, 1:]

    def _next_stream(self) -> str:
        """The stream that is owed most."""
        for name, share in self.shares.items():
            self.positions.setdefault(name, Position()).credit += share
        name = max(self.shares, key=lambda each: self.positions[each].credit)
        self.positions[name].credit -= 1
        return name

    def _row(self, name: str, length: int) -> NDArray[np.uint16]:
        """The next `length` + 1 tokens of a stream; each lap starts a little later, to cut rows elsewhere."""
        stream, at = self.streams[name], self.positions[name]
        if at.offset + length + 1 > len(stream):
            at.laps += 1
            at.offset = at.laps * 131 % length
        row = stream[at.offset : at.offset + length + 1]
        at.offset += length
        return row


def shape(recipe: Path) -> Shape:
    """The network that `recipe` (TOML) is for."""
    return Shape(**tomllib.loads(recipe.read_text(encoding="utf-8"))["shape"])


def shares(recipe: Path, phase: str) -> dict[str, float]:
    """What `recipe` (TOML) gives each stream in `phase`, summing to one."""
    given: dict[str, float] = tomllib.loads(recipe.read_text(encoding="utf-8"))[phase]
    return {name: share / sum(given.values()) for name, share in given.items()}


def load(cache: Path, phase: str, recipe: Path) -> Mix:
    """The streams in `cache`, in the shares of `recipe`."""
    wanted = shares(recipe, phase)
    streams = {name: np.memmap(cache / f"{name}.bin", dtype="<u2", mode="r") for name in wanted}
    return Mix(streams, wanted)
