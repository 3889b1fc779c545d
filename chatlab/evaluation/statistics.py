"""The statistics of the app, each with its source: intervals, tests, and strengths from comparisons."""

from __future__ import annotations

import math
from math import comb
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

Z = 1.959964
"""Standard errors on either side of a 95 % interval."""

DOUBT = 0.05
"""How often two models that are equally good may ever be called different."""


def wilson(wins: float, games: float, z: float = Z) -> tuple[float, float]:
    """Score interval for a share of `games`, sound even for few of them; everything where there are none.

    A tie may count as half a win; the interval is then a little wider than it need be.
    Source: E. B. Wilson, Journal of the American Statistical Association 22 (1927), 209-212.
    """
    if not games:
        return 0.0, 1.0
    share = wins / games
    middle = (share + z * z / (2 * games)) / (1 + z * z / games)
    reach = z * math.sqrt(share * (1 - share) / games + z * z / (4 * games * games)) / (1 + z * z / games)
    return max(0.0, middle - reach), min(1.0, middle + reach)


def e_value(wins: int, losses: int) -> float:
    """The evidence against a fair coin: how many times likelier the votes are under "one is better".

    "One is better" is a uniform prior over rates of winning from 0 to 1, so this is 2^n / ((n + 1) C(n, wins)). As a
    fair bet against the coin it reaches 1 / p at any time with a probability of at most p, however often one looks.
    Source: J. Ville, Étude critique de la notion de collectif (1939); H. Robbins, Annals of Mathematical Statistics 41
    (1970), 1397-1409.
    """
    n = wins + losses
    log = n * math.log(2) - math.log(n + 1) - math.lgamma(n + 1) + math.lgamma(wins + 1) + math.lgamma(losses + 1)
    return math.exp(min(log, 700.0))


def tells(wins: int, losses: int, ties: int = 0) -> bool:
    """Whether the votes say which of two models is better. If not, there are not enough votes to tell.

    Two conditions. The 95 % interval of the share, ties being half a win, leaves out one half. And the evidence
    against a coin reaches 20 to 1: a person looks after every vote, and the interval alone, looked at that often, would
    sooner or later tell apart any two equal models. Together they do so in at most one comparison of twenty, if the
    votes go on for ever. Eight votes out of eight are enough; seven are not.
    """
    low, high = wilson(wins + ties / 2, wins + losses + ties)
    return not low <= 0.5 <= high and e_value(wins, losses) >= 1 / DOUBT


def fisher_exact(fewer: int, more: int, size: int) -> float:
    """One-sided p-value of a difference between two groups of `size`, of which `fewer` and `more` have a property.

    Source: R. A. Fisher, Journal of the Royal Statistical Society 85 (1922), 87-94.
    """
    total = fewer + more
    ways = sum(comb(size, k) * comb(size, total - k) for k in range(max(0, total - size), fewer + 1))
    return ways / comb(2 * size, total)


def welch(difference: float, error: float, other_error: float, z: float = Z) -> bool:
    """Whether a difference of two means exceeds `z` standard errors; the errors are squared, each sample's own.

    Source: B. L. Welch, Biometrika 34 (1947), 28-35; the normal quantile in place of Student's.
    """
    return difference > z * math.sqrt(error + other_error)


def bradley_terry(wins: Array, start: Array | None = None, tolerance: float = 1e-6) -> Array:
    """Most likely strengths (N,) on the logistic scale, 0 on average; `wins` (N, N) of each row over each column.

    Source: R. A. Bradley and M. E. Terry, Biometrika 39 (1952), 324-345.
    """
    import choix  # brings scipy

    return np.asarray(choix.ilsr_pairwise_dense(wins, initial_params=start, max_iter=10_000, tol=tolerance))


def expected_shares(strengths: Array) -> Array:
    """Expected share of wins (N,) over the others, each met equally often, by Bradley and Terry's model."""
    probs = 1 / (1 + np.exp(strengths[None, :] - strengths[:, None]))
    shares: Array = (probs.sum(axis=1) - 0.5) / (len(strengths) - 1)
    return shares
