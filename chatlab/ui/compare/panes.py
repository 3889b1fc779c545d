"""One round of a comparison: what was asked, who answered what, and what was said of it."""

from __future__ import annotations

from dataclasses import dataclass

from chatlab.lab.compare import Pane
from chatlab.records import Verdict
from chatlab.ui.markup import div, span
from chatlab.ui.prose import prose

LETTERS = "ABCDEF"


@dataclass(frozen=True)
class Round:
    """The panes stand in the order in which they are shown."""

    prompt: str
    system: str
    panes: tuple[Pane, ...]
    blind: bool
    verdict: Verdict | None = None
    winner: int | None = None

    @property
    def revealed(self) -> bool:
        """Names are shown from the start, or once a vote can no longer be swayed by them."""
        return not self.blind or self.verdict is not None

    @property
    def can_vote(self) -> bool:
        """At least two answers, all there, and no vote yet."""
        whole = all(pane.done and not pane.error for pane in self.panes)
        return len(self.panes) > 1 and whole and self.verdict is None


def panes(round_: Round) -> str:
    drawn = "".join(_pane(round_, i) for i in range(len(round_.panes)))
    return div(f"panes of-{len(round_.panes)}", drawn) + _note(round_)


def _pane(round_: Round, i: int) -> str:
    pane = round_.panes[i]
    kind = "pane won" if round_.verdict == "best" and round_.winner == i else "pane"
    name = span("pane-name", pane.voice) if round_.revealed else span("pane-name faint", "who, after the vote")
    head = div("pane-head", span("pane-letter", LETTERS[i]), name)
    waiting = "" if pane.done else '<span class="caret"></span>'
    body = div("pane-text", prose(pane.text), waiting) if not pane.error else div("warning", span("", pane.error))
    return div(kind, head, body, _proof(pane) if round_.revealed else "")


def _proof(pane: Pane) -> str:
    """Who spoke, by the engine's own word."""
    if pane.speaker is None:
        return ""
    speaker = pane.speaker
    adapter = f"{speaker.adapter} sha256 {speaker.sha256[:12]}" if speaker.sha256 else f"{speaker.adapter}, no adapter"
    pace = f"{speaker.tokens} tokens, {speaker.seconds:.1f} s"
    return div("proof", span("", f"Spoken by {adapter} · {pace}", f"{speaker.sha256 or 'base'} on base {speaker.base}"))


def _note(round_: Round) -> str:
    texts = [pane.text for pane in round_.panes]
    if len(texts) > 1 and all(pane.done for pane in round_.panes) and len(set(texts)) == 1:
        return div("faint", span("", "All answers are the same, word for word."))
    return ""
