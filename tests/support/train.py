"""The Train tab without a server: what its boxes hold, and runs to their end."""

from __future__ import annotations

import time
from typing import Any

from chatlab.lab import Lab
from chatlab.ui.train.tab import TrainTab
from tests.support.page import told

QUICK = {"epochs": 1, "kl_weight": 0.0, "batch_size": 8}
PATIENCE = 180.0
"""Seconds until a run that has not ended fails the test; far more than it needs."""


def form(
    tab: TrainTab,
    adapter: str = "",
    live: bool = True,
    *,
    shown: str | None = None,
    pulse: Any = None,
    mask: bool = True,
    **chosen: float | str,
) -> dict[Any, Any]:
    """The values of the tab's components: name, go live, the run on show, and the settings."""
    boxes: dict[Any, Any] = {box: str(chosen.get(name, "")) for name, box in tab.plan.form.boxes.items()}
    plan = {tab.plan.name: adapter, tab.plan.live: live, tab.plan.form.mask: mask}
    return boxes | plan | {tab.run.chosen: shown, tab.run.pulse: pulse}


def ended(lab: Lab) -> None:
    deadline = time.monotonic() + PATIENCE
    while lab.training.status().state == "training":
        assert time.monotonic() < deadline, "the run does not end"
        time.sleep(0.05)
    lab.training.wait(PATIENCE)


def run_to_end(lab: Lab, tab: TrainTab, name: str = "", live: bool = True) -> str:
    tab.start(form(tab, name, live, **QUICK))
    ended(lab)
    return lab.training.runs()[0].id


def visible(shown: dict[Any, Any], component: Any) -> bool:
    return bool(told(shown[component])["visible"])


def text(html: str) -> str:
    return (
        str(html)
        .replace("&#32;", " ")
        .replace("&#45;", "-")
        .replace("&#46;", ".")
        .replace("&#37;", "%")
        .replace("&#58;", ":")
    )
