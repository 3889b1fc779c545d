"""The sources of an answer: its [1] as links, and below it the passages that the links open."""

from __future__ import annotations

from markupsafe import Markup

from chatlab.citations import RetrievedPassage
from chatlab.conversation import Turn
from chatlab.ui.html import NOTHING, control, counted, div, element, escaped, one_line, press, span
from chatlab.ui.markdown import Cite
from chatlab.ui.passage import marked


def citing(turn: Turn) -> Cite | None:
    """How the numbers in brackets of an answer are shown: as links, where they are sources that it was given."""
    if not turn.sources:
        return None

    def link(number: int) -> Markup:
        if not 1 <= number <= len(turn.sources):
            return NOTHING
        title = one_line(turn.sources[number - 1].title, 80)
        where = control(act="cite", turn=turn.id, number=number)
        return element("button", escaped(str(number)), kind="cite", type="button", title=title, **where)

    return link


def sources(turn: Turn, asked: str) -> Markup:
    """All passages that the answer was given, folded; they are kept with it, whatever becomes of their documents."""
    if not turn.sources:
        return NOTHING
    said = element("summary", escaped(f"Made with {counted(len(turn.sources), 'source')}"))
    each = (_source(turn, number, one, asked) for number, one in enumerate(turn.sources, 1))
    return element("details", said, *each, kind="sources")


def _source(turn: Turn, number: int, one: RetrievedPassage, asked: str) -> Markup:
    head = div(
        "source-head",
        span("source-number", str(number)),
        span("source-title", one_line(one.title, 90), title=f"sha256 {one.document}"),
        span("source-place", f"characters {one.start:,} to {one.end:,}"),
        _in_its_document(one),
    )
    passage = div("source-text", marked(one.text, asked))
    return element("div", head, passage, kind="source", id=f"source-{turn.id}-{number}")


def _in_its_document(one: RetrievedPassage) -> Markup:
    return press("in its document", "quiet", act="around", to="knowledge", text=f"{one.document}:{one.start}:{one.end}")
