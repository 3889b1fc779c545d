"""A share of wins: how wide the truth may lie around it, and when it says that one voice is better."""

from __future__ import annotations

import math

Z = 1.959964
"""Standard errors on either side of a 95 % interval."""

DOUBT = 0.05
"""How often two voices that are equally good may ever be told apart."""


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


def evidence(wins: int, losses: int) -> float:
    """How many times better the votes that decided are explained by "one is better" than by "a coin was tossed".

    "One is better" stands for every rate of winning from 0 to 1 alike, so this is 2^n / ((n + 1) C(n, wins)). As a
    fair bet against the coin it reaches 1 / p at any time with a probability of at most p, however often one looks.
    Source: J. Ville, Étude critique de la notion de collectif (1939); H. Robbins, Annals of Mathematical Statistics 41
    (1970), 1397-1409.
    """
    n = wins + losses
    log = n * math.log(2) - math.log(n + 1) - math.lgamma(n + 1) + math.lgamma(wins + 1) + math.lgamma(losses + 1)
    return math.exp(min(log, 700.0))


def tells(wins: int, losses: int, ties: int = 0) -> bool:
    """Whether the votes say which of two voices is better. If not, there are not enough votes to tell.

    Two things are asked. The 95 % interval of the share, ties being half a win, leaves out one half. And the evidence
    against a coin reaches 20 to 1: a person looks after every vote, and the interval alone, looked at that often, would
    sooner or later tell apart any two equal voices. Together they do so in at most one comparison of twenty, if the
    votes go on for ever. Eight votes out of eight are enough; seven are not.
    """
    low, high = wilson(wins + ties / 2, wins + losses + ties)
    return not low <= 0.5 <= high and evidence(wins, losses) >= 1 / DOUBT
