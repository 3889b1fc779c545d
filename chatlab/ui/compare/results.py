"""What the votes say: who is best, how often each is preferred, and whether that says anything yet."""

from __future__ import annotations

from functools import partial

from markupsafe import Markup

from chatlab.evaluation.ballots import Duel
from chatlab.evaluation.ranking import Standing
from chatlab.lab.compare.votes import Results
from chatlab.ui.html import NOTHING, counted, div, element, escaped, joined, span

MOST = 30
"""Rows of a table; the rest is counted."""

OPEN = 3
"""Duels that are shown at once; more fold away."""

UNTOLD = "not enough votes to tell"


def results(found: Results) -> Markup:
    """A headline, the ranking, and the pairs below it."""
    if not found.standings:
        return div("empty", span("", "No blind votes yet. Ask, read the answers, and vote.")) + _seen(found)
    duels = _table("duels", "Head to head", [_duel(found, duel) for duel in found.duels])
    if len(found.duels) > OPEN:
        duels = element(
            "details", element("summary", escaped(f"Head to head, {counted(len(found.duels), 'pair')}")), duels
        )
    ranking = _table("ranking", "Ranking", [_standing(found, standing) for standing in found.standings])
    return div("results", div("headline", span("", headline(found))), ranking, duels, _legend(found), _seen(found))


def headline(found: Results) -> str:
    """The strongest conclusion that the votes allow about all adapters."""
    names = [found.names[s.contender] for s in found.standings if s.group == 0]
    first = found.standings[0]
    if len(names) == 2:
        duel = _of_two(found)
        if duel.better is None:
            return f"{names[0]} or {names[1]}: {UNTOLD} which is better."
        return f"{names[0]} is better than {names[1]}: preferred {duel.wins} to {duel.losses}."
    if first.places == (1, 1):
        return f"{names[0]} is the best of {len(names)}."
    maybe = [found.names[s.contender] for s in found.standings if s.group == 0 and s.places[0] == 1]
    behind = f"; {len(names) - len(maybe)} of {len(names)} are not" if len(maybe) < len(names) else ""
    return f"Which of {len(maybe)} is best: {UNTOLD}{behind}."


def says(found: Results, duel: Duel) -> str:
    """The conclusion that the votes allow about two adapters."""
    return UNTOLD if duel.better is None else f"{found.names[duel.better]} is better"


def _standing(found: Results, standing: Standing) -> Markup:
    best, worst = standing.places
    place = f"{best}" if best == worst else f"{best} to {worst}"
    low, high = standing.interval
    cells = (
        span("place-number", place, "Rank, as far as the votes show"),
        _named(found, standing),
        _bar(low, high, standing.share),
        span("rate-share", f"{standing.share:.0%}") + span("faint", f" {low:.0%} to {high:.0%}"),
        span("faint", counted(standing.games, "game")),
    )
    return _row("told" if best == worst else NOTHING, cells)


def _duel(found: Results, duel: Duel) -> Markup:
    duel = duel if duel.share >= 0.5 else duel.turned()
    low, high = duel.interval
    score = f"{duel.wins} to {duel.losses}" + (f", {counted(duel.ties, 'tie')}" if duel.ties else "")
    text = "chip good" if duel.better else "chip"
    cells = (
        span("rate-name", found.names[duel.first]) + span("faint", " against ") + span("", found.names[duel.second]),
        _bar(low, high, duel.share),
        span("rate-share", f"{duel.share:.0%}") + span("faint", f" {low:.0%} to {high:.0%}"),
        span("faint", score),
        span(text, says(found, duel)),
    )
    return _row("", cells)


def _named(found: Results, standing: Standing) -> Markup:
    who = standing.contender
    proof = element("code", escaped(who.sha256[:12]), kind="", title=who.sha256) if who.sha256 else NOTHING
    gone = span("chip", "deleted") if who in found.gone else NOTHING
    group = span("chip", f"apart {standing.group}", "Not compared with those above") if standing.group else NOTHING
    return span("rate-name", found.names[who]) + proof + gone + group


def _table(kind: str, caption: str, rows: list[Markup]) -> Markup:
    more = div("faint", span("", f"and {len(rows) - MOST} more")) if len(rows) > MOST else NOTHING
    body = element("caption", escaped(caption)) + element("tbody", joined(rows[:MOST]))
    return div(f"rates {kind}", element("table", body), more)


def _row(kind: str, cells: tuple[Markup, ...]) -> Markup:
    return element("tr", joined(element("td", cell) for cell in cells), kind=kind)


def _bar(low: float, high: float, share: float) -> Markup:
    """The interval on a line from 0 to 1, with a mark in the middle. The figures beside it say the same."""
    line = partial(element, "line", y1=7, y2=7)
    return element(
        "svg",
        line(kind="rate-line", x1=0, x2=120),
        element("line", kind="rate-half", x1=60, x2=60, y1=1, y2=13),
        line(kind="rate-reach", x1=f"{low * 120:.1f}", x2=f"{high * 120:.1f}"),
        element("circle", kind="rate-dot", cx=f"{share * 120:.1f}", cy=7, r=3.5),
        kind="rate-bar",
        viewBox="-4 0 128 14",
        width=128,
        height=14,
        aria_hidden="true",
    )


def _legend(found: Results) -> Markup:
    text = (
        f'{counted(found.votes, "blind vote")}. A tie counts as half a win; lines show 95 % intervals. "Better" '
        "is significant even if you check after every vote: 8 to 0 is, 7 to 0 is not."
    )
    return div("faint legend", span("", text))


def _seen(found: Results) -> Markup:
    if not found.seen:
        return NOTHING
    text = f"{counted(found.seen, 'vote')} with names shown: kept as preferences, not counted here."
    return div("faint", span("", text))


def _of_two(found: Results) -> Duel:
    """The duel of the two that lead, as the first of them sees it."""
    first, second = (s.contender for s in found.standings[:2])
    duel = next(duel for duel in found.duels if {duel.first, duel.second} == {first, second})
    return duel if duel.first == first else duel.turned()
