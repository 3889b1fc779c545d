"""Claim: naive fine-tuning forgets much of what the base knew; an adapter, few passes and rehearsal keep nearly all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from chatlab.experiments import configs
from chatlab.experiments.recipe import DatasetSpec, Questions, Recipe, Setting
from chatlab.experiments.scale import Scale
from chatlab.experiments.section import Curves, Example, Found, Point, Section, Series, Table, Whiskers
from chatlab.experiments.shares import Share, Spread, good
from chatlab.experiments.verdict import Part, Verdict
from chatlab.training.defaults import settings_for

NAIVE, TARGET, PRODUCTION, FORMED = 30.0, 1.0, 3.0, 0.95
SMALL = 8_000_000
"""Parameters of the base whose default rate, passes and leash are the levers' too."""
FREE = (("leash", 0.0),)

NAIVE_ARM, OURS = "naive: all numbers, {passes}, no mix", "the app's defaults"
GENTLE = "a tenth of the rate"
LEVERS = (
    "LoRA in place of all numbers",
    "{few}",
    GENTLE,
    "old text mixed in (replay)",
    "the leash (KL to the base)",
)
"""Each alone against the naive training."""


class Forgetting:
    """Per cent by which perplexity on general prose rises, of naive training, of ours, and of each lever on its own."""

    name = "forgetting"
    title = "Forgetting, and what holds it off"
    says = (
        "Training every number for about 25 passes without any old data costs some 37 % on what the model knew. LoRA, "
        "one or two passes and old data mixed in bring that to 1 to 3 %."
    )

    def recipes(self, scale: Scale) -> Sequence[Recipe]:
        return [recipe for config in all_configs(scale).values() for recipe in configs.seeds(scale, config)]

    def section(self, scale: Scale, found: Found) -> Section:
        metrics = {name: configs.all_of(scale, found, config) for name, config in all_configs(scale).items()}
        forgot = {name: configs.forgetting(some) for name, some in metrics.items()}
        formed = {name: configs.pooled(some, good, "unseen") for name, some in metrics.items()}
        rows = [
            (
                name,
                str(forgot[name]),
                ", ".join(f"{each:+.1f}" for each in forgot[name].each),
                str(formed[name]),
                f"{configs.aside(some).value:.2f}",
                str(some[0].steps),
            )
            for name, some in metrics.items()
        ]
        table = Table(
            caption="What each training costs and gives",
            rows=tuple(rows),
            head=("training", "forgetting", "by seed", "good form on unseen prompts", "loss aside", "steps"),
        )
        naive, ours, levers = naive_name(scale), OURS, lever_names(scale)
        charts = (
            Whiskers(
                title="Forgetting: naive, each lever alone, the defaults",
                across="% (logarithmic)",
                level=NAIVE,
                names=(naive, *levers, ours),
                points=tuple(configs.at(0, forgot[name]) for name in (naive, *levers, ours)),
            ),
            Curves(
                title="What is learned against what is forgotten",
                across="forgetting, %",
                up="good form on unseen prompts, %",
                level=100 * FORMED,
                series=tuple(_place(name, forgot[name], formed[name]) for name in gentle_ones(forgot)),
            ),
        )
        variants = {"naive": metrics[naive][0], "defaults": metrics[ours][0]}
        asked = list(zip(*(variant.of("unseen") for variant in variants.values()), strict=True))[:6]
        examples = tuple(
            Example(
                prompt=some[0].prompt, said=tuple(configs.quoted(who, r) for who, r in zip(variants, some, strict=True))
            )
            for some in asked
        )
        alone = {name: forgot[name] for name in levers}
        verdict = judged(forgot[naive], forgot[GENTLE], forgot[ours], formed[ours], alone)
        return Section(verdict=verdict, tables=(table,), charts=charts, examples=examples, notes=NOTES)


NOTES = (
    "Forgetting is the rise in perplexity on two dozen pieces of general prose that no run reads. Intervals: 95 % "
    "bootstrap over the documents for each seed, from the lowest lower to the highest upper end.",
    "The base's own training data is not in the package, so what is mixed in are texts that the base wrote itself: "
    "learned again word by word (replay), or as a leash, by staying near the base's opinion of every next word.",
)


def naive_name(scale: Scale) -> str:
    return NAIVE_ARM.format(passes=_passes(scale.naive_passes))


def lever_names(scale: Scale) -> tuple[str, ...]:
    return tuple(name.format(few=_passes(_few(scale))) for name in LEVERS)


def all_configs(scale: Scale) -> Mapping[str, configs.Config]:
    """By name: naive, each lever alone, ours, and ours with one lever let go."""
    naive, few = ("passes", float(scale.naive_passes)), ("passes", float(_few(scale)))
    usual = settings_for(scale.usual, SMALL)
    rate, texts = ("learning_rate", usual.learning_rate), ("leash_texts", float(usual.leash_texts))
    held = (("leash", usual.leash), texts)
    lora, passes, gentle, replay, leash = lever_names(scale)
    levers = {
        naive_name(scale): _config(scale, (naive, rate, *FREE), full=True),
        lora: _config(scale, (naive, rate, *FREE)),
        passes: _config(scale, (few, rate, *FREE), full=True),
        gentle: _config(scale, (naive, ("learning_rate", usual.learning_rate / 10), *FREE), full=True),
        replay: _config(scale, (naive, rate, *FREE), full=True, replay=2),
        leash: _config(scale, (naive, rate, *held), full=True),
        OURS: configs.usual(scale),
    }
    if scale.first_look:
        return levers
    return levers | {
        "defaults, but no leash": _config(scale, (few, rate, *FREE)),
        "defaults, but all numbers": _config(scale, (few, rate, *held), full=True),
        f"defaults, but {_passes(scale.naive_passes)}": _config(scale, (naive, rate, *held)),
        "defaults, but the leash at 5": _config(scale, (few, rate, ("leash", 5.0), texts)),
        "defaults, but half the rate": _config(scale, (few, ("learning_rate", usual.learning_rate / 2), *held)),
    }


def gentle_ones(forgot: Mapping[str, Spread]) -> list[str]:
    """Those that fit on one linear axis."""
    return [name for name, spread in forgot.items() if spread.value < NAIVE] or list(forgot)


def judged(naive: Spread, gentle: Spread, ours: Spread, formed: Share, levers: Mapping[str, Spread]) -> Verdict:
    """Forgetting in per cent; `gentle` is naive training at a lower rate, `formed` the good form of `ours`.

    Each lever has to help on its own, whatever the seed.
    """
    return Verdict(
        parts=(
            Part(
                says="Naive fine-tuning forgets much",
                rule=f"more than {NAIVE:.0f} % on average, and at a tenth of the rate too",
                found=f"{naive}; at a tenth {gentle}",
                holds=min(naive.value, gentle.value) > NAIVE,
            ),
            Part(
                says="Kept within what production models forget",
                rule=f"the defaults: at most {PRODUCTION:.0f} % on average",
                found=str(ours),
                holds=ours.value <= PRODUCTION,
            ),
            Part(
                says="Kept within our own target",
                rule=f"the defaults: at most {TARGET:.0f} % on average",
                found=str(ours),
                holds=ours.value <= TARGET,
            ),
            Part(
                says="And the format is learned all the same",
                rule=f"the defaults: good form on at least {FORMED:.0%} of unseen prompts",
                found=str(formed),
                holds=formed.value >= FORMED,
            ),
            *(
                Part(
                    says=f"Helps on its own: {name}",
                    rule="less forgetting than the naive training, for every seed",
                    found=f"{spread} against {naive}",
                    holds=all(one < other for one, other in zip(spread.each, naive.each, strict=True)),
                )
                for name, spread in levers.items()
            ),
        )
    )


def _config(scale: Scale, settings: tuple[Setting, ...], full: bool = False, replay: int = 0) -> configs.Config:
    dataset = DatasetSpec(kind="pack", count=scale.usual)
    return lambda seed: Recipe(
        dataset=dataset,
        seed=seed,
        full=full,
        replay=replay,
        settings=settings,
        questions=Questions(unseen=scale.prompts),
    )


def _passes(number: int) -> str:
    return f"{number} pass" if number == 1 else f"{number} passes"


def _few(scale: Scale) -> int:
    return scale.passes or settings_for(scale.usual, SMALL).passes


def _place(name: str, forgot: Spread, formed: Share) -> Series:
    low, high = formed.interval
    point = Point(x=forgot.value, y=100 * formed.value, low=100 * low, high=100 * high)
    return Series(label=name, points=(point,))
