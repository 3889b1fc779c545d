"""The list of demonstrations: search, filters, pages, and how many there are of each."""

from __future__ import annotations

from typing import Any

import gradio as gr

from chatlab.lab.data.demonstrations import Demonstrations
from chatlab.lab.data.quality import Quality
from chatlab.records import Demonstration, Status
from chatlab.ui.demonstrations.readiness import readiness
from chatlab.ui.html import div, one_line, span
from chatlab.ui.shell import drawing

PAGE = 20
MARKS: dict[Status, str] = {"approved": "✓", "waiting": "○", "discarded": "✕"}
ANY = ""

Updates = dict[Any, Any]


class DemonstrationList:
    """Drawn from the store each time. A place in it is (search, tag, status, page)."""

    def __init__(self, demonstrations: Demonstrations, quality: Quality) -> None:
        self._demonstrations = demonstrations
        self._quality = quality

    def build_meter(self) -> None:
        self.readiness = drawing(elem_classes="flat")

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
        self.empty = drawing(visible=False, elem_classes="flat")
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
            self.position = drawing(elem_classes="flat place")
            self.older = gr.Button("›", size="sm", min_width=40, scale=0, elem_id="demonstrations-older")
        self.page = gr.State(0)

    @property
    def place(self) -> list[Any]:
        return [self.search, self.tag, self.status, self.page]

    @property
    def shown(self) -> set[Any]:
        moved = {self.rows, self.empty, self.position, self.newer, self.older, self.page}
        return {self.readiness, self.tag, self.status, *moved}

    def draw(self, text: str, tag: str, status: str, page: int, *, selected: int | None = None) -> Updates:
        """One page, which is the last one where `page` is past the end; with `selected` marked if it is there."""
        rows, total = self.find(text, tag, status, max(0, page))
        page = max(0, page) if rows else max(0, (total - 1) // PAGE)
        rows = rows or self.find(text, tag, status, page)[0]
        ids = [demonstration_id for demonstration_id, _ in rows]
        return {
            self.rows: gr.Radio(
                choices=[(_row(d), i) for i, d in rows], value=selected if selected in ids else None, visible=bool(rows)
            ),
            self.empty: gr.Markdown(_empty(bool(text or tag or status)), visible=not rows),
            self.page: page,
            self.position: _position(page, len(rows), total),
            self.newer: gr.Button(interactive=page > 0),
            self.older: gr.Button(interactive=(page + 1) * PAGE < total),
        } | self._totals(tag, status)

    def find(self, text: str, tag: str, status: str, page: int) -> tuple[list[tuple[int, Demonstration]], int]:
        return self._demonstrations.find(text=text, tag=tag, status=status, offset=page * PAGE, limit=PAGE)

    def without(self, selected: int, text: str, tag: str, status: str, page: int) -> int | None:
        """Who is next in the list once `selected` has been dealt with."""
        ids = [demonstration_id for demonstration_id, _ in self.find(text, tag, status, page)[0]]
        if selected not in ids:
            return next(iter(ids), None)
        at = ids.index(selected)
        return next(iter([*ids[at + 1 :], *reversed(ids[:at])]), None)

    def after(self, selected: int | None, text: str, tag: str, status: str, page: int) -> tuple[int | None, int]:
        """Who comes after `selected`, and on which page; from the end back to the beginning."""
        rows, total = self.find(text, tag, status, page)
        ids = [demonstration_id for demonstration_id, _ in rows]
        if selected not in ids:
            return next(iter(ids), None), page
        if selected != ids[-1]:
            return ids[ids.index(selected) + 1], page
        turned = page + 1 if (page + 1) * PAGE < total else 0
        return self.find(text, tag, status, turned)[0][0][0], turned

    def _totals(self, tag: str, status: str) -> Updates:
        counts = self._demonstrations.counts()
        statuses = [("All", ANY), *((name.capitalize(), name) for name in MARKS)]
        labels = [(f"{name} {counts.get(key, 0) if key else sum(counts.values())}", key) for name, key in statuses]
        tags = [("Any tag", ANY), *((name, name) for name in self._demonstrations.tags())]
        usable = self._quality.usable()
        return {
            self.readiness: readiness(usable.count, usable.not_usable),
            self.status: gr.Radio(choices=labels, value=status),
            self.tag: gr.Dropdown(choices=tags, value=tag if tag in {key for _, key in tags} else ANY),
        }


def _row(demonstration: Demonstration) -> str:
    """Two lines: the prompt, and the answer."""
    asked = next((m.content for m in reversed(demonstration.prompt) if m.role == "user"), "(no prompt)")
    mark = MARKS.get(demonstration.status, "?")  # a newer Chatlab may know others
    return f"{mark} {one_line(asked, 40)}\n{one_line(demonstration.answer, 90) or '(no answer)'}"


def _position(page: int, shown: int, total: int) -> str:
    return span("faint", f"{page * PAGE + 1}-{page * PAGE + shown} of {total:,}" if shown else "none")


def _empty(filtered: bool) -> str:
    if filtered:
        return div("empty", "No matches. Clear the search or the filters.")
    return div(
        "empty",
        "No demonstrations yet. Load a starter pack, write one, or keep good answers in Chat.",
    )
