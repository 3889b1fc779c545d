"""Claim: the base continues a prompt, the tuned model answers it, also where it has never seen the prompt."""

from __future__ import annotations

import re
from collections.abc import Sequence

from chatlab.evaluation.report import arms, lessons
from chatlab.evaluation.report.figures import Figures
from chatlab.evaluation.report.recipe import Recipe
from chatlab.evaluation.report.scale import Scale
from chatlab.evaluation.report.section import Example, Found, Section, Table, Whiskers
from chatlab.evaluation.report.shares import Share, good
from chatlab.evaluation.report.verdict import Part, Verdict
from chatlab.evaluation.unseen import Reply

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
        return [arms.base(scale), *arms.seeds(scale, arms.usual(scale))]

    def section(self, scale: Scale, found: Found) -> Section:
        before, after = found[arms.base(scale)], arms.all_of(scale, found, arms.usual(scale))
        rows = {"guide's three": "guide", "unseen": "unseen", "unseen, sampled as in chat": "drawn"}
        shares = {
            name: (arms.pooled([before], good, asked), arms.pooled(after, good, asked))  # type: ignore[arg-type]
            for name, asked in rows.items()
        }
        manner = arms.pooled([before], in_character, "unseen"), arms.pooled(after, in_character, "unseen")
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
            title="Good form on unseen prompts", across="% of replies", whole=(0, 100),
            names=("base", "base, sampled", "after", "after, sampled"),
            points=tuple(
                arms.in_percent(0, share)
                for share in (shares["unseen"][0], shares["unseen, sampled as in chat"][0], shares["unseen"][1],
                              shares["unseen, sampled as in chat"][1])
            ),
        )  # fmt: skip
        verdict = judged(shares["unseen"][0], shares["guide's three"][1], shares["unseen"][1], manner[1])
        return Section(
            verdict=verdict, tables=(table,), charts=(chart,), examples=tuple(_examples(before, after[0])),
            notes=("The first three prompts below are the guide's own and are in the pack; no other prompt is.",),
        )  # fmt: skip


def judged(before: Share, guide: Share, after: Share, manner: Share) -> Verdict:
    """`before` and `after` of unseen prompts; `guide` and `manner` after training."""
    return Verdict(parts=(
        Part(says="The base continues the prompt in place of answering it", rule=f"at most {CONTINUES:.0%} of its "
             "replies to unseen prompts are of good form", found=str(before), holds=before.value <= CONTINUES),
        Part(says="After training it answers the guide's three prompts", rule="all replies of all seeds are of good "
             "form", found=str(guide), holds=guide.hits == guide.of > 0),
        Part(says="It answers prompts that it has never seen", rule=f"at least {ANSWERS:.0%} are of good form",
             found=str(after), holds=after.value >= ANSWERS),
        Part(says="It speaks in one manner, that of the demonstrations", rule=f"at least {IN_CHARACTER:.0%} of unseen "
             "prompts are answered in good form and with a word of the stage", found=str(manner),
             holds=manner.value >= IN_CHARACTER),
    ))  # fmt: skip


def in_character(reply: Reply) -> bool:
    return reply.form.good and bool(MANNER.search(reply.text))


def _examples(before: Figures, after: Figures) -> list[Example]:
    pairs = [*zip(before.of("guide"), after.of("guide"), strict=True)]
    assert len(pairs) == len(lessons.GUIDE)
    pairs += list(zip(before.of("unseen"), after.of("unseen"), strict=True))[:9]
    return [
        Example(prompt=one.prompt, said=(arms.quoted("base", one), arms.quoted("after", other))) for one, other in pairs
    ]
