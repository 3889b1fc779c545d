"""The checkpoints of a run: compared with its end, tried on a prompt, and published."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from chatlab.engines.base import Sampling, Variant
from chatlab.errors import ChatlabError, InputError, TrainingError
from chatlab.evaluation.checkpoint_selection import CheckpointMetrics, Choice, choose
from chatlab.lab.models import LoadedModel, ModelHost
from chatlab.lab.runs.publisher import Publisher
from chatlab.lab.runs.training import Training
from chatlab.records import BASE, Message
from chatlab.training.process.runs import RunView


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """What an adapter was after a step."""

    metrics: CheckpointMetrics
    folder: Path
    last: bool = False
    """Whether it is the end of the run, which is published already."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointReply:
    """The reply of the base (step 0) or a checkpoint, as far as it has come."""

    step: int
    text: str = ""
    sha256: str = ""
    """sha256 of the adapter weights that gave it."""
    done: bool = False
    error: str = ""


class Checkpoints:
    """The checkpoints of the runs that `training` has."""

    def __init__(self, training: Training, publisher: Publisher, machine: ModelHost) -> None:
        self._training = training
        self._publisher = publisher
        self._machine = machine

    def of(self, run: RunView) -> list[Checkpoint]:
        """In the order of the steps, the run's end last. Those still to come are missing while it is under way."""
        folders = dict(run.checkpoints)
        if run.result is not None:
            folders[run.result.steps] = run.adapter
        return [
            Checkpoint(metrics=metrics, folder=folders[metrics.step], last=folders[metrics.step] == run.adapter)
            for metrics in checkpoint_metrics(run)
            if metrics.step in folders
        ]

    def proposed(self, run: RunView) -> Choice | None:
        """Which checkpoint of a finished run to keep."""
        return choose([kept.metrics for kept in self.of(run)]) if run.result is not None else None

    def ask(self, run_id: str, prompt: str, sampling: Sampling) -> Iterator[list[CheckpointReply]]:
        """Ask the base and every checkpoint in turn; all replies so far after every chunk.

        Raises InputError, and TrainingError for a run of another base.
        """
        if not prompt.strip():
            raise InputError("The prompt is empty.", "Write a prompt first.")
        run = self._training.run(run_id)
        with self._machine.lease() as model:
            self._training.check_same_base(run, model.base)
            yield from self._replies(model, run, prompt, sampling)

    def _replies(
        self, model: LoadedModel, run: RunView, prompt: str, sampling: Sampling
    ) -> Iterator[list[CheckpointReply]]:
        ids = model.base.template.prompt([Message(role="user", content=prompt)])
        variants = [Variant(name=BASE), *(_variant(kept) for kept in self.of(run))]
        replies = [CheckpointReply(step=int(variant.name) if variant.folder else 0) for variant in variants]
        for place, variant in enumerate(variants):
            for now in _stream_reply(model, replies[place], ids, variant, sampling):
                replies[place] = now
                yield list(replies)

    def publish(self, run_id: str, step: int) -> str:
        """Publish a checkpoint; its adapter's name. Raises TrainingError where there is none."""
        run = self._training.run(run_id)
        kept = next((kept for kept in self.of(run) if kept.metrics.step == step and not kept.last), None)
        if kept is None:
            raise TrainingError(f"That run kept no checkpoint at step {step}.", "Choose one from its list.")
        return self._publisher.publish_checkpoint(run, kept.metrics, kept.folder)


def _stream_reply(
    model: LoadedModel, reply: CheckpointReply, ids: list[int], variant: Variant, sampling: Sampling
) -> Iterator[CheckpointReply]:
    try:
        for piece in model.engine.stream(ids, sampling, variant, model.base.template.stop_ids):
            reply = replace(reply, text=reply.text + piece.text, sha256=piece.sha256, done=piece.stop is not None)
            yield reply
    except ChatlabError as error:
        yield replace(reply, error=str(error), done=True)


def checkpoint_metrics(run: RunView) -> list[CheckpointMetrics]:
    """The metrics of each evaluation of a run after its first step.

    A quick evaluation reads little text and is off by a few per cent, but by nearly the same throughout a run: once
    the whole text was read at its end, every one is corrected by what the last one was off.
    """
    evaluated = [step for step in run.steps if step.step and step.forgetting is not None]
    ends = run.result is not None and evaluated and evaluated[-1].step == run.result.steps
    whole = run.result.forgetting if ends and run.result else None
    bias = 0.0 if whole is None else whole - (evaluated[-1].forgetting or 0.0)
    return [
        CheckpointMetrics(
            step=step.step, held_out_loss=step.held_out_loss, forgetting=(step.forgetting or 0.0) + bias, kl=step.kl
        )
        for step in evaluated
    ]


def _variant(kept: Checkpoint) -> Variant:
    return Variant(name=str(kept.metrics.step), folder=kept.folder)
