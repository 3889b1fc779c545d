"""What a run on preferences has come to, as HTML."""

from __future__ import annotations

from markupsafe import Markup

from chatlab.evaluation.preference_verdict import headline, share
from chatlab.measurements import PreferenceMetrics
from chatlab.training.process.runs import RunView
from chatlab.ui.html import NOTHING, counted, div, element, escaped, joined, span


def preferred(run: RunView) -> Markup:
    """The verdict of held-out pairs, and the figures behind it; nothing for other runs."""
    if not run.request.preferences or run.result is None:
        return NOTHING
    found = run.result.preferences
    return div("verdict", span("", headline(found))) + (_table(found) if found else NOTHING)


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


def _of(count: int, found: PreferenceMetrics) -> str:
    return f"{count} of {found.pairs}"
