"""What the Knowledge tab shows: files as they are read, the state of the index, documents, and passages."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from markupsafe import Markup

from chatlab.lab.chat.ingestion import Adding
from chatlab.retrieval.document import LABELS, DocumentInfo, Passage
from chatlab.retrieval.index import SearchHit
from chatlab.retrieval.indexer import State
from chatlab.ui.html import (
    NOTHING,
    counted,
    div,
    duration,
    element,
    escaped,
    joined,
    one_line,
    press,
    progress_bar,
    span,
)
from chatlab.ui.markdown import marked

LISTED = 60
"""Documents on the page; a filter finds the others."""
REFUSED = 12


def adding(progress: Adding) -> Markup:
    """A bar while files are read; what came of them after; nothing before."""
    if progress.state == "idle":
        return NOTHING
    parts = [div("import-said", span("", _said(progress)))]
    if progress.state == "reading":
        share = progress.done / max(1, progress.files)
        parts.insert(0, progress_bar(share))
    if progress.message:
        parts.append(div("import-said", span("mask-warning", progress.message)))
    parts += [div("refusal", span("", one_line(reason, 300))) for reason in progress.refused[:REFUSED]]
    if (left := len(progress.refused) - REFUSED) > 0:
        parts.append(div("import-notes", span("", f"and {counted(left, 'more file')} that could not be read")))
    return div("import-outcome", *parts)


def _said(progress: Adding) -> str:
    doing = {"reading": "Reading", "done": "Read", "stopped": "Stopped", "failed": "Not finished"}
    figures = [f"{progress.done:,} of {counted(progress.files, 'file')}", f"{progress.kept:,} kept"]
    if progress.again:
        figures.append(f"{progress.again:,} already there")
    if progress.refused:
        figures.append(f"{len(progress.refused):,} refused")
    name = f" · {one_line(progress.name, 40)}" if progress.name else ""
    return f"{doing.get(progress.state, '')} {', '.join(figures)}{name}"


def state(now: State, documents: int) -> Markup:
    """How far the index is, in a sentence and a bar."""
    if not documents:
        return NOTHING
    have = f"{counted(documents, 'document')}, {counted(now.passages, 'passage')}."
    if now.meaning:
        searched = "Keyword search only." if now.bm25_ready else "Building the keyword index."
        return div("index-state", span("", f"{have} {searched} "), span("warn", now.meaning))
    parts = [span("", f"{have} {_ready(now)}")]
    if now.problem:
        parts.append(span("warn", " " + now.problem))
    if now.embedded < now.passages:
        share = now.embedded / max(1, now.passages)
        parts.append(progress_bar(share))
    return div("index-state", *parts)


def _ready(now: State) -> str:
    if now.embedded < now.passages:
        left = (now.passages - now.embedded) / now.rate if now.rate else 0
        soon = f", about {duration(left)} left" if left >= 1 else ""
        return f"Embedding: {now.embedded:,} of {now.passages:,}{soon}. Keyword search works already."
    if not now.bm25_ready:
        return "Building the keyword index."
    return "Keyword and semantic search are ready."


def documents(found: Sequence[DocumentInfo], query: str) -> Markup:
    """A line or two each."""
    wanted = query.casefold().split()
    shown = [
        document for document in found if all(word in f"{document.title} {document.name}".casefold() for word in wanted)
    ]
    if not found:
        text = "No documents yet. Add some, and answers can cite them."
        return div("empty", span("", text))
    if not shown:
        return div("empty", span("", "No document matches."))
    more = len(shown) - LISTED
    rest = (
        div("import-notes", span("", f"and {counted(more, 'more document')}; use the filter")) if more > 0 else NOTHING
    )
    return div("shelf", *map(_document, shown[:LISTED]), rest)


def _document(document: DocumentInfo) -> Markup:
    pages = {"pdf": "page", "table": "row"}.get(document.kind)
    facts = [counted(document.pages, pages)] if pages else []
    facts += [counted(document.characters, "character"), counted(len(document.spans), "passage")]
    title = _press("read", document.id, document.title, "shelf-title", f"Read the passages of {document.name}")
    remove = _press("remove", document.id, "×", "tool", f"Remove {document.name}")
    line = div(
        "shelf-facts",
        span("chip", LABELS[document.kind]),
        span("", f"{one_line(document.name, 60)} · {' · '.join(facts)}"),
    )
    problems = joined(div("refusal", span("", problem)) for problem in document.problems)
    return div("shelf-one", div("shelf-head", title, remove), line, problems)


def _press(act: str, id: str, label: str, kind: str, said: str) -> Markup:
    return press(label, kind, name=said, act=act, to="knowledge", text=id)


def hits(found: Sequence[SearchHit], query: str) -> Markup:
    """The passages that were found, the best first, and which of the two retrievers found them."""
    if not found:
        return div("empty", span("", "No matches."))
    return div("hits", *(_hit(number, hit, query) for number, hit in enumerate(found, 1)))


def _hit(number: int, hit: SearchHit, query: str) -> Markup:
    head = div(
        "hit-head",
        span("hit-number", str(number)),
        span("hit-title", one_line(hit.passage.title, 80), title=hit.name),
        span("hit-place", f"characters {hit.passage.start:,} to {hit.passage.end:,}"),
    )
    words = _found_by("Keywords", hit.bm25_rank, hit.bm25_score, "BM25 {:.1f}")
    meaning = _found_by("Meaning", hit.vector_rank, hit.vector_score, "cosine {:.2f}")
    return div("hit", head, div("hit-how", words, meaning), div("said", marked(hit.passage.text, query)))


def _found_by(who: str, rank: int | None, score: float | None, how: str) -> Markup:
    if rank is None or score is None:
        return span("chip missed", f"{who}: not in the top 100")
    return span("chip", f"{who}: rank {rank}, {how.format(score)}")


def passages(document: DocumentInfo, found: Iterable[Passage], first: int) -> Markup:
    """Some of a document's passages, as they are indexed."""
    shown = list(found)
    title = span("hit-title", one_line(document.title, 80), title=document.name)
    count = span("hit-place", f"passages {first + 1:,} to {first + len(shown):,} of {len(document.spans):,}")
    return div("hits", div("hit-head", title, count), *(_read(first + n, one) for n, one in enumerate(shown, 1)))


def _read(number: int, one: Passage) -> Markup:
    place = span("hit-place", f"characters {one.start:,} to {one.end:,}")
    return div("hit", div("hit-head", span("hit-number", str(number)), place), div("said", span("", one.text)))


def around(title: str, place: tuple[int, int], parts: tuple[str, str, str]) -> Markup:
    """A passage among what stands about it."""
    before, passage, after = (escaped(part) for part in parts)
    head = div(
        "hit-head",
        span("hit-title", one_line(title, 80)),
        span("hit-place", f"characters {place[0]:,} to {place[1]:,}"),
    )
    return div("hits", div("hit", head, div("said whole", before, element("mark", passage), after)))
