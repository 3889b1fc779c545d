"""What many votes tell of the adapters, and what few do not."""

from __future__ import annotations

from pathlib import Path

import pytest

from chatlab.errors import InputError
from chatlab.evaluation.ballots import Contender, Duel
from chatlab.evaluation.ranking import Standing
from chatlab.lab import Lab
from chatlab.lab.compare.votes import Results
from chatlab.records import BASE
from chatlab.ui.compare.results import headline, results, says
from chatlab.ui.compare.tab import CompareTab
from tests.support.compare import HOSTILE, asked, voted
from tests.support.page import publish_adapter


def two(wins: int, losses: int, ties: int = 0, name: str = "player") -> Results:
    player, base = Contender(sha256="ab" * 32, base="f"), Contender(base="f")
    duel = Duel(first=player, second=base, wins=wins, losses=losses, ties=ties)
    places = (1, 1) if duel.better else (1, 2)
    standings = tuple(
        Standing(contender=who, share=share, interval=(0.1, 0.9), places=places, games=duel.games)
        for who, share in ((player, 0.6), (base, 0.4))
    )
    names = {player: name, base: BASE}
    return Results(standings=standings, duels=(duel,), names=names, gone=frozenset({player}), votes=duel.games, seen=0)


def test_a_few_votes_do_not_tell_and_many_do() -> None:
    few, many, lost = two(3, 0), two(18, 2), two(2, 18)
    assert headline(few) == "player or base: not enough votes to tell which is better."
    assert says(few, few.duels[0]) == "not enough votes to tell"
    assert headline(many) == "player is better than base: preferred 18 to 2."
    assert says(lost, lost.duels[0]) == "base is better"
    assert "deleted" in results(few) and "abababababab" in results(few)


def test_without_votes_the_page_says_how_to_begin(tab: CompareTab) -> None:
    assert "No blind votes yet" in tab.votes.draw()[tab.votes.results]


def test_a_hostile_name_is_shown_and_does_nothing() -> None:
    html = results(two(3, 1, name=HOSTILE))
    assert "<script" not in html and "<img" not in html and "\n" not in html


def test_the_file_of_votes_is_offered_and_swept(tab: CompareTab, lab: Lab) -> None:
    with pytest.raises(InputError):
        tab.votes.exported_votes()
    publish_adapter(lab, "player")
    voted(tab, asked(tab, [BASE, "player"]))
    for make, name in ((tab.votes.exported_votes, "votes-"), (tab.votes.exported_preferences, "preferences-")):
        made = make()[tab.votes.made]
        assert Path(made).name.startswith(name) and Path(made).stat().st_size > 100
        tab.votes.swept(made)
        assert not Path(made).parent.exists()
