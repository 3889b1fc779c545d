"""What one training of the report is: what is learned, how, and what is asked afterwards. Pure values; no torch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from chatlab.former_names import with_former_names
from chatlab.records import PREFERENCE_FIELDS, TrainSettings
from chatlab.training.defaults import held_out_count, settings_for

VERSION = 1
"""To be raised whenever the same recipe would give other figures; what was kept before is then measured again."""

Kind = Literal["pack", "generated", "corrupted", "refusing", "balanced", "hardest", "random"]
"""Which demonstrations: `count` of the pack, drawn by the seed, and beyond its forty some made by rule; only made ones;
the same as pack with every second one corrupted; the pack and `count` refusals; the pack, `count` refusals and as many
answers; so many of a pool of made ones, the hardest or any."""

Setting = tuple[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetSpec:
    """Which demonstrations. Equal specs give equal ones for equal seeds."""

    kind: Kind
    count: int
    pool: int = 0
    """Size of the pool from which the hardest or random ones are chosen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Questions:
    """What a model is asked, and how often."""

    unseen: int = 80
    """Prompts that no demonstration holds, each answered with the likeliest tokens."""
    draws: int = 0
    """Times that each of them is also answered by sampling as the chat does."""
    guide: bool = False
    """The guide's own three prompts, which are in the pack."""
    facts: int = 0
    """Questions that nobody can answer, and as many that can be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """One run and what is asked of it; the base alone where there is no dataset."""

    dataset: DatasetSpec | None = None
    seed: int = 0
    full: bool = False
    """Train every number of the base, in place of an adapter."""
    replay: int = 0
    """Texts of the base's own that are learned again in every step; only when the whole base is trained."""
    settings: tuple[Setting, ...] = ()
    """Fields of TrainSettings that are not the app's defaults for so many demonstrations."""
    questions: Questions = Questions()
    curve: bool = False
    """Measure the loss on the answers kept aside also at every tenth of the way."""

    def trained_with(self, parameters: int) -> TrainSettings:
        """All settings, for a base of so many parameters."""
        count = self.demonstrations
        full = {name: _number(name, value) for name, value in self.settings}
        return settings_for(count, parameters, **full | {"seed": self.seed})

    @property
    def demonstrations(self) -> int:
        """How many the dataset has."""
        if self.dataset is None:
            return 0
        pack = {"refusing": PACK, "balanced": PACK}.get(self.dataset.kind, 0)
        times = 2 if self.dataset.kind == "balanced" else 1
        return pack + times * self.dataset.count

    def cost(self, parameters: int) -> float:
        """Work in steps of an adapter with four demonstrations, roughly; measuring and asking count too."""
        asked = 0.5 * self.questions.unseen * (1 + self.questions.draws) + self.questions.facts
        if self.dataset is None:
            return 5 * asked
        settings = self.trained_with(parameters)
        learned = self.demonstrations - held_out_count(self.demonstrations, settings.held_out)
        steps = learned / settings.batch_size * settings.epochs
        each = (1 + settings.batch_size / 4 + settings.kl_samples * (settings.kl_weight > 0) + self.replay) / 3
        return steps * each * (1.6 if self.full else 1.0) + asked + 45


PACK = 40
"""Demonstrations in the stage pack."""


def key(recipe: Recipe, base: str, parameters: int, data: str) -> str:
    """Names the figures of a recipe: equal exactly where equal figures are to be expected. `data` is a digest.

    Settings count under their former names, so that what was measured before they were renamed is found.
    """
    former = tuple(with_former_names(TrainSettings, dict(recipe.settings)).items())
    trained = {k: v for k, v in asdict(recipe.trained_with(parameters)).items() if k not in PREFERENCE_FIELDS}
    told: Mapping[str, Any] = {
        "version": VERSION,
        "base": base,
        "data": data,
        "recipe": asdict(replace(recipe, settings=former)),
        "settings": with_former_names(TrainSettings, trained) if recipe.dataset else None,
    }
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:24]


def _number(name: str, value: float) -> float | int | bool:
    """Whole numbers where TrainSettings has them; `settings` holds floats so that equal recipes are equal in JSON."""
    kind = TrainSettings.__dataclass_fields__[name].type
    made: float | int | bool = {"int": int, "bool": bool}.get(str(kind), float)(value)
    return made
