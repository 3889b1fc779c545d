"""The line on every page: who is live and how much it forgot, the run under way, the memory in use."""

from __future__ import annotations

import threading
from time import monotonic
from typing import Any

import gradio as gr
from markupsafe import Markup

from chatlab.lab import Health, Lab
from chatlab.records import BASE, AdapterCard
from chatlab.training.process.status import TrainerStatus
from chatlab.ui.html import NOTHING, control, div, element, escaped, icon, one_line, press, span
from chatlab.ui.notices import remaining, share
from chatlab.ui.verdict import verdict

LOGO = span("logo", "Chatlab")
THEME = press(icon("moon"), "tool", name="Light or dark", theme_switch="")

LOADING = div("bar-inner", LOGO, span("gap", ""), THEME)
"""The header of a page that is still loading: as high as later, so that the tabs keep their place."""
WARNED = element(
    "button",
    escaped("needs attention"),
    kind="chip warned",
    type="button",
    title="Show the problem",
    **control(act="warnings", to="page"),
)
QUICK, GREEDY = 1.0, 3.0
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

    def draw(self) -> Markup:
        """One line of HTML."""
        self._ask()
        status = self.lab.training.status()
        return div(
            "bar-inner", LOGO, self._model(), self._live(), span("gap", ""), _run(status), self._machine(), THEME
        )

    def tick(self) -> tuple[str, Any]:
        """The header, and how soon to look again: a page that only waits asks little of the machine."""
        if self.lab.training.status().state == "training":
            self._trained = monotonic()
        return self.draw(), gr.Timer(QUICK if monotonic() < self._trained + LINGER else GREEDY)

    def _ask(self) -> None:
        """Have somebody look at the machine, unless somebody is at it."""
        if self._asking.acquire(blocking=False):
            threading.Thread(target=self._look, name="health", daemon=True).start()

    def _look(self) -> None:
        try:
            self._health = self.lab.health()
        finally:
            self._asking.release()

    def _live(self) -> Markup:
        name = self.lab.variants.live
        card = None if name == BASE else self.lab.variants.card(name)
        return live_chip(name, card)

    def _model(self) -> Markup:
        """The model chip; pressing it opens Models."""
        opening, base = self.lab.machine.opening, self._health.base if self._health else ""
        label = "opening …" if opening else one_line(base, 40) or "Model"
        about = {"title": f"Model: {base or 'not open yet'}. Choose another", "aria_haspopup": "dialog"}
        pressing = control(act="open", to="models", show="models-list")
        return element("button", element("b", escaped(label)), kind="chip model", type="button", **about, **pressing)

    def _machine(self) -> Markup:
        health = self._health
        if health is None:
            return NOTHING
        warned = "" if not health.warnings else WARNED
        waking = span("chip waking", "loading the model") if health.opening and health.base else NOTHING
        return warned + waking + span("memory", f"{health.memory_mb / 1024:.1f} GB", "Memory in use by Chatlab")


def live_chip(name: str, card: AdapterCard | None) -> Markup:
    """Which adapter answers, and what it forgot: green, amber or red."""
    if card is None:
        return element(
            "span",
            element("b", escaped(name)),
            kind="chip live unknown",
            title="The base model answers, without an adapter.",
        )
    found = verdict(card.forgetting, card.forgetting_interval)
    about = f"{found.words} Perplexity on held-out general text: {found.figure}. Weights sha256 {card.sha256}"
    lost = NOTHING if card.forgetting is None else span("lost", f"forgetting {card.forgetting:+.1f} %")
    return element("span", element("b", escaped(name)) + lost, kind=f"chip live {found.colour}", title=about)


def _run(status: TrainerStatus) -> Markup:
    """The training chip; pressing it opens Train."""
    if status.state != "training":
        return NOTHING
    left = remaining(status) or PHASES.get(status.phase, "starting")
    done = 100 * share(status)
    bar = element("i", kind="bar", style=f"width:{done:.0f}%")
    words = span("", f"Training {done:.0f} %") + span("on", left)
    return element("button", bar, words, kind="chip run", type="button", **control(act="train", to="page"))
