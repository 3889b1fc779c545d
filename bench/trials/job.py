"""What a trial is given and what it gives back: token ids and numbers only, so that it runs where no tokenizer is."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from chatlab.records import TrainSettings
from chatlab.training.data import Example

Ids = Sequence[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class PackIds:
    """A data set in one model's tokens."""

    train: tuple[Example, ...]
    task: tuple[Example, ...]
    """Demonstrations that no run learns from, to measure the loss on."""
    prompts: tuple[tuple[int, ...], ...]
    """Unseen prompts, each with all that the template writes before the answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelIds:
    """All that the trials on one model read."""

    packs: Mapping[str, PackIds]
    facts: tuple[tuple[int, ...], ...]
    prose: tuple[Example, ...]
    stop: tuple[int, ...]
    start: int
    """Token that opens a document."""

    def save(self, file: Path) -> None:
        file.write_text(json.dumps(asdict(self)), encoding="utf-8")

    @classmethod
    def read(cls, file: Path) -> ModelIds:
        raw = json.loads(file.read_text(encoding="utf-8"))
        packs = {
            name: PackIds(
                train=_examples(pack["train"]), task=_examples(pack["task"]), prompts=_tuples(pack["prompts"])
            )
            for name, pack in raw["packs"].items()
        }
        return cls(
            packs=packs,
            facts=_tuples(raw["facts"]),
            prose=_examples(raw["prose"]),
            stop=tuple(raw["stop"]),
            start=raw["start"],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One run: a model's folder, a pack, settings, and the part of the layers that the adapter is in."""

    model: str
    pack: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Fields of TrainSettings; none for the base as it is."""
    layers: float = 1.0
    keep: str = ""
    """Name under which the adapter is kept."""
    asked: int = 40
    """Unseen prompts that are asked, at most."""
    reply_tokens: int = 96

    @property
    def train_settings(self) -> TrainSettings:
        return TrainSettings(**self.settings)

    @property
    def shape(self) -> tuple[Any, ...]:
        """What a model has to be opened anew for."""
        own = self.train_settings
        return self.model, own.rank, own.alpha, self.layers

    @property
    def key(self) -> str:
        return json.dumps([self.model, self.pack, dict(sorted(self.settings.items())), self.layers])


def read_jobs(file: Path) -> list[Job]:
    return [Job(**json.loads(line)) for line in file.read_text(encoding="utf-8").splitlines() if line]


def write_jobs(file: Path, jobs: Sequence[Job]) -> None:
    file.write_text("".join(json.dumps(asdict(job)) + "\n" for job in jobs), encoding="utf-8")


def _examples(raw: Sequence[Mapping[str, Any]]) -> tuple[Example, ...]:
    return tuple(Example(demonstration=e["demonstration"], ids=tuple(e["ids"]), labels=tuple(e["labels"])) for e in raw)


def _tuples(raw: Sequence[Sequence[int]]) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(ids) for ids in raw)
