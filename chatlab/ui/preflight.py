"""What is checked before a run, as ticks."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import Literal

import psutil

from chatlab.errors import ChatlabError
from chatlab.lab import Lab
from chatlab.records import Demonstration
from chatlab.template import Template
from chatlab.training.defaults import FEW, Plan
from chatlab.ui.markup import counted, div, span

CHECKED = 500
"""Demonstrations that are looked at one by one; some milliseconds for ten of them."""

ROOM = 200 * 2**20
"""Bytes that an adapter and its checkpoints may need."""


@dataclass(frozen=True)
class Tick:
    """One thing checked. A `note` stops nothing."""

    state: Literal["good", "note", "bad"]
    words: str


def preflight(lab: Lab, plan: Plan) -> list[Tick]:
    """Everything that would make a run useless or break it, before it starts."""
    return [*_demonstrations(lab, plan), *_base(lab), *_room(lab, plan), _trainer(lab)]


def drawn(ticks: list[Tick]) -> str:
    marks = {"good": "✓", "note": "○", "bad": "✕"}
    return div("ticks", *(div(f"tick {t.state}", span("mark", marks[t.state]), span("", t.words)) for t in ticks))


def _demonstrations(lab: Lab, plan: Plan) -> list[Tick]:
    if not plan.demonstrations:
        return [Tick("bad", "No approved demonstrations yet: load a starter pack, write one, or keep answers in Chat.")]
    ticks = [Tick("good", f"{counted(plan.demonstrations, 'approved demonstration')}")]
    waiting = lab.demonstrations.counts().get("waiting", 0)
    if waiting:
        ticks.append(
            Tick("note", f"{counted(waiting, 'demonstration')} still waiting for a decision; not learned from")
        )
    ticks += _left_out(lab, plan)
    if plan.held_out:
        ticks.append(Tick("good", f"{plan.held_out} kept aside, to measure on what it has not seen"))
    else:
        ticks.append(Tick("note", f"Fewer than {FEW}, or none wanted: none kept aside, so learning is not measured"))
    return ticks


def _left_out(lab: Lab, plan: Plan) -> list[Tick]:
    """The same look at every demonstration that the trainer will take, at the newest ones if there are very many."""
    rows, _ = lab.demonstrations.find(status="approved", limit=CHECKED)
    try:
        base = lab.machine.base
    except ChatlabError:
        return []
    room = min(plan.settings.max_tokens, base.context)
    left_out = [i for i, d in rows if not _fits(base.template, d, room)]
    if not left_out:
        return [Tick("good", "All of them fit" if len(rows) == plan.demonstrations else f"The newest {len(rows)} fit")]
    which = ", ".join(str(i) for i in left_out[:8]) + (" ..." if len(left_out) > 8 else "")
    words = f"{counted(len(left_out), 'demonstration')} would be left out, too long or not for this template: {which}"
    return [Tick("note", words)]


def _fits(template: Template, demonstration: Demonstration, room: int) -> bool:
    try:
        return any(len(sequence.ids) <= room for sequence in template.encode(demonstration.messages))
    except ChatlabError:
        return False


def _base(lab: Lab) -> list[Tick]:
    try:
        base = lab.machine.base
        problems = base.template.check()
    except ChatlabError as error:
        return [Tick("bad", f"{error} {error.hint}".strip())]
    if problems:
        return [Tick("bad", f"Chat template: {problem}") for problem in problems]
    return [Tick("good", f"{base.name}, and its chat template trains as it is served")]


def _room(lab: Lab, plan: Plan) -> list[Tick]:
    free = psutil.virtual_memory().available // 2**20
    ticks = (
        [] if free > plan.memory_mb else [Tick("note", f"Memory is short: {plan.memory_mb} MB needed, {free} MB free")]
    )
    if shutil.disk_usage(lab.settings.home).free < ROOM:
        ticks.append(Tick("bad", "The disk is nearly full; an adapter may not fit"))
    return ticks or [Tick("good", "Memory and disk suffice")]


def _trainer(lab: Lab) -> Tick:
    status = lab.training.status()
    words = {
        "cold": "The trainer starts with the run; that takes some seconds the first time",
        "warming": "The trainer is getting ready",
        "dead": f"The trainer starts again with the next run. {status.message}".strip(),
        "ready": "The trainer is warm",
        "training": "The trainer is at work on a run",
    }
    return Tick("good" if status.state in ("ready", "training") else "note", words[status.state])
