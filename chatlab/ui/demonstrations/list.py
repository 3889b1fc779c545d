"""The list of demonstrations: search, filters, pages, counts, and the readiness meter above it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import gradio as gr
from markupsafe import Markup

from chatlab.lab.data.demonstrations import Demonstrations
from chatlab.lab.data.quality import Quality
from chatlab.records import Demonstration, Status
from chatlab.ui.html import NOTHING, counted, div, element, escaped, joined, one_line, span
from chatlab.ui.shell import html_block

PAGE = 20
MARKS: dict[Status, str] = {"approved": "✓", "waiting": "○", "discarded": "✕"}
ANY = ""

Updates = dict[Any, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class ListView:
    """Filters and page of the list."""

    text: str = ""
    tag: str = ANY
    status: str = ANY
    page: int = 0


class DemonstrationList:
    """Reads the store each time."""

    def __init__(self, demonstrations: Demonstrations, quality: Quality) -> None:
        self._demonstrations = demonstrations
        self._quality = quality

    def build_meter(self) -> None:
        self.readiness = html_block(elem_classes="flat")

    def build(self) -> None:
        with gr.Row(elem_classes="tight"):
            self.search = gr.Textbox(
                "",
                label="Search",
                placeholder="Search",
                show_label=False,
                container=False,
                max_lines=1,
                scale=3,
                min_width=120,
            )
            self.tag = gr.Dropdown(
                [("Any tag", ANY)], value=ANY, label="Tag", show_label=False, container=False, scale=2, min_width=110
            )
            self.write = gr.Button("New", size="sm", scale=0, min_width=90)
        self.status = gr.Radio(
            [("All", ANY)], value=ANY, label="Status", show_label=False, container=False, elem_classes="segments"
        )
        self.empty = html_block(visible=False, elem_classes="flat")
        self.rows = gr.Radio(
            [],
            label="Demonstrations",
            show_label=False,
            container=False,
            elem_classes="rows",
            elem_id="demonstration-rows",
        )
        with gr.Row(elem_classes="tight pager"):
            self.newer = gr.Button("‹", size="sm", min_width=40, scale=0, elem_id="demonstrations-newer")
            self.position = html_block(elem_classes="flat place")
            self.older = gr.Button("›", size="sm", min_width=40, scale=0, elem_id="demonstrations-older")
        self.page = gr.State(0)

    @property
    def inputs(self) -> set[Any]:
        return {self.search, self.tag, self.status, self.page}

    def read(self, values: Mapping[Any, Any]) -> ListView:
        """The view in the values of `inputs`."""
        return ListView(
            text=values[self.search] or "",
            tag=values[self.tag] or ANY,
            status=values[self.status] or ANY,
            page=int(values[self.page]),
        )

    @property
    def shown(self) -> set[Any]:
        moved = {self.rows, self.empty, self.position, self.newer, self.older, self.page}
        return {self.readiness, self.tag, self.status, *moved}

    def draw(self, view: ListView, *, selected: int | None = None) -> Updates:
        """One page, which is the last one where `view.page` is past the end; `selected` is marked if it is there."""
        rows, total = self.find(view)
        page = max(0, view.page) if rows else max(0, (total - 1) // PAGE)
        rows = rows or self.find(replace(view, page=page))[0]
        ids = [demonstration_id for demonstration_id, _ in rows]
        return {
            self.rows: gr.Radio(
                choices=[(_row(d), i) for i, d in rows], value=selected if selected in ids else None, visible=bool(rows)
            ),
            self.empty: gr.Markdown(_empty(bool(view.text or view.tag or view.status)), visible=not rows),
            self.page: page,
            self.position: _position(page, len(rows), total),
            self.newer: gr.Button(interactive=page > 0),
            self.older: gr.Button(interactive=(page + 1) * PAGE < total),
        } | self._totals(view)

    def find(self, view: ListView) -> tuple[list[tuple[int, Demonstration]], int]:
        """The rows of one page, and how many match in all."""
        start = max(0, view.page) * PAGE
        return self._demonstrations.find(text=view.text, tag=view.tag, status=view.status, offset=start, limit=PAGE)

    def without(self, selected: int, view: ListView) -> int | None:
        """The next one in the list once `selected` is decided on."""
        ids = [demonstration_id for demonstration_id, _ in self.find(view)[0]]
        if selected not in ids:
            return next(iter(ids), None)
        at = ids.index(selected)
        return next(iter([*ids[at + 1 :], *reversed(ids[:at])]), None)

    def after(self, selected: int | None, view: ListView) -> tuple[int | None, ListView]:
        """The one after `selected`, and the page it is on; from the end back to the beginning."""
        rows, total = self.find(view)
        ids = [demonstration_id for demonstration_id, _ in rows]
        if selected not in ids:
            return next(iter(ids), None), view
        if selected != ids[-1]:
            return ids[ids.index(selected) + 1], view
        turned = replace(view, page=view.page + 1 if (view.page + 1) * PAGE < total else 0)
        return self.find(turned)[0][0][0], turned

    def _totals(self, view: ListView) -> Updates:
        """Labels with counts. The chosen tag is written only where it is gone, so that a quick choice is not lost."""
        labels, tags = self._labels()
        known = {key for _, key in tags}
        usable = self._quality.usable()
        return {
            self.readiness: readiness(usable.count, usable.not_usable),
            self.status: gr.Radio(choices=labels),
            self.tag: gr.Dropdown(choices=tags) if view.tag in known else gr.Dropdown(choices=tags, value=ANY),
        }

    def clear(self) -> Updates:
        """No filters."""
        labels, tags = self._labels()
        return {
            self.search: "",
            self.status: gr.Radio(choices=labels, value=ANY),
            self.tag: gr.Dropdown(choices=tags, value=ANY),
        }

    def _labels(self) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
        """Statuses with counts, and tags."""
        counts = self._demonstrations.counts()
        statuses = [("All", ANY), *((name.capitalize(), name) for name in MARKS)]
        labels = [(f"{name} {counts.get(key, 0) if key else sum(counts.values())}", key) for name, key in statuses]
        return labels, [("Any tag", ANY), *((name, name) for name in self._demonstrations.tags())]


def _row(demonstration: Demonstration) -> str:
    """Two lines: the prompt, and the answer."""
    asked = next((m.content for m in reversed(demonstration.prompt) if m.role == "user"), "(no prompt)")
    mark = MARKS.get(demonstration.status, "?")  # a newer Chatlab may know others
    return f"{mark} {one_line(asked, 40)}\n{one_line(demonstration.answer, 90) or '(no answer)'}"


def _position(page: int, shown: int, total: int) -> Markup:
    return span("faint", f"{page * PAGE + 1}-{page * PAGE + shown} of {total:,}" if shown else "none")


def _empty(filtered: bool) -> Markup:
    if filtered:
        return div("empty", escaped("No matches. Clear the search or the filters."))
    return div(
        "empty",
        escaped("No demonstrations yet. Load a starter pack, write one, or keep good answers in Chat."),
    )


MOST = 50_000


@dataclass(frozen=True)
class Size:
    """The meter: what so many demonstrations are enough for."""

    at_least: int
    name: str
    range: str


SIZES = (
    Size(100, "a format", "100-500"),
    Size(1_000, "a persona or a domain", "1K-5K"),
    Size(5_000, "production quality", "5K-50K"),
)


def readiness(usable: int, not_usable: Mapping[str, int] | None = None) -> Markup:
    """A meter on a logarithmic scale, with the sentence that goes with it, and why some do not count."""
    marks = joined(element("b", style=f"left:{100 * _share(size.at_least):.1f}%") for size in SIZES)
    scale = div("ready-scale", element("i", style=f"width:{100 * _share(usable):.1f}%"), marks)
    sizes = joined(_size_mark(size, usable) for size in SIZES)
    text = div("ready-said", _said(usable, not_usable or {}))
    return div("ready", text, scale, div("ready-sizes", sizes))


def _said(usable: int, not_usable: Mapping[str, int]) -> Markup:
    kind = "usable" if not_usable else "approved"
    text = span("ready-count", counted(usable, f"{kind} demonstration")) + span("ready-advice", advice(usable))
    return text + (span("ready-not", _why_not(usable, not_usable)) if not_usable else NOTHING)


def _why_not(usable: int, not_usable: Mapping[str, int]) -> str:
    out = sum(not_usable.values())
    reasons = ", ".join(f"{number:,} {reason}" for reason, number in sorted(not_usable.items()))
    return f"{out:,} of {usable + out:,} approved are not usable: {reasons}."


def advice(approved: int) -> str:
    """What that many are good for, and what comes next."""
    if approved == 0:
        return "Load a starter pack, or write a demonstration."
    nearest = next((size for size in SIZES if approved < size.at_least), None)
    if nearest is None:
        return "Enough for production. Check quality before adding more."
    reached = [size for size in SIZES if approved >= size.at_least]
    start = f"Enough to teach {reached[-1].name}." if reached else _beginning(approved)
    return f"{start} {nearest.at_least - approved:,} more for {nearest.name}."


def _beginning(approved: int) -> str:
    return "Enough to see a change." if approved >= 40 else "A start."


def _size_mark(size: Size, approved: int) -> Markup:
    done = "ready-size ready-reached" if approved >= size.at_least else "ready-size"
    mark = "✓ " if approved >= size.at_least else ""
    return element(
        "span",
        escaped(f"{mark}{size.range}"),
        element("i", escaped(f": {size.name}")),
        kind=done,
        style=f"left:{100 * _share(size.at_least):.1f}%",
        title=f"{size.range}: {size.name}",
    )


def _share(approved: int) -> float:
    """Where on the bar: each tenfold takes the same room."""
    return min(1.0, math.log10(approved + 1) / math.log10(MOST))
