"""From a finished run to an adapter on the shelf, with papers, and live if that was asked for."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from time import perf_counter

from chatlab.adapters import Adapters
from chatlab.clock import now
from chatlab.errors import AdapterForgets, ChatlabError, TrainingError
from chatlab.evaluation.checkpoint_selection import Point
from chatlab.lab.adapters import Voices
from chatlab.lab.models import ModelHost
from chatlab.lab.runs.unseen_evaluator import UnseenEvaluator
from chatlab.records import AdapterCard
from chatlab.system.files import DISK_FULL
from chatlab.training.runs import Request, RunView, write_json

log = logging.getLogger("chatlab.lab")

RECEIPT = "published.json"
"""In the run's folder, once its adapter is on the shelf: the adapter's name, and seconds by part."""


class Publisher:
    """Takes each finished run once, however often it is asked, also when it was interrupted on the way."""

    def __init__(self, adapters: Adapters, voices: Voices, machine: ModelHost, proof: UnseenEvaluator) -> None:
        self._adapters = adapters
        self._voices = voices
        self._machine = machine
        self._proof = proof

    def took(self, run: Path) -> bool:
        """Whether the adapter of the run in this folder is on the shelf."""
        return (run / RECEIPT).exists()

    def prove(self, run_id: str) -> None:
        """Ask a run's adapter the unseen prompts, unless that was done; a start makes up for an end that came early."""
        card = next((card for card in self._adapters.cards() if card.run == run_id), None)
        if card is not None and card.manner_after is None:
            self._proof.begin(card.name)

    def proven(self, run_id: str) -> bool:
        """Whether nothing more is to be expected of how a run's adapter answers."""
        name = self.adapter_of(run_id)
        return name is None or not self._proof.pending(name)

    def adapter_of(self, run_id: str) -> str | None:
        """Name of the adapter that a run became."""
        return next((card.name for card in self._adapters.cards() if card.run == run_id), None)

    def take(self, run: RunView) -> str:
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

    def publish_checkpoint(self, run: RunView, point: Point, folder: Path) -> str:
        """Put what a run's adapter was after a step on the shelf; its name. Raises TrainingError, DiskFull.

        Of forgetting there was only a glance there, which is no verdict: its card says that it was not measured.
        """
        card = self._card(run)
        name = self._adapters.free_name(f"{card.name}-step{point.step}")
        card = replace(
            card,
            name=name,
            run="",
            steps=point.step,
            loss=None,
            held_out_after=point.held_out_loss,
            forgetting=None,
            forgetting_interval=None,
            kl=point.kl,
            stopped_early=True,
        )
        name = self._adapters.publish(folder, card, _snapshot(run)).name
        self._proof.begin(name)
        return name

    def _publish(self, run: RunView) -> str:
        began = perf_counter()
        there = self.adapter_of(run.id)
        card = self._voices.who(there) if there else None
        card = card or self._adapters.publish(run.adapter, self._card(run), _snapshot(run))
        published = perf_counter()
        news = self._go_live(card) if run.request.live else ""
        seconds = {"publish": published - began, "swap": perf_counter() - published}
        write_json(run.folder / RECEIPT, {"adapter": card.name, "seconds": seconds})
        self._proof.begin(card.name)
        return news

    def _go_live(self, card: AdapterCard) -> str:
        try:
            self._voices.go_live(card.name)
        except AdapterForgets as forgets:
            return f"Not live: {forgets} {forgets.hint}"
        return ""

    def _card(self, run: RunView) -> AdapterCard:
        """The papers of what a finished run made."""
        result, request = run.result, run.request
        if result is None:
            raise TrainingError("That run has no result yet.")
        return AdapterCard(
            name=self._adapters.free_name(request.name or _name_for(request, len(result.demonstrations))),
            base=request.base,
            base_name=self._machine.base.name,
            template=result.template,
            sha256=result.adapter,
            created=now(),
            run=run.id,
            parent=request.parent,
            settings=request.settings,
            demonstrations=result.demonstrations,
            snapshot=request.snapshot,
            parameters=result.parameters,
            base_parameters=result.base_parameters,
            steps=result.steps,
            seconds=sum(result.seconds.values()),
            loss=result.loss,
            held_out_before=result.held_out_before,
            held_out_after=result.held_out_after,
            forgetting=result.forgetting,
            forgetting_interval=result.forgetting_interval,
            kl=result.kl,
            stopped_early=result.stopped_early,
        )


def _snapshot(run: RunView) -> Path | None:
    file = run.folder / "snapshot.jsonl"
    return file if file.is_file() else None


def _name_for(request: Request, learned: int) -> str:
    """A name for an adapter that nobody named: the day and time it was asked for, and how much it learned from."""
    return f"{request.created[:16].replace(':', '').replace('T', '-')}-{learned}d"
