"""The import as HTML: the recognised format, the first rows as records, the progress and the outcome."""

from __future__ import annotations

from markupsafe import Markup

from chatlab.formats import Imported, Outcome, Prompt, Proposal, layout
from chatlab.lab.data.import_job import Progress
from chatlab.records import Message, Preference
from chatlab.ui.html import NOTHING, counted, div, duration, element, joined, one_line, progress_bar, span

WIDTH = 180
"""Characters of a cell in the preview."""
SEEN = 20
"""Refused rows that are listed on the page."""


def title(name: str, proposal: Proposal) -> Markup:
    """The file, its recognised format, and the columns that are not used."""
    text = [span("import-name", name), span("chip", proposal.title)]
    if proposal.own:
        text.append(span("chip", "written by Chatlab"))
    notes = []
    if not proposal.sure:
        notes.append("Columns are guessed; check them below.")
    if layout(proposal.columns.layout).becomes == "unseen prompts":
        notes.append("It has no answers to learn. Its prompts can be unseen prompts, asked before and after a run.")
    if proposal.unused:
        notes.append("Not used: " + ", ".join(one_line(column, 30) for column in proposal.unused[:12]) + ".")
    if not proposal.own:
        notes.append("Leading and trailing spaces are removed.")
    return div("import-title", *text) + div("import-notes", span("", " ".join(notes)))


def table(rows: list[Outcome], proposal: Proposal) -> Markup:
    """Cut short, one line each; a refused row says why."""
    becomes = layout(proposal.columns.layout).becomes
    names = {"preferences": ("prompt", "chosen", "rejected"), "demonstrations": ("prompt", "answer")}.get(
        becomes, ("unseen prompt",)
    )
    head = joined(element("th", span("", name)) for name in (proposal.container.counts, *names))
    body = joined(element("tr", _row(row, len(names))) for row in rows)
    return div("import-table", element("table", element("tr", head) + body))


def outcome(progress: Progress) -> Markup:
    """A bar while it goes on; figures, and the refused rows once it is over."""
    bar = progress_bar(progress.share)
    parts = [div("import-said", span("", said(progress)))]
    if progress.state == "reading":
        parts.insert(0, bar)
    if progress.problem:
        parts.append(div("import-said", span("mask-warning", progress.problem)))
    if progress.aside:
        parts.append(_aside(progress))
    if progress.refused:
        parts.append(_refused(progress))
    return div(f"import-outcome {progress.state}", *parts)


def said(progress: Progress) -> str:
    """One sentence of figures."""
    doing = {"reading": "Importing", "done": "Imported", "stopped": "Stopped", "failed": "Not finished"}[progress.state]
    figures = [f"{progress.rows:,} rows read", f"{progress.kept:,} kept"]
    if progress.known:
        figures.append(f"{progress.known:,} already there")
    if progress.refused:
        figures.append(f"{progress.refused:,} refused")
    return f"{doing} {one_line(progress.name, 60)}: {', '.join(figures)}. {duration(progress.seconds)}."


def _aside(progress: Progress) -> Markup:
    """What waits for asking the unseen prompts' questions."""
    count = len(progress.aside)
    waits = "1 repeats" if count == 1 else f"{count:,} repeat"
    text = f"{waits} your unseen prompts. They wait until you decide."
    return div("import-said", span("mask-warning", text))


def _refused(progress: Progress) -> Markup:
    rows = joined(
        element("tr", element("td", span("", f"{progress.counts} {one.line:,}")) + element("td", span("", one.reason)))
        for one in progress.reasons[:SEEN]
    )
    left = progress.refused - SEEN
    more = (
        div("import-notes", span("", f"and {counted(left, 'more row')}; the download has them all"))
        if left > 0
        else NOTHING
    )
    return div("import-table refused", element("table", rows)) + more


def _row(row: Outcome, cells: int) -> Markup:
    number = element("td", span("faint", f"{row.line:,}"))
    if not isinstance(row, Imported):
        return number + element("td", span("mask-warning", "Refused. " + row.reason), colspan=cells)
    record = row.record
    if isinstance(record, Prompt):
        return number + _cell(record.text)
    if isinstance(record, Preference):
        return number + _asked(record.prompt) + _cell(record.chosen) + _cell(record.rejected)
    return number + _asked(record.messages[:-1]) + _cell(record.answer, _thought(record.messages[-1]))


def _asked(prompt: tuple[Message, ...]) -> Markup:
    """The last message, and how much came before it."""
    turns = [message for message in prompt if message.role != "system"]
    before = [f"after {counted(len(turns) - 1, 'turn')}"] if len(turns) > 1 else []
    before += ["system message"] if len(turns) < len(prompt) else []
    chips = joined(span("chip", note) for note in before)
    return element("td", chips + span("", one_line(turns[-1].content if turns else NOTHING, WIDTH)))


def _thought(answer: Message) -> Markup:
    """That something was thought before an answer, and how much."""
    return span("chip", f"thinking, {counted(len(answer.reasoning.split()), 'word')}") if answer.reasoning else NOTHING


def _cell(text: str, before: str = "") -> Markup:
    return element("td", before + span("", one_line(text, WIDTH)))
