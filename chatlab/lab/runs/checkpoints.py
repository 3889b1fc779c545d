"""What an adapter was on its way: heard, held beside its end, and put on the shelf."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from chatlab.engines.base import Sampling, Voice
from chatlab.errors import ChatlabError, InputError, TrainingError
from chatlab.evaluation.checkpoint_selection import Choice, Point, choose
from chatlab.lab.models import ModelHost
from chatlab.lab.runs.publisher import Publisher
from chatlab.lab.runs.training import Training
from chatlab.records import BASE, Message
from chatlab.training.runs import RunView


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A checkpoint that can speak."""

    point: Point
    folder: Path
    last: bool = False
    """Whether it is the run's end, which is an adapter already."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """What was answered by the base (step 0) or a checkpoint, as far as it has come."""

    step: int
    text: str = ""
    sha256: str = ""
    """Of the weights that spoke."""
    done: bool = False
    error: str = ""


class Checkpoints:
    """Of the runs that `training` has."""

    def __init__(self, training: Training, publisher: Publisher, machine: ModelHost) -> None:
        self._training = training
        self._publisher = publisher
        self._machine = machine

    def of(self, run: RunView) -> list[Kept]:
        """In the order of the steps, the run's end last. Those still to come are missing while it is under way."""
        folders = dict(run.kept)
        if run.result is not None:
            folders[run.result.steps] = run.adapter
        return [
            Kept(point=point, folder=folders[point.step], last=folders[point.step] == run.adapter)
            for point in points(run)
            if point.step in folders
        ]

    def proposed(self, run: RunView) -> Choice | None:
        """Of a finished run, which of its checkpoints to keep."""
        return choose([kept.point for kept in self.of(run)]) if run.result is not None else None

    def ask(self, run_id: str, prompt: str, sampling: Sampling) -> Iterator[list[Heard]]:
        """The base and every checkpoint in turn, all answers so far with every piece. Raises InputError."""
        if not prompt.strip():
            raise InputError("The prompt is empty.", "Write a prompt first.")
        ids = self._machine.base.template.prompt([Message(role="user", content=prompt)])
        voices = [Voice(name=BASE), *(_voice(kept) for kept in self.of(self._training.run(run_id)))]
        heard = [Heard(step=int(voice.name) if voice.folder else 0) for voice in voices]
        for place, voice in enumerate(voices):
            for now in self._said(heard[place], ids, voice, sampling):
                heard[place] = now
                yield list(heard)

    def publish(self, run_id: str, step: int) -> str:
        """Put a checkpoint on the shelf; its adapter's name. Raises TrainingError where there is none."""
        run = self._training.run(run_id)
        kept = next((kept for kept in self.of(run) if kept.point.step == step and not kept.last), None)
        if kept is None:
            raise TrainingError(f"That run kept no checkpoint at step {step}.", "Choose one from its list.")
        return self._publisher.publish_checkpoint(run, kept.point, kept.folder)

    def _said(self, heard: Heard, ids: list[int], voice: Voice, sampling: Sampling) -> Iterator[Heard]:
        try:
            for piece in self._machine.engine.stream(ids, sampling, voice, self._machine.base.template.stop_ids):
                heard = replace(heard, text=heard.text + piece.text, sha256=piece.sha256, done=piece.stop is not None)
                yield heard
        except ChatlabError as error:
            yield replace(heard, error=str(error), done=True)


def points(run: RunView) -> list[Point]:
    """Where a run was looked at, but for its beginning.

    A glance at a little prose is off by a few per cent, but by nearly the same in all glances of a run: once all of the
    prose was read at its end, every glance is shifted by what the last one was off.
    """
    looked = [step for step in run.steps if step.step and step.forgetting is not None]
    ends = run.result is not None and looked and looked[-1].step == run.result.steps
    whole = run.result.forgetting if ends and run.result else None
    off = 0.0 if whole is None else whole - (looked[-1].forgetting or 0.0)
    return [
        Point(step=step.step, held_out_loss=step.held_out_loss, forgetting=(step.forgetting or 0.0) + off, kl=step.kl)
        for step in looked
    ]


def _voice(kept: Kept) -> Voice:
    return Voice(name=str(kept.point.step), folder=kept.folder)
