"""A round drawn: what was asked, who answered what, and what was said of it."""

from __future__ import annotations

from chatlab.lab.compare.compare import Pane
from chatlab.ui.compare.session import CompareSession, Round, Step
from chatlab.ui.html import counted, div, element, escaped, one_line, span
from chatlab.ui.markdown import prose

LETTERS = "ABCDEF"


def panes(round_: Round) -> str:
    """Until the vote nothing in here depends on who spoke but the answers themselves and their order."""
    drawn = "".join(_pane(round_, i) for i in range(len(round_.panes)))
    return _asked(round_) + div(f"panes of-{len(round_.panes)}", drawn) + _note(round_)


def last_vote(session: CompareSession, shown: Round | None) -> str:
    """Who was who in the newest vote, where the panes no longer say so."""
    last = session.last
    if last is None:
        return ""
    if last.taken_back:
        return div("last-vote", span("", "Vote undone. Its preferences are removed."))
    if shown is not None and (shown.prompt, shown.panes) == (last.prompt, last.panes):
        return ""
    cast = span("last-verdict", f"{_verdict(last)}: {one_line(last.prompt, 60)}")
    return div("last-vote", cast, *(_who(last, i) for i in last.spoke))


def progress(step: Step) -> str:
    """How far the walk has come."""
    done = f"{step.judged} of {counted(step.total, 'unseen prompt')} judged"
    share = 100 * step.judged / max(1, step.total)
    bar = (
        f'<span class="walk-bar" role="progressbar" aria-valuemin="0" aria-valuemax="{step.total}"'
        f' aria-valuenow="{step.judged}" aria-label="{escaped(done)}"><i style="width: {share:.1f}%"></i></span>'
    )
    return div("walk", bar, span("faint", done))


def _asked(round_: Round) -> str:
    """An unseen prompt stands above its answers; a typed one is in its box."""
    if round_.step is None:
        return ""
    return div("asked", progress(round_.step), element("p", escaped(round_.prompt), "asked-prompt"))


def _pane(round_: Round, i: int) -> str:
    pane = round_.panes[i]
    best = round_.verdict == "best" and round_.winner == i
    name = span("pane-name", pane.voice) if round_.revealed else span("pane-name faint", "hidden until you vote")
    won = span("chip good", "best") if best else ""
    head = div("pane-head", span("pane-letter", LETTERS[i]), name, won)
    body = _failed(round_, pane) if pane.error else _said(pane)
    return div("pane won" if best else "pane", head, body, _proof(pane) if round_.revealed else "")


def _said(pane: Pane) -> str:
    if pane.done and not pane.text.strip():
        return div("pane-text", span("faint", "Empty answer." if pane.speaker else "No answer yet."))
    return div("pane-text", prose(pane.text), "" if pane.done else '<span class="caret"></span>')


def _failed(round_: Round, pane: Pane) -> str:
    """What went wrong may name the adapter."""
    why = pane.error if round_.revealed else "No answer. The reason shows after the vote."
    return div("warning", span("", why))


def _proof(pane: Pane) -> str:
    """Who spoke, by the engine's own word."""
    if pane.speaker is None:
        return ""
    speaker = pane.speaker
    adapter = f"{speaker.adapter} sha256 {speaker.sha256[:12]}" if speaker.sha256 else f"{speaker.adapter}, no adapter"
    pace = f"{counted(speaker.tokens, 'token')}, {speaker.seconds:.1f} s"
    return div("proof", span("", f"By {adapter} · {pace}", f"{speaker.sha256 or 'base'} on base {speaker.base}"))


def _who(round_: Round, i: int) -> str:
    pane = round_.panes[i]
    sha256 = pane.speaker.sha256 if pane.speaker else ""
    proof = element("code", escaped(sha256[:12]) if sha256 else "no adapter")
    kind = "who won" if round_.verdict == "best" and round_.winner == i else "who"
    return element("span", f"<b>{LETTERS[i]}</b>" + span("", pane.voice) + proof, kind, sha256)


def _verdict(round_: Round) -> str:
    if round_.verdict == "best" and round_.winner is not None:
        return f"{LETTERS[round_.winner]} was {'better' if len(round_.spoke) == 2 else 'best'}"
    if round_.verdict == "tie":
        return "A tie"
    return "Both bad" if len(round_.spoke) == 2 else "All bad"


def _note(round_: Round) -> str:
    texts = [round_.panes[i].text for i in round_.spoke]
    if round_.taken_back:
        return div("faint note", span("", "Vote undone. Ask again for new answers."))
    if round_.done and len(texts) > 1 and len(set(texts)) == 1:
        return div("faint note", span("", "All answers are identical: a tie."))
    if round_.done and len(round_.panes) > 1 and len(texts) < 2:
        return div("faint note", span("", "There are no two answers to choose from."))
    return ""
