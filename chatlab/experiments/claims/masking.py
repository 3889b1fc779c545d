"""Claim: without the loss mask the model learns to write the user's part too, and learns its own more slowly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from statistics import mean

from chatlab.evaluation.statistics import fisher_exact
from chatlab.experiments import configs
from chatlab.experiments.recipe import Recipe
from chatlab.experiments.results import Asked, RunMetrics
from chatlab.experiments.scale import Scale
from chatlab.experiments.section import Curves, Example, Found, Point, Section, Series, Table, Whiskers
from chatlab.experiments.shares import Share, role_leak, well_formed
from chatlab.experiments.verdict import Part, Verdict

CHANCE, SELDOM = 0.05, 0.02
WAYS: tuple[tuple[str, Asked], ...] = (("likeliest", "unseen"), ("sampled", "drawn"))


class Masking:
    """The same demonstrations with every token graded, and with the answers alone."""

    name = "masking"
    title = "The loss mask"
    says = (
        "Graded on the user's words as well, a model sometimes goes on to write the user's next message. With the mask "
        "it stays in its part, and converges more cleanly."
    )

    def recipes(self, scale: Scale) -> Sequence[Recipe]:
        return [*configs.seeds(scale, configs.usual(scale)), *configs.seeds(scale, bare(scale))]

    def section(self, scale: Scale, found: Found) -> Section:
        masked, unmasked = (configs.all_of(scale, found, config) for config in (configs.usual(scale), bare(scale)))
        sides = {"with the mask": masked, "without": unmasked}
        rows = [
            (
                f"{name}, {way}",
                str(configs.pooled(some, role_leak, asked)),
                _by_seed(some, asked),
                str(configs.pooled(some, well_formed, asked)),
            )
            for name, some in sides.items()
            for way, asked in WAYS
        ]
        table = Table(
            caption="Replies to unseen prompts",
            rows=tuple(rows),
            head=("training, way of drawing", "write the user's turn", "by seed", "good form"),
        )
        stray, bare_stray = (configs.pooled(some, role_leak, "unseen", "drawn") for some in (masked, unmasked))
        charts = (
            Curves(
                title="Loss on answers kept aside",
                across="% of the way",
                up="nats per token",
                series=tuple(_curve(name, some) for name, some in sides.items()),
            ),
            Whiskers(
                title="Replies that write the user's turn",
                across="% of replies",
                names=tuple(sides),
                points=tuple(configs.in_percent(0, share) for share in (stray, bare_stray)),
            ),
        )
        verdict = judged(stray, bare_stray, [_losses(one) for one in masked], [_losses(one) for one in unmasked])
        return Section(
            verdict=verdict, tables=(table,), charts=charts, examples=tuple(_examples(masked, unmasked)), notes=NOTES
        )


NOTES = (
    "A reply writes the user's turn if it holds a marker that opens a turn, or a line that begins with User:, Human:, "
    "Assistant: or the like. Both trainings keep the app's KL penalty. The loss is always that of the answers alone.",
)


def bare(scale: Scale) -> configs.Config:
    """The usual arm with every token graded."""
    usual = configs.usual(scale)

    def config(seed: int) -> Recipe:
        recipe = usual(seed)
        questions = replace(recipe.questions, guide=False, facts=0)
        return replace(recipe, settings=(*recipe.settings, ("mask", 0.0)), questions=questions)

    return config


def judged(
    masked: Share, unmasked: Share, with_mask: Sequence[Sequence[float]], without: Sequence[Sequence[float]]
) -> Verdict:
    """Strays of both, of as many replies each; and losses on the way, one list a seed, both at the same marks."""
    p_value = fisher_exact(masked.hits, unmasked.hits, masked.of)
    ends = [(one[-1], other[-1]) for one, other in zip(with_mask, without, strict=True)]
    means = list(zip(_means(with_mask), _means(without), strict=True))[1:]
    below = Share(hits=sum(one <= other for one, other in means), of=len(means))
    return Verdict(
        parts=(
            Part(
                says="Without the mask replies write the user's turn",
                rule=f"more often than with it, and less than {CHANCE:.0%} likely by chance (Fisher, one-sided)",
                found=f"with {masked}; without {unmasked}; chance {p_value:.2g}",
                holds=unmasked.hits > masked.hits and p_value < CHANCE,
            ),
            Part(
                says="With the mask it stays in its part",
                rule=f"at most {SELDOM:.0%} of the replies write the user's turn",
                found=str(masked),
                holds=masked.value <= SELDOM,
            ),
            Part(
                says="The mask teaches the answers better",
                rule="the final loss aside is lower with it, for every seed",
                found="; ".join(f"{one:.3f} against {other:.3f}" for one, other in ends),
                holds=all(one < other for one, other in ends),
            ),
            Part(
                says="It converges more cleanly",
                rule="its mean loss aside is the lower one at nine marks of ten",
                found=f"lower at {below.hits} of {below.of} marks",
                holds=below.value >= 0.9,
            ),
        )
    )


def _by_seed(some: Sequence[RunMetrics], asked: Asked) -> str:
    return ", ".join(str(configs.pooled([one], role_leak, asked).hits) for one in some)


def _means(curves: Sequence[Sequence[float]]) -> list[float]:
    return [mean(values) for values in zip(*curves, strict=True)]


def _losses(metrics: RunMetrics) -> list[float]:
    return [loss for _, loss in metrics.curve]


def _curve(label: str, some: Sequence[RunMetrics]) -> Series:
    """Mean over seeds, and from the lowest to the highest of them."""
    points = []
    for marks in zip(*(one.curve for one in some), strict=True):
        losses = [loss for _, loss in marks]
        points.append(Point(x=100 * marks[0][0], y=mean(losses), low=min(losses), high=max(losses)))
    return Series(label=label, points=tuple(points))


def _examples(masked: Sequence[RunMetrics], unmasked: Sequence[RunMetrics]) -> list[Example]:
    """Where the unmasked one strays, the first of them."""
    found = []
    for one, other in zip(masked, unmasked, strict=True):
        for kept, lost in zip(one.of("drawn"), other.of("drawn"), strict=True):
            if role_leak(lost):
                said = (configs.quoted("with the mask", kept), configs.quoted("without", lost))
                found.append(Example(prompt=kept.prompt, said=said))
    return found[:6]
