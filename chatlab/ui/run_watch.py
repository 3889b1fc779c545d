"""What is known of a run from outside the trainer process, and whether anything about it has changed."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from chatlab.errors import TrainingError
from chatlab.lab import Lab
from chatlab.training.process.runs import RunView, read_forgetting


class Pulse(NamedTuple):
    """Differs from the last one whenever something about the current run has changed."""

    run: str
    state: str
    published: bool
    evaluated: bool
    measured: bool
    steps: int
    phase: str
    left: int
    news: str

    @property
    def stage(self) -> tuple[str, str, bool, bool, bool, str]:
        """Differs only when a run begins, ends, is published or measured or, once it has ended, needs a word."""
        news = "" if self.state == "training" else self.news
        return self.run, self.state, self.published, self.evaluated, self.measured, news


class RunWatch:
    """Looks at the trainer's status first, and at the disk only for what that does not tell."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab

    def pulse(self) -> Pulse:
        status = self._lab.training.status()
        published = status.run is not None and self._lab.training.published(status.run)
        return Pulse(
            run=status.run.name if status.run else "",
            state=status.state,
            published=published,
            evaluated=published and status.run is not None and self._lab.training.evaluated(status.run.name),
            measured=published and status.run is not None and read_forgetting(status.run) is not None,
            steps=len(status.steps),
            phase=status.phase,
            left=-1 if status.eta is None else round(status.eta),
            news=self._lab.training.news + status.message,
        )

    def run(self, chosen: str | None) -> RunView | None:
        """The chosen one, if it still exists, or else the current one."""
        if chosen:
            try:
                return self.seen(self._lab.training.run(chosen))
            except TrainingError:
                pass
        current = self._lab.training.current()
        return self.seen(current) if current else None

    def seen(self, run: RunView) -> RunView:
        """A run is under way from when the trainer is given it, before there is a trace of it on the disk, until its
        adapter is on the shelf.
        """
        pulse = self.pulse()
        settling = run.state == "finished" and not pulse.published and not pulse.news
        given = pulse.run == run.id and (pulse.state == "training" or settling)
        return replace(run, state="running") if given else run

    def adapter(self, chosen: str | None) -> str | None:
        """What the run on show became."""
        run = self.run(chosen)
        return self._lab.training.adapter_of(run.id) if run else None

    def news(self, run: RunView) -> str:
        """A message about how the last run ended, where one is needed."""
        pulse = self.pulse()
        return pulse.news if pulse.run == run.id and run.state != "running" else ""
