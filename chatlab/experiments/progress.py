"""What the terminal says while a report is made: which run is done, how many are left, and for how long."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from chatlab.experiments.recipe import Recipe
from chatlab.experiments.results import RunMetrics

GUESS = 0.25
"""Seconds that a unit of `Recipe.cost` takes, until some runs have told better."""


class Progress:
    """Learns from the runs that are done how long the others will take."""

    def __init__(
        self, costs: Mapping[Recipe, float], workers: int, say: Callable[[str], None], pace: float | None = None
    ) -> None:
        self._left = dict(costs)
        self._of = len(costs)
        self._workers = max(1, min(workers, self._of))
        self._say = say
        self._pace = pace or GUESS
        self._cost = self._seconds = 0.0

    def begin(self, known: int) -> None:
        told = f"{self._of} runs to carry out" if self._of else "Nothing left to carry out"
        told += f", {known} known from before" if known else ""
        self._say(f"{told}. About {duration(self.seconds_left())}." if self._of else f"{told}.")

    def done(self, recipe: Recipe, metrics: RunMetrics) -> None:
        self._cost += self._left.pop(recipe)
        self._seconds += metrics.seconds
        number = self._of - len(self._left)
        left = f"about {duration(self.seconds_left())} left" if self._left else "all done"
        self._say(f"{number:4} of {self._of}  {named(recipe):<44} {metrics.seconds:5.0f} s   {left}")

    def seconds_left(self) -> float:
        pace = self._seconds / self._cost if self._cost else self._pace
        return pace * sum(self._left.values()) / self._workers


def named(recipe: Recipe) -> str:
    """One run in a few words."""
    if recipe.dataset is None:
        return "the base alone"
    what = f"{recipe.dataset.count} {recipe.dataset.kind}"
    how = " whole" if recipe.full else ""
    how += "".join(f" {name}={value:g}" for name, value in recipe.settings if name in ("epochs", "mask", "kl_weight"))
    how += f" replay={recipe.replay}" if recipe.replay else ""
    return f"{what}{how}, seed {recipe.seed}"


WORDS = {
    "pack": "of the pack, and beyond 40 made by rule",
    "generated": "made by rule",
    "corrupted": "half of them corrupted",
    "refusing": "refusals and the pack",
    "balanced": "refusals, as many answers, and the pack",
    "hardest": "hardest of {pool} made by rule",
    "random": "of {pool} made by rule, at random",
}


def describe(recipe: Recipe) -> str:
    """What is learned, and how, for the page."""
    if recipe.dataset is None:
        return "nothing"
    what = WORDS[recipe.dataset.kind].format(pool=recipe.dataset.pool)
    return f"{'all numbers' if recipe.full else 'adapter'}: {recipe.dataset.count} {what}"


def duration(seconds: float) -> str:
    """As a person says it."""
    minutes, rest = divmod(max(1, round(seconds)), 60)
    if not minutes:
        return f"{rest} s"
    return f"{minutes} min" if minutes > 4 else f"{minutes} min {rest} s"
