"""Recipes that several claims share, and their figures put together over seeds."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from chatlab.evaluation.unseen import Reply
from chatlab.experiments.recipe import DatasetSpec, Questions, Recipe, Setting
from chatlab.experiments.results import Asked, RunMetrics
from chatlab.experiments.scale import Scale
from chatlab.experiments.section import Found, Point, QuotedReply
from chatlab.experiments.shares import Share, Spread, enveloped, ranged, share

Config = Callable[[int], Recipe]
"""The same treatment under any seed."""


def everything(scale: Scale) -> Questions:
    """Recipes that several claims share."""
    return Questions(unseen=scale.prompts, draws=scale.draws, guide=True, facts=scale.facts)


def base(scale: Scale) -> Recipe:
    """Nothing learned."""
    return Recipe(questions=everything(scale))


def usual(scale: Scale) -> Config:
    """What the app does by default with the stage pack."""
    dataset = DatasetSpec(kind="pack", count=scale.usual)
    return lambda seed: Recipe(
        dataset=dataset, seed=seed, settings=fewer(scale), questions=everything(scale), curve=True
    )


def fewer(scale: Scale) -> tuple[Setting, ...]:
    """The epochs of a first look, if it is one."""
    return (("epochs", float(scale.epochs)),) if scale.epochs else ()


def seeds(scale: Scale, config: Config) -> list[Recipe]:
    return [config(seed) for seed in scale.every_seed]


def all_of(scale: Scale, found: Found, config: Config) -> list[RunMetrics]:
    return [found[recipe] for recipe in seeds(scale, config)]


def pooled(metrics: Sequence[RunMetrics], holds: Callable[[Reply], bool], *asked: Asked) -> Share:
    """Share of all replies of all seeds to what was asked."""
    return share([reply for each in metrics for kind in asked for reply in each.of(kind)], holds)


def forgetting(metrics: Sequence[RunMetrics]) -> Spread:
    return enveloped([each.forgetting for each in metrics], [each.forgetting_interval for each in metrics])


def aside(metrics: Sequence[RunMetrics]) -> Spread:
    return ranged([each.held_out_loss for each in metrics])


def in_percent(x: float, value: Share) -> Point:
    low, high = value.interval
    return Point(x=x, y=100 * value.value, low=100 * low, high=100 * high)


def at(x: float, value: Spread) -> Point:
    return Point(x=x, y=value.value, low=value.interval[0], high=value.interval[1])


def quoted(who: str, reply: Reply, remark: str = "") -> QuotedReply:
    """With a word on what is wrong with its form, unless there is a better remark."""
    faults = {
        "never stops": not reply.form.stops,
        "says nothing": not reply.form.non_empty,
        "speaks for the person": not reply.form.no_role_leak,
        "says the prompt again": not reply.form.no_prompt_echo,
    }
    return QuotedReply(
        who=who, text=reply.text, remark=remark or ", ".join(fault for fault, is_so in faults.items() if is_so)
    )
