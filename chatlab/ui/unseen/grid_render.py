"""The grid of replies as HTML: a table that becomes cards on a narrow page."""

from __future__ import annotations

import re
from difflib import SequenceMatcher
from functools import lru_cache

from markupsafe import Markup

from chatlab.evaluation.reply_cache import CachedReply
from chatlab.lab.compare.grid_view import Cell, GridView
from chatlab.records import BASE
from chatlab.ui.html import NOTHING, counted, div, element, escaped, joined, progress_bar, span

PAGE = 24
"""Prompts on a page."""
WINDOW = 3
"""Rows that are rendered again while replies come."""
ALIKE = 0.5
"""Similarity of two replies above which differing words are marked; below it nearly all differ."""
WORDS = 200
"""Words of a reply that are compared one by one."""


def view_parts(view: GridView, page: int, start: int | None = None) -> tuple[str, str, str]:
    """One page of it in three: what is above the rows under way, which begin at `start`, these, and what is below.

    Together they look like one table. Only the middle grows, so only that little is drawn again and again. While
    nobody speaks all of it is above. `page` past the end is the last.
    """
    if not view.prompts:
        return div("empty", span("", "No unseen prompts. Add some under Edit the prompts.")), "", ""
    first = min(page, pages(view) - 1) * PAGE
    last = min(first + PAGE, len(view.prompts))
    start = last if start is None else start
    stop = min(start + WINDOW, last)
    return _table(view, first, start, _heads(view)), _table(view, start, stop), _table(view, stop, last)


def _table(view: GridView, start: int, stop: int, head: str = "") -> Markup:
    if start >= stop and not head:
        return NOTHING
    rows = joined(_row(view, place) for place in range(start, stop))
    return div(f"reply-grid of-{len(view.variants)}", element("table", head + element("tbody", rows)))


def _heads(view: GridView) -> Markup:
    who = joined(_head(view, at) for at in range(len(view.variants)))
    return element("thead", element("tr", element("th", span("", "Prompt")) + who))


def pages(view: GridView) -> int:
    return max(1, -(-len(view.prompts) // PAGE))


def progress(view: GridView, asking: bool) -> Markup:
    """How many replies there are."""
    if not view.size:
        return NOTHING
    bar = progress_bar(view.done / max(1, view.size)) if asking else NOTHING
    failed = sum(bool(cell.error) for row in view.cells for cell in row)
    words = [f"{view.done - failed:,} of {view.size:,} replies", *([f"{failed:,} failed"] if failed else [])]
    return div("grid-progress", bar, span("faint", ", ".join(words)))


def _head(view: GridView, at: int) -> Markup:
    """The adapter, and its figures over all prompts, not only those of this page."""
    found, variant = view.metrics(at), view.variants[at]
    provenance = next((text.provenance for _, text in view.column(at)), None)
    proof = "" if provenance is None else (f"sha256 {provenance.sha256[:12]}" if provenance.sha256 else "no adapter")
    title = "" if provenance is None else f"{provenance.sha256 or 'Base model'} on base {provenance.base}"
    name = span("grid-name", variant) + (
        element("span", escaped(proof), kind="grid-proof", title=title) if proof else NOTHING
    )
    if not found.replies:
        return element("th", div("grid-who", name) + div("grid-sum", span("faint", "no reply yet")))
    figures = [
        ("on-format", f"{found.well_formed / found.replies:.0%}"),
        ("stop by themselves", f"{found.stops / found.replies:.0%}"),
        ("tokens", f"{found.tokens:.0f}"),
    ]
    differing, both = view.differences(at)
    if both and variant != BASE:
        figures.append((f"of {both} differ from the base", f"{differing}"))
    html = joined(element("span", element("b", escaped(value)) + " " + escaped(label)) for label, value in figures)
    return element("th", div("grid-who", name) + div("grid-sum", html))


def _row(view: GridView, place: int) -> Markup:
    asked = element(
        "td", span("grid-number", f"{place + 1}") + span("grid-prompt", view.prompts[place]), kind="grid-asked"
    )
    return element("tr", asked + joined(_cell(view, place, at) for at in range(len(view.variants))))


def _cell(view: GridView, place: int, at: int) -> Markup:
    cell: Cell = view.cells[place][at]
    variant = span("grid-variant", view.variants[at])
    if cell.error:
        return element("td", variant + span("warning", cell.error))
    if cell.said is None:
        caret = span("caret", "") if cell.speaking else NOTHING
        return element("td", variant + div("grid-text", escaped(cell.text), caret))
    base = view.cells[place][view.base_column].said if view.base_column not in (None, at) else None
    return element("td", variant + _said(cell.said, base))


@lru_cache(maxsize=4096)
def _said(said: CachedReply, base: CachedReply | None) -> Markup:
    """A complete reply, with the words marked that are not in the base's reply."""
    text = escaped(said.text) if base is None else _differences(base.text, said.text)
    same = span("chip same", "same as base") if base is not None and base.text == said.text else NOTHING
    provenance = said.provenance
    strength = "" if not provenance.sha256 or provenance.strength == 1.0 else f" × {provenance.strength:g}"
    proof = f"{provenance.adapter}{strength} {provenance.sha256[:7]}".rstrip()
    facts = f"{proof} · {counted(provenance.tokens, 'token')}"
    title = f"{provenance.sha256 or 'Base model'} on base {provenance.base}, {provenance.seconds:.1f} s"
    nothing = span("faint", "(nothing)") if not said.text.strip() else NOTHING
    return div("grid-text", text, nothing) + div("grid-foot", *_marks(said), same, span("grid-fact", facts, title))


def _marks(said: CachedReply) -> list[Markup]:
    """What is wrong with its form; one tick where nothing is."""
    wrong = [
        (not said.form.stops, "✗ does not stop", "Cut off at max tokens"),
        (not said.form.non_empty, "✗ empty", ""),
        (not said.form.no_role_leak, "✗ writes the user's turn", "It contains role markers: it writes the user's turn"),
        (not said.form.no_prompt_echo, "✗ repeats the prompt", "It starts with the prompt"),
    ]
    marks = [span("mark wrong", label, why) for is_wrong, label, why in wrong if is_wrong]
    return marks or [span("mark right", "✓", "Stops by itself, without role markers or repeating the prompt")]


def _differences(base: str, text: str) -> Markup:
    ours, theirs = _pieces(text), _pieces(base)
    if text == base or max(len(ours), len(theirs)) > 2 * WORDS:
        return escaped(text)
    matcher = SequenceMatcher(None, theirs, ours, autojunk=False)
    if matcher.ratio() < ALIKE:
        return escaped(text)
    parts = ((kind, "".join(ours[start:end])) for kind, _, _, start, end in matcher.get_opcodes())
    return joined(escaped(part) if kind == "equal" else element("mark", escaped(part)) for kind, part in parts if part)


def _pieces(text: str) -> list[str]:
    """Words and what is between them."""
    return re.findall(r"\s+|\S+", text)
