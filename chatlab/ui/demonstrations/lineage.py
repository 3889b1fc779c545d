"""The adapters that are trained on a demonstration, and how other tabs open one in the editor."""

from __future__ import annotations

from typing import Any

from markupsafe import Markup

from chatlab.lab import Lab
from chatlab.lab.data.lineage import Learned
from chatlab.ui.demonstrations.drafts import NEW
from chatlab.ui.html import NOTHING, counted, div, span
from chatlab.ui.shell import html_block

WANTED = "wanted demonstration"
"""Under which the store keeps what the tab should open next."""
MOST = 6
"""Adapters named; the rest are counted."""
CHANGED = {
    True: (" · changed since", "Edited since; this adapter was trained on the earlier version."),
    None: ("", "The trained version is no longer stored."),
    False: ("", "Trained on this version."),
}


class LearnedBy:
    """A line above the editor."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab

    def build(self) -> None:
        self.line = html_block(elem_classes="flat", elem_id="learned-by")

    @property
    def shown(self) -> set[Any]:
        return {self.line}

    def draw(self, selected: int | None) -> dict[Any, Any]:
        return {
            self.line: learned_by(self._lab.lineage.learned_by(selected), self._lab.variants.live) if selected else ""
        }


def learned_by(adapters: list[Learned], live: str) -> Markup:
    if not adapters:
        return div("people-line", span("faint", "No adapter is trained on it yet."))
    named = (_chip(one, live) for one in adapters[:MOST])
    more = len(adapters) - MOST
    rest = span("faint", f"and {counted(more, 'other adapter')}") if more > 0 else NOTHING
    return div("people-line", span("faint", "Used by"), *named, rest)


def ask_for(lab: Lab, demonstration_id: int) -> None:
    """Have the tab open with this one in the editor."""
    lab.store.state.set(WANTED, demonstration_id)


def ask_to_write(lab: Lab) -> None:
    """Have the tab open with an empty editor."""
    ask_for(lab, NEW)


def asked_for(lab: Lab) -> int | None:
    """The requested id, once, if it still exists; NEW for an empty editor."""
    wanted = lab.store.state.read(WANTED, int, None)
    if wanted is None:
        return None
    lab.store.state.set(WANTED, None)
    return wanted if wanted == NEW or wanted in lab.store.demonstrations else None


def _chip(one: Learned, live: str) -> Markup:
    text, title = CHANGED[one.changed]
    return span(
        "chip changed" if one.changed else "chip", f"{'● ' if one.adapter == live else ''}{one.adapter}{text}", title
    )
