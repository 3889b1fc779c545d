"""What a trial is given, in a model's token ids: every file of one model is asked the same."""

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
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One run: a model's folder, a pack, and settings."""

    model: str
    pack: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Fields of TrainSettings; none for the base as it is."""
    keep: str = ""
    """Name under which the adapter is kept."""
    asked: int = 40
    """Unseen prompts that are asked, at most; with none it is trained and kept, and nothing is measured."""
    reply_tokens: int = 96

    @property
    def train_settings(self) -> TrainSettings:
        return TrainSettings(**self.settings)

    @property
    def key(self) -> str:
        return json.dumps([self.model, self.pack, dict(sorted(self.settings.items()))])


def _examples(raw: Sequence[Mapping[str, Any]]) -> tuple[Example, ...]:
    return tuple(Example(demonstration=e["demonstration"], ids=tuple(e["ids"]), labels=tuple(e["labels"])) for e in raw)


def _tuples(raw: Sequence[Sequence[int]]) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(ids) for ids in raw)
