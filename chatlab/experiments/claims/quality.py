"""Claim: few good examples beat many careless ones, and of many the hardest few are enough."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

from chatlab.experiments import configs
from chatlab.experiments.claims.before_after import in_character
from chatlab.experiments.claims.generalisation import sized_config
from chatlab.experiments.recipe import DatasetSpec, Questions, Recipe
from chatlab.experiments.results import RunMetrics
from chatlab.experiments.scale import Scale
from chatlab.experiments.section import Curves, Example, Found, Section, Series, Table, Whiskers
from chatlab.experiments.shares import Share, Spread, apart, well_formed
from chatlab.experiments.verdict import Part, Verdict

FEW = 4
"""A hundredth of the many."""
Choice = Literal["hardest", "random"]


class Quality:
    """Pruned sets against as many drawn at random, and few good demonstrations against many half corrupted ones."""

    name = "quality"
    title = "Quality over quantity"
    says = (
        "One good example is worth more than a hundred noisy ones. Of a large set it is enough, even better, to keep "
        "the 5 to 50 % that the model finds hardest."
    )

    def recipes(self, scale: Scale) -> Sequence[Recipe]:
        pruned = [pruned_config(scale, share, choice) for share in scale.shares for choice in ("hardest", "random")]
        every = [pruned_config(scale, 100, "random"), *pruned, *amounts(scale).values()]
        return [recipe for config in every for recipe in configs.seeds(scale, config)]

    def section(self, scale: Scale, found: Found) -> Section:
        full = configs.all_of(scale, found, pruned_config(scale, 100, "random"))
        sets = {
            (share, choice): configs.all_of(scale, found, pruned_config(scale, share, choice))
            for share in scale.shares
            for choice in ("hardest", "random")
        }
        losses = {name: configs.aside(some) for name, some in sets.items()}
        few = {name: configs.all_of(scale, found, config) for name, config in amounts(scale).items()}
        formed = {name: configs.pooled(some, well_formed, "unseen") for name, some in few.items()}
        tables = (
            Table(
                caption=f"{scale.pool} demonstrations made by rule, pruned; equally many steps",
                head=("kept", "loss aside, mean and range", "good form", "in character too", "demonstrations"),
                rows=(
                    _row("all", full),
                    *(_row(f"{share} %, {choice}", some) for (share, choice), some in sets.items()),
                ),
            ),
            Table(
                caption="Few good ones and many of which half are corrupted",
                head=("demonstrations", "loss aside, mean and range", "good form", "in character too", "learned from"),
                rows=tuple(_row(name, some) for name, some in few.items()),
            ),
        )
        kept = tuple(_curve(choice, losses, configs.aside(full)) for choice in ("hardest", "random"))
        charts = (
            Curves(
                title="Loss on answers kept aside, by what was kept",
                across="% of the pool",
                up="nats per token",
                ticks=(*sorted(scale.shares), 100),
                series=kept,
            ),
            Whiskers(
                title="Good form on unseen prompts",
                across="% of replies",
                names=tuple(formed),
                limits=(0, 100),
                points=tuple(configs.in_percent(0, share) for share in formed.values()),
            ),
        )
        good_few, hundredth, corrupted, _ = formed.values()
        verdict = judged(losses, configs.aside(full), good_few, hundredth, corrupted)
        models = {name: some[0] for name, some in few.items()}
        asked = list(zip(*(model.of("unseen") for model in models.values()), strict=True))[:5]
        examples = tuple(
            Example(
                prompt=some[0].prompt, said=tuple(configs.quoted(who, r) for who, r in zip(models, some, strict=True))
            )
            for some in asked
        )
        return Section(verdict=verdict, tables=tables, charts=charts, examples=examples, notes=NOTES)


NOTES = (
    "Hardest means the highest loss of the base on the answer. The loss aside is that on 40 hand-written answers in "
    "the same voice, which no run learns.",
    "Corrupted, by turns: cut off in the middle; another's answer; the question said again first; going on to write "
    "the next turns; the words out of order. The good ones are the hand-written pack; the many are it and "
    "demonstrations made by rule.",
)


def pruned_config(scale: Scale, share: int, choice: Choice) -> configs.Config:
    """Fewer demonstrations are read as much more often: every set makes as many steps."""
    count = max(FEW, round(scale.pool * share / 100))
    epochs = max(1, round(scale.pool_epochs * scale.pool / count))
    dataset = DatasetSpec(kind=choice, count=count, pool=scale.pool)
    return lambda seed: Recipe(
        dataset=dataset,
        seed=seed,
        questions=Questions(unseen=scale.prompts),
        settings=(("epochs", float(epochs)), ("batch_size", 4.0), ("held_out", 0.0), ("kl_samples", 1.0)),
    )


def amounts(scale: Scale) -> Mapping[str, configs.Config]:
    """By name: few good, a hundredth as many good, many half corrupted, many good."""
    few, many = sized_config(scale, FEW), sized_config(scale, scale.many)

    def corrupted(seed: int) -> Recipe:
        return replace(many(seed), dataset=DatasetSpec(kind="corrupted", count=scale.many))

    return {
        f"{scale.usual} good": configs.usual(scale),
        f"{FEW} good": few,
        f"{scale.many}, half corrupted": corrupted,
        f"{scale.many} good": many,
    }


def judged(
    losses: Mapping[tuple[int, str], Spread], full: Spread, few: Share, hundredth: Share, corrupted: Share
) -> Verdict:
    """Losses by share kept and choice; good form of few good ones, of FEW, and of the many half corrupted."""
    return Verdict(
        parts=(
            Part(
                says="Few good demonstrations beat ten times as many careless ones",
                rule="their good form's interval lies above the other's",
                found=f"{few} against {corrupted}",
                holds=apart(corrupted, few),
            ),
            Part(
                says="One good demonstration is worth more than a hundred careless ones",
                rule="a hundredth as many good ones give good form more often, the intervals apart",
                found=f"{hundredth} against {corrupted}",
                holds=apart(corrupted, hundredth),
            ),
            *(
                Part(
                    says=f"The hardest {share} % teach more than as many drawn at random",
                    rule="the loss aside is lower, for every seed",
                    found=_against(losses[share, "hardest"], losses[share, "random"]),
                    holds=_lower(losses[share, "hardest"], losses[share, "random"]),
                )
                for share, choice in losses
                if choice == "hardest"
            ),
            Part(
                says="The hardest half teaches no less than all",
                rule="the loss aside is no higher, for every seed, in as many steps",
                found=_against(losses[50, "hardest"], full),
                holds=all(one <= other for one, other in zip(losses[50, "hardest"].each, full.each, strict=True)),
            ),
        )
    )


def _lower(one: Spread, other: Spread) -> bool:
    return all(mine < theirs for mine, theirs in zip(one.each, other.each, strict=True))


def _against(one: Spread, other: Spread) -> str:
    return "; ".join(f"{mine:.3f} against {theirs:.3f}" for mine, theirs in zip(one.each, other.each, strict=True))


def _row(name: str, some: Sequence[RunMetrics]) -> tuple[str, ...]:
    loss = configs.aside(some)
    return (
        name,
        f"{loss.value:.3f} ({loss.interval[0]:.3f} to {loss.interval[1]:.3f})",
        str(configs.pooled(some, well_formed, "unseen")),
        str(configs.pooled(some, in_character, "unseen")),
        str(some[0].demonstrations),
    )


def _curve(choice: Choice, losses: Mapping[tuple[int, str], Spread], full: Spread) -> Series:
    points = [configs.at(share, spread) for (share, name), spread in sorted(losses.items()) if name == choice]
    return Series(label=choice, points=(*points, configs.at(100, full)))
