"""From a finished run to a published adapter, live if the run asked for that."""

from __future__ import annotations

import logging
from dataclasses import replace
from math import isfinite
from pathlib import Path
from time import perf_counter

from chatlab.adapters import Adapters
from chatlab.errors import AdapterForgets, ChatlabError, TrainingError, WrongBase
from chatlab.evaluation.checkpoint_selection import CheckpointMetrics
from chatlab.evaluation.preference_verdict import why_worse
from chatlab.lab.models import ModelHost
from chatlab.lab.runs.unseen_evaluator import UnseenEvaluator
from chatlab.lab.variants import Variants
from chatlab.records import BEARABLE, AdapterCard
from chatlab.system.clock import now
from chatlab.system.files import DISK_FULL
from chatlab.training.process.runs import Request, Result, RunView, read_forgetting, write_json

log = logging.getLogger("chatlab.lab")

RECEIPT = "published.json"
"""In the run's folder, once its adapter is published: the adapter's name, and seconds by part."""


class Publisher:
    """Publishes each finished run once, however often it is called, also when it was interrupted on the way."""

    def __init__(self, adapters: Adapters, variants: Variants, machine: ModelHost, evaluator: UnseenEvaluator) -> None:
        self._adapters = adapters
        self._variants = variants
        self._machine = machine
        self._evaluator = evaluator

    def is_published(self, run: Path) -> bool:
        """Whether the adapter of the run in this folder is published."""
        return (run / RECEIPT).exists()

    def evaluate(self, run_id: str) -> None:
        """Ask a run's adapter the unseen prompts, unless that was done; a start makes up for an end that came early."""
        card = next((card for card in self._adapters.cards() if card.run == run_id), None)
        if card is not None and card.reply_metrics_after is None and not card.corrections:
            self._evaluator.begin(card.name)

    def evaluated(self, run_id: str) -> bool:
        """Whether a run's adapter is not waiting to be asked the unseen prompts."""
        name = self.adapter_of(run_id)
        return name is None or not self._evaluator.pending(name)

    def adapter_of(self, run_id: str) -> str | None:
        """Name of the adapter that a run became."""
        return next((card.name for card in self._adapters.cards() if card.run == run_id), None)

    def publish(self, run: RunView) -> str:
        """Publish a finished run, and put it live if that was asked for.

        Returns what a person should know: why it was not published or did not go live; empty when all went well.
        """
        try:
            return self._publish(run)
        except ChatlabError as error:
            return f"{error} {error.hint}".strip()
        except OSError as error:
            why = "the disk is full" if error.errno in DISK_FULL else error.strerror or str(error)
            return f"The adapter could not be saved: {why}. Free some space, then restart Chatlab."
        except Exception:
            log.exception("The run %s could not be published", run.id)
            return "The adapter could not be saved. The log has details; restart Chatlab to retry."

    def note_forgetting(self, run: RunView) -> str:
        """Keep what was measured after a correction went live; what a person should know, empty when all is well."""
        name, found = self.adapter_of(run.id), read_forgetting(run.folder)
        card = self._variants.card(name) if name else None
        if card is None or found is None or card.forgetting is not None:
            return ""
        try:
            self._adapters.note_forgetting(card.name, found.per_cent, found.interval)
        except ChatlabError as error:
            return f"{error} {error.hint}".strip()
        if found.per_cent <= BEARABLE:
            return ""
        return f"{card.name} has {found.per_cent:.1f} % forgetting, above the limit. Go back, or retrain on everything."

    def publish_checkpoint(self, run: RunView, metrics: CheckpointMetrics, folder: Path) -> str:
        """Publish what a run's adapter was after a step; its name. Raises TrainingError, DiskFull.

        Forgetting had only a quick evaluation there, which is no verdict: the card says that it was not measured.
        """
        card = self._card(run)
        name = self._adapters.free_name(f"{card.name}-step{metrics.step}")
        card = replace(
            card,
            name=name,
            run="",
            steps=metrics.step,
            loss=None,
            held_out_after=metrics.held_out_loss,
            forgetting=None,
            forgetting_interval=None,
            kl=metrics.kl,
            stopped_early=True,
        )
        name = self._adapters.publish(folder, card, _snapshot(run)).name
        self._evaluator.begin(name)
        return name

    def _publish(self, run: RunView) -> str:
        began = perf_counter()
        there = self.adapter_of(run.id)
        card = self._variants.card(there) if there else None
        card = card or self._adapters.publish(run.adapter, self._card(run), _snapshot(run))
        published = perf_counter()
        news = self._go_live(card, run.result) if run.request.live else ""
        seconds = {"publish": published - began, "swap": perf_counter() - published}
        write_json(run.folder / RECEIPT, {"adapter": card.name, "seconds": seconds})
        if not card.corrections:  # the next one may be seconds away
            self._evaluator.begin(card.name)
        return news

    def _go_live(self, card: AdapterCard, result: Result | None = None) -> str:
        """Empty when it answers from now on; else why it does not, be it that another model was chosen meanwhile, or
        that it ranks held-out pairs worse than the adapter that it began with.
        """
        if result and result.preferences and (worse := why_worse(result.preferences)):
            return f"Not live: {card.name} {worse} Compare it, or go live with it anyway."
        try:
            self._variants.go_live(card.name)
        except AdapterForgets as forgets:
            return f"Not live: {forgets} {forgets.hint}"
        except WrongBase:
            self._variants.go_live_later(card.name)
            return f"{card.name} is ready. It answers when you switch back to {card.base_name or 'its model'}."
        return ""

    def _name_of(self, fingerprint: str) -> str:
        """Of a base whose run was begun before its name was kept; empty where nobody knows."""
        base = self._machine.base
        return base.name if base.fingerprint == fingerprint else ""

    def _card(self, run: RunView) -> AdapterCard:
        """The card of what a finished run made."""
        result, request = run.result, run.request
        if result is None:
            raise TrainingError("That run has no result yet.")
        measured = (result.loss, result.held_out_after, result.forgetting, result.kl)
        if not all(value is None or isfinite(value) for value in measured):
            raise TrainingError(
                f"Run {run.id} ended with numbers that are none, so its adapter is not published.",
                "Delete the run, and start a new one with a lower learning rate.",
            )
        return AdapterCard(
            name=self._adapters.free_name(request.name or _name_for(request, len(result.demonstrations))),
            base=request.base,
            base_name=request.base_name or self._name_of(request.base),
            template=result.template,
            sha256=result.adapter,
            created=now(),
            run=run.id,
            parent=request.parent,
            settings=request.settings,
            demonstrations=_learned(request, result),
            corrections=request.corrections,
            preferences=result.demonstrations if request.preferences else (),
            snapshot=request.snapshot,
            parameters=result.parameters,
            base_parameters=result.base_parameters,
            steps=result.steps,
            seconds=sum(result.seconds.values()),
            loss=result.loss,
            questions=result.questions,
            held_out_questions=result.held_out_questions,
            held_out_before=result.held_out_before,
            held_out_after=result.held_out_after,
            forgetting=result.forgetting,
            forgetting_interval=result.forgetting_interval,
            kl=result.kl,
            stopped_early=result.stopped_early,
        )


def _learned(request: Request, result: Result) -> tuple[int, ...]:
    """What an adapter knows: after a correction also what was not replayed, after preferences what it began with."""
    return request.demonstrations if request.corrections or request.preferences else result.demonstrations


def _snapshot(run: RunView) -> Path | None:
    file = run.folder / "snapshot.jsonl"
    return file if file.is_file() else None


def _name_for(request: Request, learned: int) -> str:
    """Name of an adapter that nobody named: when its run was asked for, and how many demonstrations it has."""
    return f"{request.created[:16].replace(':', '').replace('T', '-')}-{learned}d"
