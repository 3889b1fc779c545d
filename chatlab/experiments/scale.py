"""How much is measured: all of it, or a first look."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from chatlab.experiments.recipe import PACK


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """Sizes of all experiments. A first look is too small for verdicts to mean much, and its page says so."""

    seeds: int = 3
    sizes: tuple[int, ...] = (10, 20, 40, 100, 400)
    """Numbers of demonstrations whose effect is compared."""
    usual: int = PACK
    """Demonstrations of the other experiments."""
    prompts: int = 80
    """Prompts that no demonstration holds."""
    draws: int = 2
    facts: int = 60
    naive_epochs: int = 25
    """The guide's."""
    epochs: int = 0
    """Epochs of every other run; 0 leaves it to the app's defaults."""
    refusals: int = 40
    pool: int = 240
    """Demonstrations made by rule that are pruned."""
    pool_epochs: int = 2
    """Over all of the pool; pruned sets make as many steps."""
    shares: tuple[int, ...] = (50, 25, 10)
    """Per cent of the pool that are kept."""
    many: int = 400
    """Demonstrations of which half are corrupted."""

    @property
    def every_seed(self) -> Sequence[int]:
        return range(self.seeds)

    @property
    def first_look(self) -> bool:
        return self.usual < PACK or self.epochs > 0


QUICK = Scale(
    seeds=1,
    sizes=(10, 20),
    usual=20,
    prompts=8,
    draws=1,
    facts=4,
    naive_epochs=3,
    epochs=1,
    refusals=6,
    pool=24,
    pool_epochs=1,
    shares=(50,),
    many=40,
)
