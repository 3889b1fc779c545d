"""The Compare tab without a server: what its boxes hold, and what stands on the screen after a press."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from chatlab.engines.base import Sampling, Variant
from chatlab.ui.compare.session import CompareSession
from chatlab.ui.compare.tab import CompareTab
from tests.support.page import told

HOSTILE = "<script>alert(1)</script> ![x](http://evil/?q) [c](javascript:alert(1))"

Shown = dict[Any, Any]
"""What stands on the screen, by component."""


def says_its_name(prompt: Any, variant: Variant, sampling: Sampling) -> str:
    if variant.name == "broken":
        raise RuntimeError("broken is out of order")
    return f"I am number {sum(variant.name.encode())}"


def seen(tab: CompareTab, stream: Iterator[Shown], before: Shown | None = None) -> Shown:
    shown = dict(before or {tab.session: CompareSession(), tab.round: None})
    for update in stream:
        shown |= update
    return shown


def values(
    tab: CompareTab,
    variants: list[str],
    shown: Shown | None = None,
    prompt: str = "Who are you?",
    blind: bool = True,
    system: str = "",
) -> Shown:
    """The values of the components that a question is asked with."""
    asking, shown = tab.asking, shown or {tab.session: CompareSession(), tab.round: None}
    boxes = {asking.prompt: prompt, asking.kind: "triage", asking.system: system, asking.variants: variants}
    dials = {asking.blind: blind, asking.temperature: 0.0, asking.tokens: 32}
    return boxes | dials | {tab.session: shown[tab.session], tab.round: shown[tab.round]}


def asked(tab: CompareTab, variants: list[str], blind: bool = True, prompt: str = "Who are you?") -> Shown:
    """What stands on the screen when all have spoken."""
    return seen(tab, tab.answered(values(tab, variants, prompt=prompt, blind=blind)))


def walked(tab: CompareTab, variants: list[str], shown: Shown | None = None, go: str = "ask_next") -> Shown:
    """After N, or, with `ask_next_after`, after a vote or a skip."""
    shown = shown or {tab.session: CompareSession(), tab.round: None}
    step = getattr(tab, go)(values(tab, variants, shown))
    return seen(tab, step, shown)


def voted(tab: CompareTab, shown: Shown, verdict: Any = "best", winner: int | None = 0) -> Shown:
    return shown | tab.vote(shown[tab.session], shown[tab.round], verdict, winner)


def visible(shown: Shown, component: Any) -> bool:
    return bool(told(shown[component])["visible"])


def offered(tab: CompareTab, shown: Shown) -> list[tuple[str, list[str]]]:
    """The buttons that vote: what is on them and their keys."""
    if not visible(shown, tab.ballot.row):
        return []
    found = []
    for button, *_ in tab.ballot.verdicts:
        now = told(shown.get(button, button))
        if now.get("visible", True):
            found.append((now["value"], now.get("elem_classes") or button.elem_classes))
    return found
