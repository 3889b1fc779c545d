"""The line on every page: who is live and how much it forgot, the run under way, the memory in use."""

from __future__ import annotations

import threading
from time import monotonic
from typing import Any

import gradio as gr

from chatlab.lab import Health, Lab
from chatlab.records import BASE, AdapterCard
from chatlab.training.process import TrainerStatus
from chatlab.ui.html import control, div, element, escaped, span
from chatlab.ui.icons import icon
from chatlab.ui.notices import remaining, share
from chatlab.ui.verdict import verdict

LOGO = '<span class="logo">Chatlab</span>'
THEME = (
    f'<button type="button" class="tool"{control(theme_switch="")} title="Light or dark" aria-label="Light or dark">'
    f"{icon('moon')}</button>"
)

LOADING = div("bar-inner", LOGO, '<span class="gap"></span>', THEME)
"""The header of a page that is still loading: as high as later, so that the tabs keep their place."""
WARNED = (
    f'<button type="button" class="chip warned"{control(act="warnings", to="page")} title="Show the problem">'
    "needs attention</button>"
)
QUICK, CALM = 1.0, 3.0
"""Seconds between two looks, while a run is under way and while none is."""
LINGER = 4.0
"""Seconds after a run in which its adapter is published and everything drawn again."""
PHASES = {"tokenise": "reading", "steps": "learning", "evaluate": "measuring", "save": "saving"}


class Header:
    """Draws what it knows and never waits: the machine may be busy opening the model."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self._health: Health | None = None
        self._asking = threading.Lock()
        self._trained = -LINGER
        """When a run was last seen under way."""

    def draw(self) -> str:
        """One line of HTML."""
        self._ask()
        status = self.lab.training.status()
        return div("bar-inner", LOGO, self._live(), '<span class="gap"></span>', _run(status), self._machine(), THEME)

    def tick(self) -> tuple[str, Any]:
        """The header, and how soon to look again: a page that only waits asks little of the machine."""
        if self.lab.training.status().state == "training":
            self._trained = monotonic()
        return self.draw(), gr.Timer(QUICK if monotonic() < self._trained + LINGER else CALM)

    def _ask(self) -> None:
        """Have somebody look at the machine, unless somebody is at it."""
        if self._asking.acquire(blocking=False):
            threading.Thread(target=self._look, name="health", daemon=True).start()

    def _look(self) -> None:
        try:
            self._health = self.lab.health()
        finally:
            self._asking.release()

    def _live(self) -> str:
        name = self.lab.voices.live
        card = None if name == BASE else self.lab.voices.who(name)
        base = self._health.base if self._health else ""
        return live_chip(name, card, base)

    def _machine(self) -> str:
        health = self._health
        if health is None:
            return ""
        warned = "" if not health.warnings else WARNED
        waking = "" if health.engine or not health.base else span("chip waking", "loading the model")
        return warned + waking + span("memory", f"{health.memory_mb / 1024:.1f} GB", "Memory in use by Chatlab")


def live_chip(name: str, card: AdapterCard | None, base: str) -> str:
    """Who answers, on which base, and what it forgot: green, amber or red."""
    on = span("on", base) if base and base != name else ""
    if card is None:
        return element(
            "span", element("b", escaped(name)) + on, "chip live unknown", "The base model answers, without an adapter."
        )
    found = verdict(card.forgetting, card.forgetting_interval)
    about = f"{found.words} Perplexity on held-out general text: {found.figure}. Weights sha256 {card.sha256}"
    lost = "" if card.forgetting is None else span("lost", f"forgetting {max(0.0, card.forgetting):.1f} %")
    return element("span", element("b", escaped(name)) + on + lost, f"chip live {found.colour}", about)


def _run(status: TrainerStatus) -> str:
    """The training chip; pressing it opens Train."""
    if status.state != "training":
        return ""
    left = remaining(status) or PHASES.get(status.phase, "starting")
    done = 100 * share(status)
    bar = f'<i class="bar" style="width:{done:.0f}%"></i>'
    words = element("span", f"Training {done:.0f} %") + span("on", left)
    return f'<button type="button" class="chip run"{control(act="train", to="page")}>{bar}{words}</button>'
