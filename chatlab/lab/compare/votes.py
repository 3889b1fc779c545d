"""Votes: what somebody said of answers seen side by side, what it makes of the variants, and how it is taken back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from chatlab.errors import InputError
from chatlab.evaluation.ballots import Contender, Duel, Game, duels, games
from chatlab.evaluation.ranking import DRAWS, Standing, ranking
from chatlab.lab.compare.compare import Pane, messages
from chatlab.lab.models import ModelHost
from chatlab.lab.variants import Variants
from chatlab.records import BASE, Message, Preference, Provenance, Verdict, Vote
from chatlab.store import Store
from chatlab.system.clock import now


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """What all the votes on this base say."""

    standings: tuple[Standing, ...]
    """The best first."""
    duels: tuple[Duel, ...]
    """The most played first."""
    names: dict[Contender, str]
    """What each is called now, or was when it last spoke; no two alike."""
    gone: frozenset[Contender]
    """Whose adapters are no longer there."""
    votes: int
    """That were counted."""
    seen: int
    """Cast with the names in sight, and not counted."""


class Votes:
    """Kept by what spoke, not by its name: a variant that was renamed, replaced or deleted keeps its votes."""

    def __init__(self, store: Store, machine: ModelHost, variants: Variants) -> None:
        self._store = store
        self._machine = machine
        self._variants = variants
        self._newest: tuple[tuple[int, tuple[int, ...]], tuple[Standing, ...]] | None = None

    def cast(
        self,
        prompt: str,
        panes: Sequence[Pane],
        verdict: Verdict,
        winner: int | None = None,
        system: str = "",
        blind: bool = True,
    ) -> int:
        """Keep a verdict; its id. A best answer is also preferred to each other one that differs from it.

        Answers that failed are left out. Raises InputError where fewer than two are left, or the best is none of them.
        """
        vote = _vote(messages(prompt, system), panes, verdict, winner, blind)
        preferred = _preferences(vote)
        id, *ids = self._store.votes.new_ids(1) + self._store.preferences.new_ids(len(preferred))
        self._store.commit_together(
            self._store.votes.changes({id: vote}),
            self._store.preferences.changes(dict(zip(ids, preferred, strict=True))),
        )
        return id

    def take_back(self, id: int) -> Vote:
        """Remove a vote and what was preferred by it; the vote. Raises NotFound."""
        vote = self._store.votes.get(id)
        made = _preferences(vote)
        gone: list[int] = []
        for key, one in self._store.preferences.rows(reverse=True):
            if one in made:  # once each: an equal vote of the same moment made equal ones
                made.remove(one)
                gone.append(key)
        self._store.commit_together(
            self._store.votes.changes({id: None}), self._store.preferences.changes(dict.fromkeys(gone))
        )
        return vote

    def judged(self, variants: Sequence[str]) -> Counter[str]:
        """The prompts on which somebody has voted with just these variants, and how often."""
        wanted = {contender for contender in map(self._contender, variants) if contender}
        return Counter(
            vote.prompt[-1].content
            for _, vote in self._store.votes.rows()
            if {Contender.of(provenance) for provenance in vote.provenances} == wanted
        )

    def results(self, draws: int = DRAWS) -> Results:
        """What the blind votes on the base that is open say. `draws` as in `ranking`."""
        rows = [(id, vote) for id, vote in self._store.votes.rows() if self._is_here(vote)]
        votes = [vote for _, vote in rows]
        ballots = [games(vote) for vote in votes if vote.blind]
        standings = self._ranked(tuple(id for id, vote in rows if vote.blind), ballots, draws)
        names, gone = self._named(votes)
        return Results(
            standings=standings,
            duels=tuple(duels(game for ballot in ballots for game in ballot)),
            names=names,
            gone=gone,
            votes=len(ballots),
            seen=len(votes) - len(ballots),
        )

    def export(self, folder: Path) -> Path:
        """All votes as JSON lines, the answers and the proof of who spoke beside them. Raises InputError, DiskFull."""
        path = folder / f"votes-{now()[:10]}.jsonl"
        if not self._store.dump(self._store.votes, path):
            path.unlink()
            raise InputError("There are no votes to export.", "Vote first.")
        return path

    def __len__(self) -> int:
        return len(self._store.votes)

    def _ranked(self, ids: tuple[int, ...], ballots: Sequence[Sequence[Game]], draws: int) -> tuple[Standing, ...]:
        """Computed once for the same votes: the draws take a moment, and a vote is never altered."""
        newest = self._newest
        if newest is None or newest[0] != (draws, ids):
            newest = self._newest = ((draws, ids), tuple(ranking(ballots, draws)))
        return newest[1]

    def _is_here(self, vote: Vote) -> bool:
        return all(provenance.base == self._machine.base.fingerprint for provenance in vote.provenances)

    def _contender(self, name: str) -> Contender | None:
        if name == BASE:
            return Contender(base=self._machine.base.fingerprint)
        card = self._variants.card(name)
        return Contender(sha256=card.sha256, base=card.base) if card else None

    def _named(self, votes: Sequence[Vote]) -> tuple[dict[Contender, str], frozenset[Contender]]:
        said = {contender: provenance.adapter for contender, provenance in _provenances(votes)}
        today = {card.sha256: card.name for card in reversed(self._variants.all_cards())}
        names = {who: today.get(who.sha256, name) if who.sha256 else BASE for who, name in said.items()}
        gone = frozenset(who for who in said if who.sha256 and who.sha256 not in today)
        return _told_apart(names), gone


def _vote(asked: tuple[Message, ...], panes: Sequence[Pane], verdict: Verdict, winner: int | None, blind: bool) -> Vote:
    whole = [pane for pane in panes if pane.provenance and not pane.error]
    if len(whole) < 2:
        raise InputError("There are no two answers to choose from.", "Ask again.")
    best: int | None = None
    if verdict == "best":
        if winner is None or not 0 <= winner < len(panes) or panes[winner] not in whole:
            raise InputError("Choose the best answer.")
        best = next(i for i, pane in enumerate(whole) if pane is panes[winner])
    return Vote(
        prompt=asked,
        answers=tuple(pane.text for pane in whole),
        provenances=tuple(pane.provenance for pane in whole if pane.provenance),
        verdict=verdict,
        winner=best,
        blind=blind,
        created=now(),
    )


def _preferences(vote: Vote) -> list[Preference]:
    """The best answer over every other that differs from it. Each bears the vote's own time."""
    if vote.winner is None or not vote.answers[vote.winner].strip():
        return []
    best = vote.answers[vote.winner]
    return [
        Preference(
            prompt=vote.prompt,
            chosen=best,
            rejected=answer,
            source="compare",
            chosen_by=vote.provenances[vote.winner],
            rejected_by=provenance,
            created=vote.created,
        )
        for answer, provenance in zip(vote.answers, vote.provenances, strict=True)
        if answer != best
    ]


def _provenances(votes: Sequence[Vote]) -> Iterator[tuple[Contender, Provenance]]:
    for vote in votes:
        for provenance in vote.provenances:
            if contender := Contender.of(provenance):
                yield contender, provenance


def _told_apart(names: dict[Contender, str]) -> dict[Contender, str]:
    """Names with the strength where it is not 1, and the start of the sha256 where two would be called the same."""
    strong = {who: name if who.strength == 1.0 else f"{name} at {who.strength:g}" for who, name in names.items()}
    counts = Counter(strong.values())
    return {who: name if counts[name] == 1 else f"{name} {who.sha256[:6]}".strip() for who, name in strong.items()}
