"""The training data of a run or an adapter, and what has changed since."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from chatlab.errors import ChatlabError
from chatlab.lab import Lab
from chatlab.lab.data.lineage import TrainedExample
from chatlab.training.runs import RunView
from chatlab.ui.html import NOTHING, control, div, element, escaped, joined, one_line, span
from chatlab.ui.shell import error_text

LISTED = 200
"""Demonstrations listed; the rest are counted."""
SINCE = {"same": "", "edited": "edited since", "discarded": "discarded since", "deleted": "deleted since"}


def of_run(lab: Lab, run: RunView) -> Markup:
    """The exact demonstrations, as they were when the run was asked for."""
    facts = f"snapshot sha256 {run.request.snapshot[:16]} · live before: {run.request.parent or 'base'}"
    try:
        return table(lab.lineage.of_run(run), facts)
    except ChatlabError as error:
        return div("faint", span("", error_text(error)))


def of_adapter(lab: Lab, name: str) -> Markup:
    """The same from the adapter's own folder, whether or not its run is still there."""
    card = lab.voices.who(name)
    facts = f"snapshot sha256 {card.snapshot[:16]}" if card else ""
    try:
        return table(lab.lineage.of(name), facts)
    except ChatlabError as error:
        return div("faint", span("", error_text(error)))


def table(lessons: Sequence[TrainedExample], facts: str) -> Markup:
    """A row each; the number opens the demonstration as it is now."""
    lines = joined(_row(lesson) for lesson in lessons[:LISTED])
    more = len(lessons) - LISTED
    rest = div("faint", escaped(f"and {more:,} more")) if more > 0 else NOTHING
    changed = sum(lesson.now != "same" for lesson in lessons)
    since = f" · {changed} of {len(lessons)} changed since" if changed else ""
    return div("lineage", element("table", lines), rest, div("faint", span("", facts + since)))


def _row(lesson: TrainedExample) -> Markup:
    notes = [lesson.part if lesson.part != "learned" else "", SINCE[lesson.now]]
    note = ", ".join(filter(None, notes))
    texts = (("", one_line(lesson.asked, 60)), ("", one_line(lesson.answer, 90)), ("faint", note))
    cells = [_number(lesson), *(span(kind, text) for kind, text in texts)]
    return element("tr", joined(element("td", cell) for cell in cells))


def _number(lesson: TrainedExample) -> Markup:
    if lesson.now == "deleted":
        return span("faint", str(lesson.id))
    act = control(act="open-demonstration", to="page", turn=lesson.id)
    title = "Open it on the Demonstrations tab"
    return element("button", escaped(str(lesson.id)), kind="linked", type="button", title=title, **act)
