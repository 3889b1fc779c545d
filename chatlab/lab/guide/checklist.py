"""The eight steps of a small fine-tuning, each ticked by a measurement and by nothing else.

    base         the base's checks find nothing, and it foretells answers kept aside far better than a blind guess
    by hand      BY_HAND approved demonstrations that a person wrote or rewrote; those of a pack are not among them
    enough       ENOUGH approved demonstrations, wherever they came from
    filtered     they were looked through as they are now, and no finding is left open
    gentle       the adapter's run took at most PASSES passes, or its forgetting is in the green all the same, at a rate
                 no higher than suits the base
    read         a person has judged its answers to READ prompts of the unseen set
    chosen       CHOSEN blind votes set it beside other adapters, and they do not say that one of those is better
    remembers    its forgetting was measured and is bearable

The last four are about the adapter that is live, or the newest one while the base is.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from chatlab.errors import ChatlabError
from chatlab.evaluation.ballots import Contender, games
from chatlab.evaluation.statistics import tells
from chatlab.lab.data.annotators import PACK
from chatlab.lab.data.quality import Quality
from chatlab.lab.data.unseen import Unseen
from chatlab.lab.models import ModelHost
from chatlab.lab.variants import Variants
from chatlab.records import BEARABLE, GOOD, AdapterCard, Demonstration, Vote
from chatlab.store import Store
from chatlab.training.defaults import settings_for

Key = Literal["base", "by hand", "enough", "filtered", "gentle", "read", "chosen", "remembers"]

BY_HAND, ENOUGH, PASSES, READ, CHOSEN = 50, 500, 3, 20, 8
FORETELLS = 0.5
"""Share of a blind guess's loss, ln of the vocabulary in nats per token, that a good base needs at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One step."""

    key: Key
    title: str
    done: bool
    figure: str
    """What was measured."""
    missing: str = ""
    """What there is left to do; empty where it is done."""


class Checklist:
    """Worked out anew each time from what is kept; nothing here is stored, and nothing can be ticked by hand."""

    def __init__(self, store: Store, machine: ModelHost, variants: Variants, quality: Quality, unseen: Unseen) -> None:
        self._store = store
        self._machine = machine
        self._variants = variants
        self._quality = quality
        self._unseen = unseen

    def subject(self) -> AdapterCard | None:
        """The adapter that the last four steps are about."""
        cards = self._variants.cards()
        live = self._variants.live
        return next((card for card in cards if card.name == live), next(iter(cards), None))

    def items(self) -> list[Item]:
        """All eight, in order."""
        card = self.subject()
        approved = [d for _, d in self._store.demonstrations.rows() if d.status == "approved"]
        votes = [vote for _, vote in self._store.votes.rows()]
        rows = self._vocabulary()
        return [
            base(self._problems(), card, rows),
            by_hand(approved),
            enough(len(approved)),
            filtered(len(approved), self._quality.open),
            gentle(card, self._rate(card)),
            read(card, votes, self._unseen.prompts()),
            chosen(card, votes),
            remembers(card),
        ]

    def _problems(self) -> list[str]:
        try:
            return list(self._machine.base.template.check())
        except ChatlabError as error:
            return [f"{error} {error.hint}".strip()]

    def _vocabulary(self) -> int:
        try:
            return self._machine.base.rows
        except ChatlabError:
            return 0

    def _rate(self, card: AdapterCard | None) -> float:
        """The learning rate that suits the base of an adapter."""
        return settings_for(len(card.demonstrations), card.base_parameters or 1).learning_rate if card else 0.0


def base(problems: Sequence[str], card: AdapterCard | None, vocabulary: int) -> Item:
    title = "A base model that knows your subject"
    if problems:
        return _open("base", title, f"Base model check: {problems[0]}", "Choose a base model that passes its checks.")
    loss = card.held_out_before if card else None
    if card is None or loss is None or vocabulary < 2:
        missing = "Train once to measure the base model's held-out loss."
        return _open("base", title, "The base model passes its checks. Its held-out loss is not measured yet.", missing)
    blind = math.log(vocabulary)
    figure = f"Held-out loss before training: {loss:.2f} nats per token; random is {blind:.2f}."
    missing = f"It should be {FORETELLS * blind:.2f} or less. Choose a better base model."
    return _item("base", title, loss <= FORETELLS * blind, figure, missing)


def by_hand(approved: Sequence[Demonstration]) -> Item:
    count = sum(d.source in ("written", "edited") and d.authors != (PACK,) for d in approved)
    others = f"; {len(approved) - count:,} more from other sources" if len(approved) > count else ""
    title = f"{BY_HAND} to 100 demonstrations you wrote"
    figure = f"{count:,} approved, written or edited by a person{others}."
    return _item("by hand", title, count >= BY_HAND, figure, f"{BY_HAND - count} to go.")


def enough(approved: int) -> Item:
    title = f"{ENOUGH} to 5,000 consistent demonstrations"
    missing = f"{ENOUGH - approved:,} to go: import, keep good answers, or write more."
    return _item("enough", title, approved >= ENOUGH, f"{approved:,} approved.", missing)


def filtered(approved: int, findings: int | None) -> Item:
    """`findings` are those left open; None where the demonstrations were not looked through as they are."""
    title = "Quality problems fixed"
    if not approved:
        return _open("filtered", title, "There are no demonstrations yet.", "Write or import some first.")
    if findings is None:
        figure = "Not checked since the last change."
        return _open("filtered", title, figure, "Run the quality check.")
    figure = f"Checked: {findings:,} finding{'' if findings == 1 else 's'} open."
    return _item("filtered", title, findings == 0, figure, "Discard, edit or keep each one.")


def gentle(card: AdapterCard | None, rate: float) -> Item:
    title = "Gentle training: LoRA, few epochs, low learning rate"
    if card is None:
        return _open("gentle", title, "No run yet.", "Train once.")
    if card.origin:
        return _open("gentle", title, f"{card.name} was trained elsewhere, nobody here knows how.", "Train once here.")
    settings, forgot = card.settings, card.forgetting
    few = settings.epochs <= PASSES
    spared = not few and forgot is not None and forgot <= GOOD
    figure = (
        f"{card.name}: LoRA rank {settings.rank}, {settings.epochs} epochs at learning rate {settings.learning_rate:g}"
    )
    figure += f"; more than {PASSES} epochs, but only {forgot or 0.0:+.1f} % forgetting." if spared else "."
    missing = f"Train with at most {PASSES} epochs" + (
        f" and learning rate {rate:g} or less." if settings.learning_rate > rate else "."
    )
    return _item("gentle", title, (few or spared) and settings.learning_rate <= rate, figure, missing)


def read(card: AdapterCard | None, votes: Sequence[Vote], unseen: Sequence[str]) -> Item:
    title = f"Answers to {READ} unseen prompts judged"
    if card is None:
        return _open("read", title, "No adapter yet.", "Train once.")
    prompts = set(unseen)
    heard = {v.prompt[-1].content for v in votes if v.prompt and any(s.sha256 == card.sha256 for s in v.provenances)}
    count = len(heard & prompts)
    metrics = card.reply_metrics_after
    measured = f" Automatic: {metrics.well_formed} of {metrics.replies} on-format." if metrics else ""
    figure = f"{count} of your {len(prompts)} unseen prompts judged with {card.name}.{measured}"
    return _item("read", title, count >= READ, figure, f"Judge {READ - count} more.")


def chosen(card: AdapterCard | None, votes: Sequence[Vote]) -> Item:
    title = "Best checkpoint chosen by votes"
    if card is None:
        return _open("chosen", title, "No adapter yet.", "Train once.")
    wins, losses, ties = _against_others(card, votes)
    count = sum(wins.values()) + sum(losses.values()) + sum(ties.values())
    figure = f"{count} blind vote{'' if count == 1 else 's'} between {card.name} and other adapters."
    if any(tells(losses[rival], wins[rival], ties[rival]) and losses[rival] > wins[rival] for rival in losses):
        return _open("chosen", title, f"{figure} Another adapter is better.", "Put the better one live.")
    missing = f"Save another checkpoint as adapter and cast {CHOSEN - count} more blind votes."
    return _item("chosen", title, count >= CHOSEN, figure, missing)


def remembers(card: AdapterCard | None) -> Item:
    title = "Forgetting checked"
    if card is None:
        return _open("remembers", title, "No adapter yet.", "Train once.")
    if card.forgetting is None:
        return _open("remembers", title, f"Forgetting of {card.name} is not measured.", "Train it again.")
    figure = f"{card.name}: general-text perplexity {card.forgetting:+.1f} %; limit {BEARABLE:g} %."
    missing = "Use fewer epochs, a lower learning rate or a higher KL weight."
    return _item("remembers", title, card.forgetting <= BEARABLE, figure, missing)


def _against_others(
    card: AdapterCard, votes: Sequence[Vote]
) -> tuple[Counter[Contender], Counter[Contender], Counter[Contender]]:
    """Games of an adapter at full strength against other adapters of its base: won, lost and drawn, by rival."""
    own = Contender(sha256=card.sha256, base=card.base)
    wins, losses, ties = Counter[Contender](), Counter[Contender](), Counter[Contender]()
    for game in (game for vote in votes if vote.blind for game in games(vote)):
        if own not in (game.first, game.second):
            continue
        rival = game.second if game.first == own else game.first
        if not rival.sha256 or rival.base != card.base or rival.sha256 == card.sha256:
            continue
        score = game.score if game.first == own else 1 - game.score
        (wins if score == 1 else losses if score == 0 else ties)[rival] += 1
    return wins, losses, ties


def _item(key: Key, title: str, done: bool, figure: str, missing: str) -> Item:
    return Item(key=key, title=title, done=done, figure=figure, missing="" if done else missing)


def _open(key: Key, title: str, figure: str, missing: str) -> Item:
    return Item(key=key, title=title, done=False, figure=figure, missing=missing)
