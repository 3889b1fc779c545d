"""The training data of a run or an adapter, and what has changed since."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from chatlab.errors import ChatlabError
from chatlab.lab import Lab
from chatlab.lab.data.lineage import TrainedExample
from chatlab.training.process.runs import RunView
from chatlab.ui.html import NOTHING, control, div, element, escaped, joined, one_line, span
from chatlab.ui.shell import error_text

LISTED = 200
"""Demonstrations listed; the rest are counted."""
SINCE = {"same": "", "edited": "edited since", "discarded": "discarded since", "deleted": "deleted since"}


def of_run(lab: Lab, run: RunView) -> Markup:
    """The exact demonstrations, as they were when the run was asked for."""
    facts = f"snapshot sha256 {run.request.snapshot[:16]} · live before: {run.request.parent or 'base'}"
    try:
        return table(lab.lineage.run_examples(run), facts)
    except ChatlabError as error:
        return div("faint", span("", error_text(error)))


def of_adapter(lab: Lab, name: str) -> Markup:
    """The same from the adapter's own folder, whether or not its run is still there."""
    card = lab.variants.card(name)
    if card and card.origin:
        return div("faint", span("", f"Brought from {card.origin}. Its training data is not known here."))
    facts = f"snapshot sha256 {card.snapshot[:16]}" if card else ""
    try:
        return table(lab.lineage.examples(name), facts)
    except ChatlabError as error:
        return div("faint", span("", error_text(error)))


def table(examples: Sequence[TrainedExample], facts: str) -> Markup:
    """A row each; the number opens the demonstration as it is now."""
    lines = joined(_row(example) for example in examples[:LISTED])
    more = len(examples) - LISTED
    rest = div("faint", escaped(f"and {more:,} more")) if more > 0 else NOTHING
    changed = sum(example.now != "same" for example in examples)
    since = f" · {changed} of {len(examples)} changed since" if changed else ""
    return div("lineage", element("table", lines), rest, div("faint", span("", facts + since)))


def _row(example: TrainedExample) -> Markup:
    notes = [example.part if example.part != "learned" else "", SINCE[example.now]]
    note = ", ".join(filter(None, notes))
    texts = (("", one_line(example.asked, 60)), ("", one_line(example.answer, 90)), ("faint", note))
    cells = [_number(example), *(span(kind, text) for kind, text in texts)]
    return element("tr", joined(element("td", cell) for cell in cells))


def _number(example: TrainedExample) -> Markup:
    if example.now == "deleted" or example.preferred:
        return span("faint", str(example.id))
    act = control(act="open-demonstration", to="page", turn=example.id)
    title = "Open it on the Demonstrations tab"
    return element("button", escaped(str(example.id)), kind="linked", type="button", title=title, **act)
