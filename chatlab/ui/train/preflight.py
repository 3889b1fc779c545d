"""What is checked before a run, as ticks."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import Literal

from markupsafe import Markup

from chatlab.errors import ChatlabError
from chatlab.lab import Lab
from chatlab.lab.models.memory import check_training_memory
from chatlab.records import Message
from chatlab.training.defaults import FEW, Plan
from chatlab.ui.html import counted, div, span

CHECKED = 500
"""Demonstrations that are checked one by one; about a second for all, the first time."""

ROOM = 200 * 2**20
"""Bytes that an adapter and its checkpoints may need."""

TRAINER = {
    "cold": "The trainer starts with the first run; this takes a few seconds",
    "warming": "The trainer is starting",
    "dead": "The trainer restarts with the next run",
    "ready": "The trainer is ready",
    "training": "The trainer is busy with a run",
}


@dataclass(frozen=True)
class Tick:
    """One thing checked. A `note` stops nothing."""

    state: Literal["good", "note", "bad"]
    words: str


class Preflight:
    """Everything that would make a run useless or break it, before it starts."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._lengths: dict[tuple[Message, ...], int | None] = {}
        """Tokens of the checked demonstrations; None for what the template does not take."""

    def check(self, plan: Plan) -> list[Tick]:
        return [*self._demonstrations(plan), *self._base(), *self._room(), self._trainer()]

    def _demonstrations(self, plan: Plan) -> list[Tick]:
        if not plan.demonstrations:
            return [
                Tick("bad", "No approved demonstrations yet: load a starter pack, write one, or keep answers in Chat.")
            ]
        ticks = [Tick("good", counted(plan.demonstrations, "approved demonstration"))]
        waiting = self._lab.demonstrations.counts().get("waiting", 0)
        if waiting:
            ticks.append(Tick("note", f"{counted(waiting, 'demonstration')} waiting, not trained on"))
        ticks += self._left_out(plan)
        if plan.held_out:
            return [*ticks, Tick("good", f"{plan.held_out} held out to measure learning")]
        return [*ticks, Tick("note", f"None held out (needs {FEW} different questions), so learning is not measured")]

    def _left_out(self, plan: Plan) -> list[Tick]:
        """The same look at every demonstration that the trainer will take; at the newest, if there are very many."""
        rows, _ = self._lab.demonstrations.find(status="approved", limit=CHECKED)
        try:
            room = min(plan.settings.max_tokens, self._lab.machine.base.context)
        except ChatlabError:
            return []
        lengths = {i: self._length(d.messages) for i, d in rows}
        thoughts = sum(any(m.reasoning.strip() for m in d.messages) for _, d in rows)
        lost = self._lab.machine.base.template.thinking is None and thoughts
        unlearned = (
            [Tick("note", f"{counted(thoughts, 'thought')} not learned: the chat template has no place for thinking")]
            if lost
            else []
        )
        left_out = [i for i, length in lengths.items() if length is None or length > room]
        if not left_out:
            return [
                *unlearned,
                Tick(
                    "good",
                    "All fit the context"
                    if len(rows) == plan.demonstrations
                    else f"The newest {len(rows)} fit the context",
                ),
            ]
        which = ", ".join(str(i) for i in left_out[:8]) + (" ..." if len(left_out) > 8 else "")
        words = (
            f"{counted(len(left_out), 'demonstration')} left out, too long or not valid for the chat template: {which}"
        )
        return [*unlearned, Tick("note", words)]

    def _length(self, messages: tuple[Message, ...]) -> int | None:
        if messages not in self._lengths:
            if len(self._lengths) > 4 * CHECKED:
                self._lengths.clear()
            try:
                sequences = self._lab.machine.base.template.encode(messages)
                self._lengths[messages] = min(len(sequence.ids) for sequence in sequences)
            except ChatlabError:
                self._lengths[messages] = None
        return self._lengths[messages]

    def _base(self) -> list[Tick]:
        try:
            base = self._lab.machine.base
            base.check_trainable()
            problems = base.template.check()
        except ChatlabError as error:
            return [Tick("bad", f"{error} {error.hint}".strip())]
        if problems:
            return [Tick("bad", f"Chat template: {problem}") for problem in problems]
        if (part := self._lab.machine.unpacking) is not None:
            return [Tick("note", f"Preparing {base.name} for training: {part:.0%}")]
        return [Tick("good", f"{base.name}: same chat template in training and chat")]

    def _room(self) -> list[Tick]:
        ticks = []
        try:
            check_training_memory(self._lab.machine.base)
        except ChatlabError as error:
            ticks.append(Tick("bad", f"{error} {error.hint}"))
        if shutil.disk_usage(self._lab.settings.home).free < ROOM:
            ticks.append(Tick("bad", "Disk nearly full: the adapter may not fit"))
        return ticks or [Tick("good", "Enough memory and disk space")]

    def _trainer(self) -> Tick:
        status = self._lab.training.status()
        return Tick("good" if status.state in ("ready", "training") else "note", TRAINER[status.state])


def render(ticks: list[Tick]) -> Markup:
    marks = {"good": "✓", "note": "○", "bad": "✕"}
    return div("ticks", *(div(f"tick {t.state}", span("mark", marks[t.state]), span("", t.words)) for t in ticks))
