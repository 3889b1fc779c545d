"""What a run on preferences has come to, as HTML."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from chatlab.evaluation.preference_verdict import headline, share
from chatlab.measurements import AnswerTokens, PairTokens, PreferenceMetrics
from chatlab.training.process.runs import RunView
from chatlab.ui.html import NOTHING, counted, div, element, escaped, joined, one_line, span

SHADES = (0.1, 0.5, 1.0, 2.0)
"""Nats by which a token has changed, from which on its background is stronger."""


def preferred(run: RunView) -> Markup:
    """The verdict of held-out pairs, and the figures behind it; nothing for other runs."""
    if not run.request.preferences or run.result is None:
        return NOTHING
    found = run.result.preferences
    if found is None:
        return div("verdict", span("", headline(found)))
    return div("verdict", span("", headline(found))) + _table(found) + _pictures(found.examples)


def _table(found: PreferenceMetrics) -> Markup:
    rows = (
        ("More likely than before, against the other", "", share(found.by_reward, found)),
        ("Ranked as you did, by log-probability", _of(found.by_log_prob_before, found), _of(found.by_log_prob, found)),
        ("What “the longer one wins” would get right", "", _of(found.by_length, found)),
        ("Chosen answers, nats per token", f"{found.chosen_before:.2f}", f"{found.chosen_after:.2f}"),
        ("Margin of the implicit reward", "0", f"{found.margin:.2f}"),
        ("KL to the start (nats per token)", "0", f"{found.kl:.3f}"),
    )
    titles = (f"{counted(found.pairs, 'held-out pair')}, {counted(found.prompts, 'prompt')}", "Before", "After")
    head = element("tr", joined(element("th", escaped(title)) for title in titles))
    body = joined(element("tr", joined(element("td", escaped(cell)) for cell in row)) for row in rows)
    return div("samples manners", element("table", head + body))


def _pictures(examples: Sequence[PairTokens]) -> Markup:
    """Token by token, what became likelier in some held-out pairs and what less likely; folded away."""
    if not examples:
        return NOTHING
    title = element("summary", escaped("Which tokens were raised, and which lowered"))
    key = div("faint", span("", "Held-out pairs: the largest gain, the median, the smallest. "), _key())
    return element("details", joined((title, key, *map(_picture, examples))), kind="token-changes")


def _key() -> Markup:
    return element("b", escaped("raised"), kind="up3") + span("", " ") + element("b", escaped("lowered"), kind="down3")


def _picture(pair: PairTokens) -> Markup:
    gain = pair.chosen.change - pair.rejected.change
    asked = div("sentence", element("b", escaped(one_line(pair.prompt, 120))), span("", f" · gain {gain:+.1f} nats"))
    return asked + _answer("Chosen", pair.chosen) + _answer("Rejected", pair.rejected)


def _answer(title: str, answer: AnswerTokens) -> Markup:
    tokens = zip(answer.texts, answer.before, answer.after, strict=True)
    drawn = joined(
        element("b", escaped(text), kind=_shade(after - before), title=f"{before:.2f} → {after:.2f} nats")
        for text, before, after in tokens
    )
    return div("token-change", span("faint", f"{title} {answer.change:+.1f}"), element("p", drawn))


def _shade(change: float) -> str:
    """Of a token's background, in four strengths."""
    strength = sum(abs(change) >= least for least in SHADES)
    return f"{'up' if change > 0 else 'down'}{strength}" if strength else ""


def _of(count: int, found: PreferenceMetrics) -> str:
    return f"{count} of {found.pairs}"
