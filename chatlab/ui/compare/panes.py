"""A round as HTML: the prompt, the answers, and the vote."""

from __future__ import annotations

from markupsafe import Markup

from chatlab.lab.compare.compare import Pane
from chatlab.ui.compare.session import CompareSession, Round, Step
from chatlab.ui.html import NOTHING, counted, div, element, escaped, joined, one_line, span
from chatlab.ui.markdown import prose

LETTERS = "ABCDEF"


def panes(round_: Round) -> Markup:
    """Until the vote nothing in here depends on the adapters but the answers themselves and their order."""
    html = joined(_pane(round_, i) for i in range(len(round_.panes)))
    return _asked(round_) + div(f"panes of-{len(round_.panes)}", html) + _note(round_)


def last_vote(session: CompareSession, shown: Round | None) -> Markup:
    """The names of the newest vote, where the panes no longer show them."""
    last = session.last
    if last is None:
        return NOTHING
    if last.taken_back:
        return div("last-vote", span("", "Vote undone. Its preferences are removed."))
    if shown is not None and (shown.prompt, shown.panes) == (last.prompt, last.panes):
        return NOTHING
    cast = span("last-verdict", f"{_verdict(last)}: {one_line(last.prompt, 60)}")
    return div("last-vote", cast, *(_who(last, i) for i in last.spoke))


def progress(step: Step) -> Markup:
    """How many unseen prompts are judged."""
    done = f"{step.judged} of {counted(step.total, 'unseen prompt')} judged"
    share = 100 * step.judged / max(1, step.total)
    bar = element(
        "span",
        element("i", style=f"width: {share:.1f}%"),
        kind="walk-bar",
        role="progressbar",
        aria_valuemin=0,
        aria_valuemax=step.total,
        aria_valuenow=step.judged,
        aria_label=done,
    )
    return div("walk", bar, span("faint", done))


def _asked(round_: Round) -> Markup:
    """An unseen prompt stands above its answers; a typed one is in its box."""
    if round_.step is None:
        return NOTHING
    return div("asked", progress(round_.step), element("p", escaped(round_.prompt), kind="asked-prompt"))


def _pane(round_: Round, i: int) -> Markup:
    pane = round_.panes[i]
    best = round_.verdict == "best" and round_.winner == i
    name = span("pane-name", pane.variant) if round_.revealed else span("pane-name faint", "hidden until you vote")
    won = span("chip good", "best") if best else NOTHING
    head = div("pane-head", span("pane-letter", LETTERS[i]), name, won)
    body = _failed(round_, pane) if pane.error else _said(pane)
    return div("pane won" if best else "pane", head, body, _proof(pane) if round_.revealed else NOTHING)


def _said(pane: Pane) -> Markup:
    if pane.done and not pane.text.strip():
        return div("pane-text", span("faint", "Empty answer." if pane.provenance else "No answer yet."))
    return div("pane-text", prose(pane.text), NOTHING if pane.done else span("caret", ""))


def _failed(round_: Round, pane: Pane) -> Markup:
    """What went wrong may name the adapter."""
    why = pane.error if round_.revealed else "No answer. The reason shows after the vote."
    return div("warning", span("", why))


def _proof(pane: Pane) -> Markup:
    """Which weights answered, as the engine reports it."""
    if pane.provenance is None:
        return NOTHING
    provenance = pane.provenance
    adapter = (
        f"{provenance.adapter} sha256 {provenance.sha256[:12]}"
        if provenance.sha256
        else f"{provenance.adapter}, no adapter"
    )
    pace = f"{counted(provenance.tokens, 'token')}, {provenance.seconds:.1f} s"
    return div("proof", span("", f"By {adapter} · {pace}", f"{provenance.sha256 or 'base'} on base {provenance.base}"))


def _who(round_: Round, i: int) -> Markup:
    pane = round_.panes[i]
    sha256 = pane.provenance.sha256 if pane.provenance else ""
    proof = element("code", escaped(sha256[:12] or "no adapter"))
    kind = "who won" if round_.verdict == "best" and round_.winner == i else "who"
    return element(
        "span", element("b", escaped(LETTERS[i])), span("", pane.variant), proof, kind=kind, title=sha256 or None
    )


def _verdict(round_: Round) -> str:
    if round_.verdict == "best" and round_.winner is not None:
        return f"{LETTERS[round_.winner]} was {'better' if len(round_.spoke) == 2 else 'best'}"
    if round_.verdict == "tie":
        return "A tie"
    return "Both bad" if len(round_.spoke) == 2 else "All bad"


def _note(round_: Round) -> Markup:
    texts = [round_.panes[i].text for i in round_.spoke]
    if round_.taken_back:
        return div("faint note", span("", "Vote undone. Ask again for new answers."))
    if round_.done and len(texts) > 1 and len(set(texts)) == 1:
        return div("faint note", span("", "All answers are identical: a tie."))
    if round_.done and len(round_.panes) > 1 and len(texts) < 2:
        return div("faint note", span("", "There are no two answers to choose from."))
    return NOTHING
