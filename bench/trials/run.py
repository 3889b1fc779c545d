"""Run trials one after the other as the app trains, and ask what came of each; a result is a line of JSON, written at
once. What the file already has is not run again.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.trials.greedy import greedy_replies
from bench.trials.job import Job, ModelIds, PackIds
from chatlab.engines.folder import read_adapter
from chatlab.engines.transformers.merge import with_adapter
from chatlab.engines.transformers.network import open_network
from chatlab.models.base import Base
from chatlab.system.lines import json_rows
from chatlab.training import metrics
from chatlab.training.data import split
from chatlab.training.kl import KLToReference
from chatlab.training.loop import train
from chatlab.training.model import LoraModel
from chatlab.training.resources import TrainingResources
from chatlab.training.sft import SFTLoss

KL_ROWS = 20
"""Demonstrations put aside on whose answers the distance to the base is measured."""


def run(jobs: Sequence[Job], models: Path, out: Path) -> None:
    """MODELS holds, for each model, a folder `NAME/` that transformers opens and `NAME.json`, its ids."""
    done = {row["key"] for row in json_rows(out)} if out.exists() else set()
    left = [job for job in jobs if job.key not in done]
    for name in dict.fromkeys(job.model for job in left):
        trials = Trials(models, name)
        for job in [job for job in left if job.model == name]:
            append(out, {"key": job.key, **asdict(job), **trials.trial(job)})


def append(out: Path, row: dict[str, Any]) -> None:
    """One line, whole."""
    with out.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


class Trials:
    """Of one model, kept open both for training and for replies."""

    def __init__(self, models: Path, name: str) -> None:
        self._models, self._name = models, name
        self.ids = ModelIds.read(models / f"{name.split('@')[0]}.json")  # files of one model differ in weights alone
        base = Base.open(models / name)
        self.base = base
        self.resources = TrainingResources(base, models / "cache")
        self._network = open_network(base.folder, base.parameters)

    def trial(self, job: Job) -> dict[str, Any]:
        """Train as the app does, then measure and ask."""
        began = time.perf_counter()
        settings, ids = job.train_settings, self.ids
        pack = ids.packs[job.pack]
        model = self.resources.model(settings)
        reference = self.resources.kl_reference()
        opened = time.perf_counter()
        losses: list[float] = []
        tokens = 0
        if job.settings:
            examples = split(pack.train, settings)[0]
            loss = SFTLoss(settings, reference if settings.kl_weight else None)
            for step in train(model, examples, settings, loss, lambda step, steps: {}):
                losses.append(step.loss)
                tokens += step.tokens
        trained = time.perf_counter()
        measured: dict[str, Any] = {
            "steps": len(losses),
            "tokens": tokens,
            "train_loss": sum(losses[-8:]) / max(1, len(losses[-8:])),
        }
        with tempfile.TemporaryDirectory() as temporary:
            folder = self._models / "adapters" / job.keep if job.keep else Path(temporary)
            model.save(folder, job.model)
            if job.asked:
                measured |= self._measured(model, pack)
                asked = [*pack.prompts[: job.asked], *ids.facts]
                replies = self.replies(folder, asked, job.reply_tokens)
                own = len(asked) - len(ids.facts)
                measured |= {"replies": replies[:own], "facts": replies[own:]}
        seconds = {"open": opened - began, "steps": trained - opened, "rest": time.perf_counter() - trained}
        return measured | {"seconds": {name: round(value, 2) for name, value in seconds.items()}}

    def _measured(self, model: LoraModel, pack: PackIds) -> dict[str, float | None]:
        base, after = self.resources.base_nll(), metrics.nll(model, self.resources.text)
        return {
            "task_loss": metrics.nll(model, pack.task).mean,
            "kl": KLToReference(model, pack.task[:KL_ROWS]).mean(),
            "forgetting": metrics.forgetting(base, after),
            "prose_nll": after.mean,
        }

    def replies(
        self, adapter: Path, prompts: Sequence[Sequence[int]], tokens: int, temperature: float = 0.0, seed: int = 0
    ) -> list[list[int]]:
        """Greedy, or sampled at a temperature."""
        model: Any = with_adapter(self._network, read_adapter(adapter, None), 1.0, merge=True)
        head = model.get_output_embeddings().weight
        return greedy_replies(model.base_model, head, prompts, self.ids.stop, tokens, temperature, seed)
