"""Claim: few good examples beat many careless ones, and of many the hardest few are enough."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

from chatlab.evaluation.report import arms
from chatlab.evaluation.report.claims.before_after import in_character
from chatlab.evaluation.report.claims.generalisation import sized_arm
from chatlab.evaluation.report.recipe import Lesson, Questions, Recipe
from chatlab.evaluation.report.scale import Scale
from chatlab.evaluation.report.section import Curves, Example, Found, Section, Series, Table, Whiskers
from chatlab.evaluation.report.shares import Share, Spread, apart, good
from chatlab.evaluation.report.verdict import Part, Verdict

FEW = 4
"""A hundredth of the many."""
Choice = Literal["hardest", "random"]


class Quality:
    """Pruned sets against as many drawn at random, and few good demonstrations against many half spoiled ones."""

    name = "quality"
    title = "Quality over quantity"
    says = (
        "One good example is worth more than a hundred noisy ones. Of a large set it is enough, even better, to keep "
        "the 5 to 50 % that the model finds hardest."
    )

    def recipes(self, scale: Scale) -> Sequence[Recipe]:
        pruned = [pruned_arm(scale, share, choice) for share in scale.shares for choice in ("hardest", "random")]  # type: ignore[arg-type]
        every = [pruned_arm(scale, 100, "random"), *pruned, *amounts(scale).values()]
        return [recipe for arm in every for recipe in arms.seeds(scale, arm)]

    def section(self, scale: Scale, found: Found) -> Section:
        whole = arms.all_of(scale, found, pruned_arm(scale, 100, "random"))
        sets = {
            (share, choice): arms.all_of(scale, found, pruned_arm(scale, share, choice))
            for share in scale.shares
            for choice in ("hardest", "random")
        }  # type: ignore[arg-type]
        losses = {name: arms.aside(some) for name, some in sets.items()}
        few = {name: arms.all_of(scale, found, arm) for name, arm in amounts(scale).items()}
        formed = {name: arms.pooled(some, good, "unseen") for name, some in few.items()}
        tables = (
            Table(
                caption=f"{scale.pool} demonstrations made by rule, pruned; equally many steps",
                head=("kept", "loss aside, mean and range", "good form", "in character too", "demonstrations"),
                rows=(
                    _row("all", whole),
                    *(_row(f"{share} %, {choice}", some) for (share, choice), some in sets.items()),
                ),
            ),
            Table(
                caption="Few good ones and many of which half are spoiled",
                head=("demonstrations", "loss aside, mean and range", "good form", "in character too", "learned from"),
                rows=tuple(_row(name, some) for name, some in few.items()),
            ),
        )  # fmt: skip
        kept = tuple(_curve(choice, losses, arms.aside(whole)) for choice in ("hardest", "random"))  # type: ignore[arg-type]
        charts = (
            Curves(title="Loss on answers kept aside, by what was kept", across="% of the pool", up="nats a token",
                   ticks=(*sorted(scale.shares), 100), series=kept),
            Whiskers(title="Good form on unseen prompts", across="% of replies", names=tuple(formed), whole=(0, 100),
                     points=tuple(arms.in_percent(0, share) for share in formed.values())),
        )  # fmt: skip
        good_few, hundredth, spoiled, _ = formed.values()
        verdict = judged(losses, arms.aside(whole), good_few, hundredth, spoiled)
        voices = {name: some[0] for name, some in few.items()}
        asked = list(zip(*(voice.of("unseen") for voice in voices.values()), strict=True))[:5]
        examples = tuple(
            Example(prompt=some[0].prompt, said=tuple(arms.quoted(who, r) for who, r in zip(voices, some, strict=True)))
            for some in asked
        )
        return Section(verdict=verdict, tables=tables, charts=charts, examples=examples, notes=NOTES)


NOTES = (
    "Hardest means the highest loss of the base on the answer. The loss aside is that on 40 hand-written answers in "
    "the same voice, which no run learns.",
    "Spoiled, by turns: cut off in the middle; another's answer; the question said again first; going on to write the "
    "next turns; the words out of order. The good ones are the hand-written pack; the many are it and demonstrations "
    "made by rule.",
)


def pruned_arm(scale: Scale, share: int, choice: Choice) -> arms.Arm:
    """Fewer demonstrations are read as much more often: every set makes as many steps."""
    count = max(FEW, round(scale.pool * share / 100))
    passes = max(1, round(scale.pool_passes * scale.pool / count))
    lesson = Lesson(kind=choice, count=count, pool=scale.pool)
    return lambda seed: Recipe(
        lesson=lesson, seed=seed, questions=Questions(unseen=scale.prompts),
        settings=(("passes", float(passes)), ("batch", 4.0), ("held_out", 0.0), ("leash_texts", 1.0)),
    )  # fmt: skip


def amounts(scale: Scale) -> Mapping[str, arms.Arm]:
    """By name: few good, a hundredth as many good, many half spoiled, many good."""
    few, many = sized_arm(scale, FEW), sized_arm(scale, scale.many)

    def spoiled(seed: int) -> Recipe:
        return replace(many(seed), lesson=Lesson(kind="spoiled", count=scale.many))

    return {
        f"{scale.usual} good": arms.usual(scale), f"{FEW} good": few, f"{scale.many}, half spoiled": spoiled,
        f"{scale.many} good": many,
    }  # fmt: skip


def judged(
    losses: Mapping[tuple[int, str], Spread], whole: Spread, few: Share, hundredth: Share, spoiled: Share
) -> Verdict:
    """Losses by share kept and choice; good form of few good ones, of FEW, and of the many half spoiled."""
    return Verdict(parts=(
        Part(says="Few good demonstrations beat ten times as many careless ones", rule="their good form's interval "
             "lies above the other's", found=f"{few} against {spoiled}", holds=apart(spoiled, few)),
        Part(says="One good demonstration is worth more than a hundred careless ones", rule="a hundredth as many good "
             "ones give good form more often, the intervals apart", found=f"{hundredth} against {spoiled}",
             holds=apart(spoiled, hundredth)),
        *(Part(says=f"The hardest {share} % teach more than as many drawn at random", rule="the loss aside is lower, "
               "for every seed", found=_against(losses[share, "hardest"], losses[share, "random"]),
               holds=_lower(losses[share, "hardest"], losses[share, "random"]))
          for share, choice in losses if choice == "hardest"),
        Part(says="The hardest half teaches no less than all", rule="the loss aside is no higher, for every seed, in "
             "as many steps", found=_against(losses[50, "hardest"], whole),
             holds=all(one <= other for one, other in zip(losses[50, "hardest"].each, whole.each, strict=True))),
    ))  # fmt: skip


def _lower(one: Spread, other: Spread) -> bool:
    return all(mine < theirs for mine, theirs in zip(one.each, other.each, strict=True))


def _against(one: Spread, other: Spread) -> str:
    return "; ".join(f"{mine:.3f} against {theirs:.3f}" for mine, theirs in zip(one.each, other.each, strict=True))


def _row(name: str, some: Sequence[arms.Figures]) -> tuple[str, ...]:
    loss = arms.aside(some)
    return (
        name, f"{loss.value:.3f} ({loss.interval[0]:.3f} to {loss.interval[1]:.3f})",
        str(arms.pooled(some, good, "unseen")), str(arms.pooled(some, in_character, "unseen")),
        str(some[0].demonstrations),
    )  # fmt: skip


def _curve(choice: Choice, losses: Mapping[tuple[int, str], Spread], whole: Spread) -> Series:
    points = [arms.at(share, spread) for (share, name), spread in sorted(losses.items()) if name == choice]
    return Series(label=choice, points=(*points, arms.at(100, whole)))
