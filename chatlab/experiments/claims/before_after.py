"""Claim: the base continues a prompt, the tuned model answers it, also where it has never seen the prompt."""

from __future__ import annotations

import re
from collections.abc import Sequence

from chatlab.evaluation.unseen import Reply
from chatlab.experiments import configs
from chatlab.experiments.data import datasets
from chatlab.experiments.recipe import Recipe
from chatlab.experiments.results import RunMetrics
from chatlab.experiments.scale import Scale
from chatlab.experiments.section import Example, Found, Section, Table, Whiskers
from chatlab.experiments.shares import Share, well_formed
from chatlab.experiments.verdict import Part, Verdict

MANNER = re.compile(r"\b(thee|thou|thy|thine|doth|hath|pray|alas|ay|art|hast|dost|shalt)\b|\bfriend\b", re.IGNORECASE)
"""Words of the stage: one of them, in a reply of good form, counts as speaking in character."""

CONTINUES, ANSWERS, IN_CHARACTER = 0.10, 0.90, 0.80


class BeforeAfter:
    """The guide's table of three prompts, and the same on prompts that no demonstration holds."""

    name = "before-after"
    title = "Before and after"
    says = (
        "A base model continues whatever it is given. After fine-tuning on forty demonstrations the same model, no "
        "larger than before, answers: at once, in one manner, and it knows when to stop."
    )

    def recipes(self, scale: Scale) -> Sequence[Recipe]:
        return [configs.base(scale), *configs.seeds(scale, configs.usual(scale))]

    def section(self, scale: Scale, found: Found) -> Section:
        before, after = found[configs.base(scale)], configs.all_of(scale, found, configs.usual(scale))
        rows = {"guide's three": "guide", "unseen": "unseen", "unseen, sampled as in chat": "drawn"}
        shares = {
            name: (configs.pooled([before], well_formed, asked), configs.pooled(after, well_formed, asked))  # type: ignore[arg-type]
            for name, asked in rows.items()
        }
        manner = configs.pooled([before], in_character, "unseen"), configs.pooled(after, in_character, "unseen")
        table = Table(
            caption="Replies of good form: they stop by themselves, say something, speak for nobody else, and do not "
            "begin by repeating the prompt",
            head=("prompts", "base", f"after {scale.usual} demonstrations"),
            rows=(
                *((name, str(one), str(other)) for name, (one, other) in shares.items()),
                ("unseen, in character too", str(manner[0]), str(manner[1])),
            ),
        )
        chart = Whiskers(
            title="Good form on unseen prompts",
            across="% of replies",
            limits=(0, 100),
            names=("base", "base, sampled", "after", "after, sampled"),
            points=tuple(
                configs.in_percent(0, share)
                for share in (
                    shares["unseen"][0],
                    shares["unseen, sampled as in chat"][0],
                    shares["unseen"][1],
                    shares["unseen, sampled as in chat"][1],
                )
            ),
        )
        verdict = judged(shares["unseen"][0], shares["guide's three"][1], shares["unseen"][1], manner[1])
        return Section(
            verdict=verdict,
            tables=(table,),
            charts=(chart,),
            examples=tuple(_examples(before, after[0])),
            notes=("The first three prompts below are the guide's own and are in the pack; no other prompt is.",),
        )


def judged(before: Share, guide: Share, after: Share, manner: Share) -> Verdict:
    """`before` and `after` of unseen prompts; `guide` and `manner` after training."""
    return Verdict(
        parts=(
            Part(
                says="The base continues the prompt in place of answering it",
                rule=f"at most {CONTINUES:.0%} of its replies to unseen prompts are of good form",
                found=str(before),
                holds=before.value <= CONTINUES,
            ),
            Part(
                says="After training it answers the guide's three prompts",
                rule="all replies of all seeds are of good form",
                found=str(guide),
                holds=guide.hits == guide.of > 0,
            ),
            Part(
                says="It answers prompts that it has never seen",
                rule=f"at least {ANSWERS:.0%} are of good form",
                found=str(after),
                holds=after.value >= ANSWERS,
            ),
            Part(
                says="It speaks in one manner, that of the demonstrations",
                rule=f"at least {IN_CHARACTER:.0%} of unseen "
                "prompts are answered in good form and with a word of the stage",
                found=str(manner),
                holds=manner.value >= IN_CHARACTER,
            ),
        )
    )


def in_character(reply: Reply) -> bool:
    return reply.form.well_formed and bool(MANNER.search(reply.text))


def _examples(before: RunMetrics, after: RunMetrics) -> list[Example]:
    pairs = [*zip(before.of("guide"), after.of("guide"), strict=True)]
    assert len(pairs) == len(datasets.GUIDE)
    pairs += list(zip(before.of("unseen"), after.of("unseen"), strict=True))[:9]
    return [
        Example(prompt=one.prompt, said=(configs.quoted("base", one), configs.quoted("after", other)))
        for one, other in pairs
    ]
