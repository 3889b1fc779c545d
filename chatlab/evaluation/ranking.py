"""A ranking of models from votes: Bradley-Terry strengths with intervals."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from chatlab.evaluation.ballots import Contender, Duel, Game, duels
from chatlab.evaluation.statistics import bradley_terry, expected_shares

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

PRIOR = 0.5
"""Prior wins of each over the other, for every two models that were ever compared (Jeffreys)."""

LEAST = 1e-3
"""Least random weight of a prior win."""

DRAWS = 400
"""Bootstrap draws for the intervals."""

SURE = 0.975
"""Share of the draws in which one model must be above another before its rank says so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """A model's rank, and its uncertainty."""

    contender: Contender
    share: float
    """Expected share of wins over the others, each met equally often."""
    interval: tuple[float, float]
    """95 %, of the share."""
    places: tuple[int, int]
    """The best and the worst rank that the votes allow; equal where they have decided."""
    games: int
    group: int = 0
    """Models of different groups were never compared, not even by way of others: their ranks are not comparable."""


def ranking(ballots: Sequence[Sequence[Game]], draws: int = DRAWS, seed: int = 0) -> list[Standing]:
    """The best first; the largest group first. `ballots` holds the games of each vote.

    Strengths are those of the Bradley-Terry model (see `statistics`), given the votes, a tie as half a win for each,
    and PRIOR wins each way, which keep a model that never lost from running to infinity.
    Intervals come from a Bayesian bootstrap (D. B. Rubin, Annals of Statistics 9, 1981, 130-134): each vote, with all
    its games at once, and each prior win weigh a random amount. For two models this is the Jeffreys interval.
    A rank is decided where a chain of duels decides it (`Duel.better`) and the draws agree.
    """
    groups = sorted(_groups([game for ballot in ballots for game in ballot]), key=lambda group: -len(group))
    return [
        standing
        for number, group in enumerate(groups)
        for standing in _Group(group, ballots, number).standings(draws, seed)
    ]


class _Group:
    """Models that were compared with one another, at least by way of others."""

    def __init__(self, contenders: Sequence[Contender], ballots: Sequence[Sequence[Game]], number: int) -> None:
        self.contenders = contenders
        self.number = number
        self.size = len(contenders)
        place = {contender: i for i, contender in enumerate(contenders)}
        played = [(v, game) for v, ballot in enumerate(ballots) for game in ballot if game.first in place]
        self.duels = duels(game for _, game in played)
        self.votes = len(ballots)
        self.vote = np.array([v for v, _ in played])
        self.first = np.array([place[game.first] for _, game in played])
        self.second = np.array([place[game.second] for _, game in played])
        self.score = np.array([game.score for _, game in played])
        self.met = np.zeros((self.size, self.size), dtype=bool)
        self.met[self.first, self.second] = self.met[self.second, self.first] = True

    def standings(self, draws: int, seed: int) -> list[Standing]:
        found = self.strengths(np.ones(self.votes), np.where(self.met, PRIOR, 0.0))
        drawn = self._drawn(found, draws, np.random.default_rng(seed))
        shares, spread = expected_shares(found), np.array([expected_shares(one) for one in drawn])
        low, high = np.percentile(spread, (2.5, 97.5), axis=0)
        above = self._above(drawn)
        best, worst = 1 + above.sum(axis=0), self.size - above.sum(axis=1)
        return [
            Standing(
                contender=self.contenders[i],
                share=float(shares[i]),
                interval=(float(low[i]), float(high[i])),
                places=(int(best[i]), int(worst[i])),
                games=int((self.first == i).sum() + (self.second == i).sum()),
                group=self.number,
            )
            for i in np.argsort(-found, kind="stable")
        ]

    def strengths(self, weights: Array, prior: Array, start: Array | None = None, tolerance: float = 1e-6) -> Array:
        """Strengths (N,) on the logistic scale, 0 on average. `weights` (V,) of the votes, `prior` (N, N) wins.

        `start` is where the search begins.
        """
        wins = prior.copy()
        np.add.at(wins, (self.first, self.second), weights[self.vote] * self.score)
        np.add.at(wins, (self.second, self.first), weights[self.vote] * (1 - self.score))
        return bradley_terry(wins, start, tolerance)

    def _drawn(self, found: Array, draws: int, random: np.random.Generator) -> Array:
        """Strengths (D, N), one row a draw of weights; the point estimate alone where `draws` is 0."""
        if not draws:
            return found[None]
        return np.array(
            [
                self.strengths(random.exponential(size=self.votes), self._prior(random), found, tolerance=1e-3)
                for _ in range(draws)
            ]
        )

    def _prior(self, random: np.random.Generator) -> Array:
        """Prior wins (N, N) of random weight; never so small that the strengths could not be computed."""
        return np.where(self.met, np.maximum(random.gamma(PRIOR, size=self.met.shape), LEAST), 0.0)

    def _above(self, drawn: Array) -> NDArray[np.bool_]:
        """(N, N): whether it is decided that the row is better than the column."""
        place = {contender: i for i, contender in enumerate(self.contenders)}
        decided = np.zeros((self.size, self.size), dtype=bool)
        for duel in self.duels:
            if (better := duel.better) is not None:
                decided[place[better], place[_other(duel, better)]] = True
        for _ in range(self.size):
            decided |= decided @ decided
        surely = (drawn[:, :, None] > drawn[:, None, :]).mean(axis=0) >= SURE
        agreed: NDArray[np.bool_] = decided & surely
        return agreed


def _groups(played: Iterable[Game]) -> list[list[Contender]]:
    """Who was compared with whom, directly or by way of others; each group sorted, so that equal votes rank equally."""
    group: dict[Contender, set[Contender]] = {}
    for game in played:
        joined = group.get(game.first, {game.first}) | group.get(game.second, {game.second})
        for contender in joined:
            group[contender] = joined
    distinct = {id(members): members for members in group.values()}
    return [sorted(members) for members in distinct.values()]


def _other(duel: Duel, one: Contender) -> Contender:
    return duel.second if one == duel.first else duel.first
