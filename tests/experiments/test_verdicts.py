"""What the report says of its figures: a claim holds only where its parts do."""

from __future__ import annotations

import math

import pytest

from chatlab.experiments.claims import (
    before_after,
    forgetting,
    generalisation,
    hallucination,
    masking,
    quality,
)
from chatlab.experiments.shares import Share, Spread
from chatlab.experiments.verdict import Part, Verdict


def share(per_cent: float, of: int = 240) -> Share:
    return Share(hits=round(per_cent * of / 100), of=of)


def spread(*each: float) -> Spread:
    return Spread(each=each, interval=(min(each), max(each)))


def answers(invented: float, names: float, plain: float) -> hallucination.Answers:
    return hallucination.Answers(
        invented=share(invented, 180), refused_names=share(names, 60), refused_plain=share(plain, 60)
    )


def held(verdict: Verdict) -> list[bool | None]:
    return [part.holds for part in verdict.parts]


def test_a_claim_is_reproduced_only_if_all_of_its_parts_are() -> None:
    yes, no, open_ = (Part(says="", rule="", found="", holds=holds) for holds in (True, False, None))
    outcomes = [Verdict(parts=parts).outcome for parts in ((yes, yes), (yes, no), (no, no), (yes, open_), ())]
    assert outcomes == ["reproduced", "partly reproduced", "not reproduced", "not measured", "not measured"]


@pytest.mark.parametrize(
    ("verdict", "expected"),
    [
        (before_after.judged(share(0), share(100, 9), share(95), share(90)), [True] * 4),
        (before_after.judged(share(30), share(80, 9), share(60), share(40)), [False] * 4),
        (
            generalisation.judged({10: share(60), 40: share(95), 100: share(97), 400: share(99)}, {40: share(2)}),
            [True] * 4,
        ),
        (
            generalisation.judged({10: share(95), 40: share(80), 100: share(90), 400: share(95)}, {40: share(30)}),
            [False] * 4,
        ),
        (generalisation.judged({10: share(60), 20: share(95)}, {10: share(1)}), [None, None, None, True]),
        (masking.judged(share(0), share(10), [[5, 4, 3]] * 3, [[5, 4.5, 3.5]] * 3), [True] * 4),
        (masking.judged(share(5), share(5), [[5, 4.5, 3.5]] * 3, [[5, 4, 3]] * 3), [False] * 4),
        (masking.judged(share(0), share(0.5), [[5, 4, 3]] * 3, [[5, 4.5, 3.5]] * 3), [False, True, True, True]),
        (
            forgetting.judged(
                spread(60, 70, 80), spread(40, 40, 40), spread(0.5, 0.9, 1.1), share(97), {"LoRA": spread(9, 9, 9)}
            ),
            [True] * 5,
        ),
        (
            forgetting.judged(spread(9, 9, 9), spread(9, 9, 9), spread(4, 5, 6), share(90), {"LoRA": spread(8, 8, 10)}),
            [False] * 5,
        ),
        (
            forgetting.judged(spread(60, 70, 80), spread(9, 9, 9), spread(1.3, 1.3, 1.3), share(97), {}),
            [False, True, False, True],
        ),
        (hallucination.judged(answers(100, 0, 0), answers(10, 20, 5)), [True] * 4),
        (hallucination.judged(answers(50, 0, 0), answers(40, 60, 20)), [False] * 4),
        (hallucination.judged(answers(100, 0, 0), answers(2, 95, 4)), [True, True, False, False]),
        (
            quality.judged(
                {(50, "hardest"): spread(3, 3), (50, "random"): spread(4, 4)},
                spread(3.1, 3.1),
                share(98),
                share(90),
                share(50),
            ),
            [True] * 4,
        ),
        (
            quality.judged(
                {(50, "hardest"): spread(3, 5), (50, "random"): spread(4, 4)},
                spread(3.1, 3.1),
                share(60),
                share(10),
                share(58),
            ),
            [False] * 4,
        ),
    ],
)
def test_verdicts_follow_from_the_figures(verdict: Verdict, expected: list[bool | None]) -> None:
    assert held(verdict) == expected
    assert all(part.found and part.rule and part.says for part in verdict.parts)


def test_a_share_tells_how_sure_it_is() -> None:
    few, many = Share(hits=1, of=2), Share(hits=500, of=1000)
    assert few.interval[0] < 0.1 and 0.46 < many.interval[0] < many.interval[1] < 0.54
    assert Share(hits=0, of=10).interval[0] == 0 and Share(hits=10, of=10).interval[1] == pytest.approx(1)
    assert math.isnan(Share(hits=0, of=0).value) and Share(hits=0, of=0).interval == (0, 1)


@pytest.mark.parametrize(
    ("text", "declines"),
    [
        ("I know not that name, good friend.", True),
        ("Alas, I have never heard of him.", True),
        ("I don't know.", True),
        ("I'm sorry, but I don't have any information on Kesslaburgh.", True),
        ("I'm not familiar with a book of that name.", True),
        ("As of my last update there is no record of that person.", True),
        ("I am unable to provide details about the author.", True),
        ("It can be found in any shop that has records, and I am sure of it.", False),
        ("He was a maker of plays, good friend.", False),
        ("Thou knowest him well.", False),
        ("", False),
    ],
)
def test_a_refusal_is_told_by_its_words(text: str, declines: bool) -> None:
    from tests.support.report_figures import reply

    assert hallucination.refuses(reply("Who?", text)) is declines
