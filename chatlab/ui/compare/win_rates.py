"""How often each voice was preferred, and whether that says anything yet."""

from __future__ import annotations

import math
from collections.abc import Mapping

from chatlab.lab.compare import Tally
from chatlab.ui.markup import counted, div, element, span

Z = 1.96
"""Standard errors on either side of a 95 % interval."""


def wilson(wins: int, games: int, z: float = Z) -> tuple[float, float]:
    """Score interval for a share of `games` (E. B. Wilson, JASA 22, 1927): sound even for few games."""
    if not games:
        return 0.0, 1.0
    share = wins / games
    middle = (share + z * z / (2 * games)) / (1 + z * z / games)
    reach = z * math.sqrt(share * (1 - share) / games + z * z / (4 * games * games)) / (1 + z * z / games)
    return max(0.0, middle - reach), min(1.0, middle + reach)


def win_rates(tally: Mapping[str, Tally]) -> str:
    """A row a voice: wins among the votes that decided, with the interval as a bar."""
    if not tally:
        return div("empty", span("", "No votes yet. Ask, read, and say which answer is better."))
    best_first = sorted(tally.items(), key=lambda item: wilson(item[1].wins, _decided(item[1]))[0], reverse=True)
    return div("rates", element("table", "".join(_row(name, t) for name, t in best_first)))


def says(tally: Tally) -> str:
    """What a voice's votes allow one to say."""
    low, high = wilson(tally.wins, _decided(tally))
    if low > 0.5:
        return "preferred"
    return "not preferred" if high < 0.5 else "not enough votes to tell"


def _row(name: str, tally: Tally) -> str:
    games = _decided(tally)
    low, high = wilson(tally.wins, games)
    share = f"{tally.wins / games:.0%}" if games else "-"
    counts = f"{counted(tally.wins, 'win')}, {tally.losses} lost, {tally.ties} tied"
    cells = (
        span("rate-name", name),
        span("rate-share", share),
        _bar(low, high, tally.wins / games if games else None),
        span("faint", f"{low:.0%} to {high:.0%}" if games else ""),
        span("faint", counts),
        span(f"chip rate-{says(tally).replace(' ', '-')}", says(tally)),
    )
    return element("tr", "".join(element("td", cell) for cell in cells))


def _bar(low: float, high: float, share: float | None) -> str:
    """The interval on a line from 0 to 1, with a mark in the middle."""
    dot = "" if share is None else f'<circle cx="{share * 120:.1f}" cy="7" r="3.5" class="rate-dot"/>'
    return (
        f'<svg class="rate-bar" viewBox="0 0 120 14" width="120" height="14" aria-hidden="true">'
        f'<line x1="60" x2="60" y1="1" y2="13" class="rate-half"/>'
        f'<line x1="{low * 120:.1f}" x2="{high * 120:.1f}" y1="7" y2="7" class="rate-reach"/>{dot}</svg>'
    )


def _decided(tally: Tally) -> int:
    return tally.wins + tally.losses
