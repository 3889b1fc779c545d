"""Votes taken apart: who stood against whom, and who was the better of the two."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import combinations

from chatlab.evaluation.shares import tells, wilson
from chatlab.records import BASE, Provenance, Vote


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Contender:
    """A voice by what it is, not by what it is called: a name can be given twice, changed, or deleted."""

    sha256: str = ""
    """Of the adapter's weights; empty for the base alone."""
    base: str = ""
    """Fingerprint of the base model."""
    strength: float = 1.0

    @classmethod
    def of(cls, provenance: Provenance) -> Contender | None:
        """None where the engine did not prove who spoke: such a reply counts for nobody."""
        if not provenance.base or (provenance.adapter != BASE and not provenance.sha256):
            return None
        strength = provenance.strength if provenance.sha256 else 1.0
        return cls(sha256=provenance.sha256, base=provenance.base, strength=strength)


@dataclass(frozen=True, slots=True, kw_only=True)
class Game:
    """What one vote says of two voices."""

    first: Contender
    second: Contender
    score: float
    """1 where the first was better, 0 where the second was, 0.5 for neither."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Duel:
    """All that the votes say of two voices, as the first of them sees it."""

    first: Contender
    second: Contender
    wins: int = 0
    losses: int = 0
    ties: int = 0

    @property
    def games(self) -> int:
        return self.wins + self.losses + self.ties

    @property
    def share(self) -> float:
        """Of the games won, a tie being half a win. At least one game is taken for granted."""
        return (self.wins + self.ties / 2) / self.games

    @property
    def interval(self) -> tuple[float, float]:
        """95 %, of the share."""
        return wilson(self.wins + self.ties / 2, self.games)

    @property
    def better(self) -> Contender | None:
        """Who is preferred; None where there are not enough votes to tell (see `shares.tells`)."""
        if not tells(self.wins, self.losses, self.ties):
            return None
        return self.first if self.wins > self.losses else self.second

    def turned(self) -> Duel:
        """The same, as the second sees it."""
        return Duel(first=self.second, second=self.first, wins=self.losses, losses=self.wins, ties=self.ties)


def games(vote: Vote) -> list[Game]:
    """The best answer beat each other one, and nothing is known of the others among themselves.

    Without a best one, nobody was better than anybody. Two answers that are the same word for word are a tie, whichever
    was pressed, and a voice does not play against itself.
    """
    seats = [Contender.of(provenance) for provenance in vote.speakers]
    found = []
    for i, j in combinations(range(len(seats)), 2):
        first, second = seats[i], seats[j]
        compared = vote.verdict != "best" or vote.winner in (i, j)
        if first is None or second is None or first == second or not compared:
            continue
        same = vote.verdict != "best" or vote.answers[i] == vote.answers[j]
        score = 0.5 if same else float(vote.winner == i)
        found.append(Game(first=first, second=second, score=score))
    return found


def duels(played: Iterable[Game]) -> list[Duel]:
    """One for each two voices that were ever compared, the most played first."""
    found: dict[tuple[Contender, Contender], Duel] = {}
    for game in played:
        straight = game.first < game.second
        pair = (game.first, game.second) if straight else (game.second, game.first)
        duel = found.get(pair) or Duel(first=pair[0], second=pair[1])
        found[pair] = _scored(duel, game.score if straight else 1 - game.score)
    return sorted(found.values(), key=lambda duel: -duel.games)


def _scored(duel: Duel, score: float) -> Duel:
    if score == 0.5:
        return replace(duel, ties=duel.ties + 1)
    return replace(duel, wins=duel.wins + 1) if score else replace(duel, losses=duel.losses + 1)
