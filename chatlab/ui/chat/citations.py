"""The sources of an answer: its [1] as links, and below it the passages that the links open."""

from __future__ import annotations

from chatlab.citations import RetrievedPassage
from chatlab.conversation import Turn
from chatlab.ui.html import control, counted, div, element, escaped, one_line, span
from chatlab.ui.markdown import Cite
from chatlab.ui.passage import marked


def citing(turn: Turn) -> Cite | None:
    """How the numbers in brackets of an answer are shown: as links, where they are sources that it was given."""
    if not turn.sources:
        return None

    def link(number: int) -> str:
        if not 1 <= number <= len(turn.sources):
            return ""
        title = escaped(one_line(turn.sources[number - 1].title, 80))
        where = control(act="cite", turn=turn.id, number=number)
        return f'<button type="button" class="cite" title="{title}"{where}>{number}</button>'

    return link


def sources(turn: Turn, asked: str) -> str:
    """All passages that the answer was given, folded; they are kept with it, whatever becomes of their documents."""
    if not turn.sources:
        return ""
    said = element("summary", escaped(f"Made with {counted(len(turn.sources), 'source')}"))
    each = (_source(turn, number, one, asked) for number, one in enumerate(turn.sources, 1))
    return element("details", said + "".join(each), "sources")


def _source(turn: Turn, number: int, one: RetrievedPassage, asked: str) -> str:
    head = div(
        "source-head",
        span("source-number", str(number)),
        span("source-title", one_line(one.title, 90), title=f"sha256 {one.document}"),
        span("source-place", f"characters {one.start:,} to {one.end:,}"),
        _in_its_document(one),
    )
    return (
        f'<div class="source" id="source-{turn.id}-{number}">{head}{div("source-text", marked(one.text, asked))}</div>'
    )


def _in_its_document(one: RetrievedPassage) -> str:
    where = control(act="around", to="knowledge", text=f"{one.document}:{one.start}:{one.end}")
    return f'<button type="button" class="quiet"{where}>in its document</button>'
