"""Claim: tens of demonstrations teach the form itself, not their answers; more help less and less."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from chatlab.experiments import configs
from chatlab.experiments.claims.before_after import in_character
from chatlab.experiments.recipe import DatasetSpec, Questions, Recipe
from chatlab.experiments.scale import Scale
from chatlab.experiments.section import Curves, Found, Section, Series, Table
from chatlab.experiments.shares import Share, apart, well_formed
from chatlab.experiments.verdict import Part, Verdict

FORTY, HUNDRED, COPIED = 0.90, 0.95, 0.10


class Generalisation:
    """Good form on unseen prompts against the number of demonstrations."""

    name = "generalisation"
    title = "How many demonstrations"
    says = (
        "Forty examples are enough to answer prompts never seen: the model learned the pattern and not forty answers. "
        "For the chat format as such, 100 to 500 are plenty."
    )

    def recipes(self, scale: Scale) -> Sequence[Recipe]:
        sized = [recipe for size in scale.sizes for recipe in configs.seeds(scale, sized_config(scale, size))]
        return [*sized, *configs.seeds(scale, generated_config(scale))]

    def section(self, scale: Scale, found: Found) -> Section:
        by_size = {size: configs.all_of(scale, found, sized_config(scale, size)) for size in scale.sizes}
        generated = configs.all_of(scale, found, generated_config(scale))
        formed = {size: configs.pooled(some, well_formed, "unseen") for size, some in by_size.items()}
        manner = {size: configs.pooled(some, in_character, "unseen") for size, some in by_size.items()}
        copied = {size: Share(hits=sum(f.copied for f in some), of=formed[size].of) for size, some in by_size.items()}
        rows = [
            (
                str(size),
                str(formed[size]),
                str(manner[size]),
                str(copied[size]),
                f"{configs.aside(some).value:.2f}",
                str(some[0].steps),
                str(configs.forgetting(some)),
            )
            for size, some in by_size.items()
        ]
        rows.append(
            (
                f"{scale.usual} made by rule",
                str(configs.pooled(generated, well_formed, "unseen")),
                str(configs.pooled(generated, in_character, "unseen")),
                str(Share(hits=sum(f.copied for f in generated), of=len(generated) * scale.prompts)),
                f"{configs.aside(generated).value:.2f}",
                str(generated[0].steps),
                str(configs.forgetting(generated)),
            )
        )
        table = Table(
            caption="Prompts never seen, by the number of demonstrations",
            head=(
                "demonstrations",
                "good form",
                "in character too",
                "copied word for word",
                "loss aside",
                "steps",
                "forgetting",
            ),
            rows=tuple(rows),
        )
        chart = Curves(
            title="Form and character on unseen prompts",
            across="demonstrations",
            up="% of replies",
            ticks=scale.sizes,
            series=(_series("good form", formed), _series("in character too", manner)),
        )
        return Section(verdict=judged(formed, copied), tables=(table,), charts=(chart,), notes=NOTES)


NOTES = (
    "Settings are the app's defaults for each number, so more demonstrations also mean more steps.",
    "Up to 40 are drawn from the hand-written pack. Beyond that the rest is made by rule: building blocks of our own "
    "words put together by a program. The last row says what such demonstrations are worth by themselves.",
)


def sized_config(scale: Scale, size: int) -> configs.Config:
    """The usual arm where it has that size."""
    if size == scale.usual:
        return configs.usual(scale)
    return lambda seed: Recipe(
        dataset=DatasetSpec(kind="pack", count=size),
        seed=seed,
        settings=configs.fewer(scale),
        questions=Questions(unseen=scale.prompts),
    )


def generated_config(scale: Scale) -> configs.Config:
    return lambda seed: Recipe(
        dataset=DatasetSpec(kind="generated", count=scale.usual),
        seed=seed,
        settings=configs.fewer(scale),
        questions=Questions(unseen=scale.prompts),
    )


def judged(formed: Mapping[int, Share], copied: Mapping[int, Share]) -> Verdict:
    """Both by number of demonstrations; a number that was not tried leaves its parts open."""
    few, most = min(formed), max(formed)
    return Verdict(
        parts=(
            Part(
                says="Forty demonstrations generalise to prompts never seen",
                rule=f"good form at 40 is at least {FORTY:.0%}",
                found=_told(formed, 40),
                holds=formed[40].value >= FORTY if 40 in formed else None,
            ),
            Part(
                says="It learned the pattern, not the answers",
                rule=f"at 40, at most {COPIED:.0%} of the replies repeat an answer of a demonstration word for word",
                found=_told(copied, 40),
                holds=copied[40].value <= COPIED if 40 in copied else None,
            ),
            Part(
                says="A hundred are plenty for the format",
                rule=f"good form at 100 is at least {HUNDRED:.0%}",
                found=_told(formed, 100),
                holds=formed[100].value >= HUNDRED if 100 in formed else None,
            ),
            Part(
                says="More demonstrations teach the form better",
                rule=f"the interval at {most} lies above that at {few}",
                found=f"{few}: {formed[few]}; {most}: {formed[most]}",
                holds=apart(formed[few], formed[most]),
            ),
        )
    )


def _told(shares: Mapping[int, Share], size: int) -> str:
    return str(shares[size]) if size in shares else f"{size} were not tried"


def _series(label: str, shares: Mapping[int, Share]) -> Series:
    return Series(label=label, points=tuple(configs.in_percent(size, share) for size, share in shares.items()))
