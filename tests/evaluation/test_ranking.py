"""What votes say of variants: intervals against tables, the rule against luck, the ranking against known strengths."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from scipy.stats import beta, binomtest

from chatlab.evaluation.ballots import Contender, Duel, Game, duels, games
from chatlab.evaluation.ranking import ranking
from chatlab.evaluation.statistics import e_value, tells, wilson
from chatlab.records import BASE, Message, Provenance, Verdict, Vote

FINGERPRINT = "f" * 64
ASKED = (Message(role="user", content="Who?"),)


def provenance(name: str, sha256: str | None = None, **more: float) -> Provenance:
    sha256 = ("" if name == BASE else name.encode().hex()) if sha256 is None else sha256
    return Provenance(adapter=name, sha256=sha256, base=FINGERPRINT, **more)  # type: ignore[arg-type]


def contender(name: str) -> Contender:
    found = Contender.of(provenance(name))
    assert found
    return found


def voted(names: Sequence[str], winner: int | None, verdict: Verdict = "best", answers: Sequence[str] = ()) -> Vote:
    return Vote(
        prompt=ASKED,
        answers=tuple(answers or (f"I am number {i}" for i in range(len(names)))),
        provenances=tuple(map(provenance, names)),
        verdict=verdict,
        winner=winner,
    )


def scores(vote: Vote) -> dict[tuple[str, str], float]:
    names = {Contender.of(s): s.adapter for s in vote.provenances}
    return {(names[game.first], names[game.second]): game.score for game in games(vote)}


def simulated(strengths: Sequence[float], votes: int, panes: int, random: np.random.Generator) -> list[list[Game]]:
    """Votes of somebody who picks each pane as often as its strength says, and never ties."""
    seats = [random.choice(len(strengths), size=panes, replace=False) for _ in range(votes)]
    chances = [np.exp(np.array(strengths)[seat]) for seat in seats]
    won = [int(random.choice(panes, p=p / p.sum())) for p in chances]
    names = [chr(ord("a") + i) for i in range(len(strengths))]
    return [games(voted([names[i] for i in seat], w)) for seat, w in zip(seats, won, strict=True)]


# Games


def test_the_best_of_several_beat_each_other_one_and_nobody_else_was_compared() -> None:
    assert scores(voted(["a", "b", BASE], 1)) == {("a", "b"): 0.0, ("b", BASE): 1.0}


@pytest.mark.parametrize("verdict", ["tie", "both bad"])
def test_without_a_best_answer_everybody_tied(verdict: Verdict) -> None:
    assert set(scores(voted(["a", "b", "c"], None, verdict)).values()) == {0.5}
    assert len(scores(voted(["a", "b", "c"], None, verdict))) == 3


def test_two_answers_that_are_the_same_are_a_tie_whichever_was_pressed() -> None:
    assert scores(voted(["a", "b", "c"], 0, answers=["Yes.", "Yes.", "No."])) == {("a", "b"): 0.5, ("a", "c"): 1.0}


def test_a_variant_is_its_weights_its_base_and_its_strength_and_not_its_name() -> None:
    old, new = provenance("player", "01"), provenance("player", "02")
    assert Contender.of(old) != Contender.of(new)
    assert Contender.of(old) == Contender.of(provenance("renamed", "01"))
    assert Contender.of(old) != Contender.of(provenance("player", "01", strength=0.5))
    assert Contender.of(provenance(BASE)) == Contender.of(provenance(BASE, strength=0.5))


def test_who_was_not_proved_counts_for_nobody_and_nobody_plays_himself() -> None:
    assert Contender.of(Provenance(adapter="player")) is None
    unproved = Vote(
        prompt=ASKED, answers=("a", "b"), provenances=(Provenance(adapter="x"), provenance("a")), verdict="tie"
    )
    assert games(unproved) == []
    assert games(voted(["a", "a"], 0)) == []


def test_a_duel_counts_both_ways_round_as_one() -> None:
    votes = [voted(["a", "b"], 0), voted(["b", "a"], 1), voted(["b", "a"], 0), voted(["a", "b"], None, "tie")]
    (duel,) = duels(game for vote in votes for game in games(vote))
    seen = duel if duel.first == contender("a") else duel.turned()
    assert (seen.wins, seen.losses, seen.ties, seen.share) == (2, 1, 1, 0.625)


# Shares


@pytest.mark.parametrize(
    ("wins", "games_played", "low", "high"),
    [(0, 0, 0.0, 1.0), (1, 1, 0.2065, 1.0), (8, 10, 0.4902, 0.9433), (0, 10, 0.0, 0.2775)],
)
def test_the_wilson_interval_is_the_one_in_the_tables(wins: int, games_played: int, low: float, high: float) -> None:
    assert wilson(wins, games_played) == pytest.approx((low, high), abs=2e-4)


def test_the_wilson_interval_is_the_same_as_scipys() -> None:
    for n in (1, 2, 7, 40, 1000):
        for wins in {0, 1, n // 3, n}:
            theirs = binomtest(wins, n).proportion_ci(method="wilson")
            assert wilson(wins, n) == pytest.approx((theirs.low, theirs.high), abs=1e-6)


def test_evidence_is_what_the_formula_says_and_never_overflows() -> None:
    assert e_value(0, 0) == 1.0
    assert e_value(7, 0) == pytest.approx(2**7 / 8)
    assert e_value(3, 2) == pytest.approx(2**5 / (6 * math.comb(5, 3)))
    assert e_value(5000, 0) > 1e300
    assert e_value(3, 9) == pytest.approx(e_value(9, 3))


def test_eight_of_eight_tell_and_seven_do_not() -> None:
    assert not tells(7, 0) and tells(8, 0) and tells(0, 8)
    assert not tells(8, 0, ties=200), "where nearly all are ties, the two are as good as equal"
    assert not tells(0, 0) and not tells(0, 0, ties=50)


def test_duels_say_who_is_better_only_when_the_votes_tell() -> None:
    a, b = contender("a"), contender("b")
    assert Duel(first=a, second=b, wins=2).better is None
    assert Duel(first=a, second=b, wins=18, losses=2).better == a
    assert Duel(first=a, second=b, wins=2, losses=18).better == b


def test_equal_variants_are_hardly_ever_told_apart_even_when_looked_at_after_every_vote() -> None:
    random = np.random.default_rng(3)
    wins = np.cumsum(random.random((400, 150)) < 0.5, axis=1)
    told = np.array([any(tells(int(w), n + 1 - int(w)) for n, w in enumerate(row)) for row in wins])
    alone = np.array([any(not _holds_half(int(w), n + 1) for n, w in enumerate(row) if n >= 4) for row in wins])
    assert told.mean() <= 0.05
    assert alone.mean() > 0.15, "the interval alone, looked at after every vote, would not do"


def test_variants_that_differ_are_told_apart_in_the_end() -> None:
    random = np.random.default_rng(4)
    wins = (random.random((200, 100)) < 0.75).sum(axis=1)
    assert np.mean([tells(int(w), 100 - int(w)) for w in wins]) > 0.95


def _holds_half(wins: int, n: int) -> bool:
    low, high = wilson(wins, n)
    return low <= 0.5 <= high


# The ranking


def test_without_votes_there_is_no_ranking() -> None:
    assert ranking([]) == []
    assert ranking([games(voted(["a", "a"], 0))]) == []


def test_two_variants_share_and_interval_are_jeffreys() -> None:
    ballots = [games(voted(["a", "b"], 0 if i < 7 else 1)) for i in range(10)]
    first, second = ranking(ballots, draws=2000)
    assert first.contender == contender("a")
    assert first.share == pytest.approx(7.5 / 11, abs=1e-3)
    assert first.share + second.share == pytest.approx(1)
    assert first.interval == pytest.approx(beta.ppf((0.025, 0.975), 7.5, 3.5), abs=0.03)
    assert first.places == (1, 2) == second.places
    assert first.games == 10


def test_a_variant_that_never_lost_stays_finite_and_its_interval_is_not_a_point() -> None:
    first, second = ranking([games(voted(["a", "b"], 0))] * 3, draws=300)
    low, high = first.interval
    assert 0.5 < first.share < 0.95 and low < 0.75 and high < 1.0
    assert (first.places, second.places) == ((1, 2), (1, 2)), "three votes do not tell"
    first, second = ranking([games(voted(["a", "b"], 0))] * 12, draws=300)
    assert (first.places, second.places) == ((1, 1), (2, 2))


def test_ties_alone_leave_everybody_equal() -> None:
    standings = ranking([games(voted(["a", "b", "c"], None, "tie"))] * 20, draws=100)
    assert [s.share for s in standings] == pytest.approx([0.5] * 3, abs=1e-3)
    assert {s.places for s in standings} == {(1, 3)}


def test_variants_that_were_never_compared_are_ranked_apart() -> None:
    ballots = [games(voted(["a", "b"], 0))] * 9 + [games(voted(["x", "y"], 0))] * 9 + [games(voted(["b", "c"], 0))]
    standings = ranking(ballots, draws=100)
    assert [s.group for s in standings] == [0, 0, 0, 1, 1]
    assert [s.places for s in standings][3:] == [(1, 1), (2, 2)]


def test_what_was_told_of_two_and_of_two_more_places_all_three() -> None:
    ballots = [games(voted(["a", "b"], 0))] * 15 + [games(voted(["b", "c"], 0))] * 15
    assert [s.places for s in ranking(ballots, draws=200)] == [(1, 1), (2, 2), (3, 3)]


def test_a_circle_of_preferences_gives_nobody_a_place() -> None:
    circle = [games(voted([x, y], 0)) for x, y in (("a", "b"), ("b", "c"), ("c", "a"))] * 12
    assert {s.places for s in ranking(circle, draws=100)} == {(1, 3)}


def test_the_same_votes_give_the_same_ranking() -> None:
    ballots = simulated([0.5, 0.0, -0.5], 20, 2, np.random.default_rng(0))
    assert ranking(ballots, draws=50) == ranking(ballots, draws=50)


@pytest.mark.parametrize(("panes", "votes"), [(2, 300), (4, 100)])
def test_variants_of_known_strengths_are_ranked_right_nineteen_times_of_twenty(panes: int, votes: int) -> None:
    random = np.random.default_rng(panes)
    order = list(map(contender, "abcd"))
    right = [
        [s.contender for s in ranking(simulated([1.8, 0.6, -0.6, -1.8], votes, panes, random), draws=0)] == order
        for _ in range(60)
    ]
    assert np.mean(right) >= 0.95


@pytest.mark.slow
@pytest.mark.parametrize(
    ("strengths", "votes", "panes"),
    [([0.5, -0.5], 12, 2), ([1, 0, -1], 40, 2), ([1, 0, -1], 40, 3), ([0, 0, 0, 0, 0, 0], 60, 6)],
)
def test_the_intervals_hold_the_truth_about_as_often_as_they_say(
    strengths: list[float], votes: int, panes: int
) -> None:
    random = np.random.default_rng(votes)
    gaps = np.array(strengths)[:, None] - np.array(strengths)[None, :]
    truth = ((1 / (1 + np.exp(-gaps))).sum(axis=1) - 0.5) / (len(strengths) - 1)
    names = [contender(chr(ord("a") + i)) for i in range(len(strengths))]
    held = [
        s.interval[0] <= truth[names.index(s.contender)] <= s.interval[1]
        for _ in range(120)
        for s in ranking(simulated(strengths, votes, panes, random), draws=200)
    ]
    assert np.mean(held) >= 0.88
