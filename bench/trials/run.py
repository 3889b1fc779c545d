"""Run jobs, several at once, on a GPU or on CPU cores; each result is a line of JSON, written at once.

    python -m bench.trials.run JOBS MODELS OUT [--workers N] [--seconds S] [--device cuda]

MODELS holds, for each model, a folder `NAME/` that transformers opens and `NAME.json`, its ids. What OUT already has
is not run again.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import time
import traceback
from collections.abc import Sequence
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path
from queue import Empty
from typing import Any

from bench.trials.job import Job, ModelIds, read_jobs

KL_ROWS = 20
"""Demonstrations put aside on whose answers the distance to the base is measured."""


def run(
    jobs: Sequence[Job], models: Path, out: Path, *, workers: int = 1, seconds: float = 1e9, device: str = "cpu"
) -> None:
    """Jobs in order of appearance, each group of one shape by one process; none begins after `seconds`."""
    done = {json.loads(line)["key"] for line in out.read_text("utf-8").splitlines()} if out.exists() else set()
    until = time.time() + seconds
    context = get_context("spawn")
    queue: Any = context.Queue()
    for group in _groups([job for job in jobs if job.key not in done]):
        queue.put(group)
    processes = [context.Process(target=_work, args=(queue, models, out, until, device)) for _ in range(workers)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()


def _groups(jobs: Sequence[Job], most: int = 6) -> list[list[Job]]:
    """Jobs of one shape together, for opening a model takes as long as some steps, but not too many in one hand."""
    groups: list[list[Job]] = []
    for job in jobs:
        own = next((g for g in groups if g[0].shape == job.shape and len(g) < most), None)
        if own is None:
            groups.append(own := [])
        own.append(job)
    return groups


def _work(queue: Any, models: Path, out: Path, until: float, device: str) -> None:
    import torch

    torch.set_num_threads(int(os.environ.get("TRIAL_THREADS", "1")))
    if device != "cpu":
        torch.set_default_device(device)
    worker = Worker(models, device)
    while time.time() < until:
        try:
            group = queue.get(timeout=1)
        except Empty:
            return
        for job in group:
            if time.time() > until:
                return
            try:
                result = worker.trial(job)
            except Exception:
                result = {"error": traceback.format_exc()[-1500:]}
                print(result["error"], flush=True)
            append(out, {"key": job.key, **asdict(job), **result})


def append(out: Path, row: dict[str, Any]) -> None:
    """One line, whole, whoever else writes."""
    with out.open("a", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write(json.dumps(row) + "\n")


class Worker:
    """Keeps the model of the last job open, and what was measured of its base."""

    def __init__(self, models: Path, device: str) -> None:
        self._models, self._device = models, device
        self._shape: tuple[Any, ...] = ()
        self._ids: dict[str, ModelIds] = {}
        self._kl: dict[str, Any] = {}
        self._base: dict[str, Any] = {}

    def trial(self, job: Job) -> dict[str, Any]:
        """Train as the app does, then measure and ask."""
        from chatlab.training import metrics
        from chatlab.training.data import split
        from chatlab.training.kl import KLToBase
        from chatlab.training.loop import train
        from chatlab.training.sft import SFTLoss

        began = time.perf_counter()
        settings = job.train_settings
        self._open(job)
        model, ids = self._model, self._ids[job.model]
        pack = ids.packs[job.pack]
        model.reset(settings)
        if job.model not in self._kl:
            self._kl[job.model] = model.kl_reference(ids.start)
            self._base[job.model] = metrics.nll(model, ids.prose)
        base = self._base[job.model]
        kl = KLToBase(model, pack.task[:KL_ROWS])
        opened = time.perf_counter()
        losses: list[float] = []
        tokens = 0
        if job.settings:
            examples = split(pack.train, settings)[0]
            loss = SFTLoss(settings, self._kl[job.model] if settings.kl_weight else None)
            for step in train(model, examples, settings, loss, lambda step, steps: {}):
                losses.append(step.loss)
                tokens += step.tokens
        trained = time.perf_counter()
        after = metrics.nll(model, ids.prose)
        if job.keep:
            model.save(self._models / "adapters" / job.keep, job.model)
        prompts = pack.prompts[: job.asked]
        replies = model.replies([*prompts, *ids.facts], ids.stop, job.reply_tokens)
        return {
            "steps": len(losses),
            "tokens": tokens,
            "train_loss": sum(losses[-8:]) / max(1, len(losses[-8:])),
            "task_loss": metrics.nll(model, pack.task).mean,
            "kl": kl.mean(),
            "forgetting": metrics.forgetting(base, after),
            "prose_nll": after.mean,
            "replies": replies[: len(prompts)],
            "facts": replies[len(prompts) :],
            "seconds": {
                "open": round(opened - began, 2),
                "steps": round(trained - opened, 2),
                "rest": round(time.perf_counter() - trained, 2),
            },
        }

    def _open(self, job: Job) -> None:
        from bench.trials.device_lora import DeviceLora

        if job.model not in self._ids:
            base = job.model.split("@")[0]  # the files of one model differ in their weights alone
            self._ids[job.model] = ModelIds.read(self._models / f"{base}.json")
        if self._shape != job.shape:
            self._model: Any = None
            self._model = DeviceLora(
                self._models / job.model, job.train_settings, self._device, layers=job.layers, bf16=_bf16(self._device)
            )
            self._shape = job.shape


def _bf16(device: str) -> bool:
    from chatlab.system.host import bfloat16_is_faster

    return device != "cpu" or bfloat16_is_faster()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("jobs", type=Path)
    parser.add_argument("models", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=1e9)
    parser.add_argument("--device", default="cpu")
    given = parser.parse_args()
    run(
        read_jobs(given.jobs),
        given.models,
        given.out,
        workers=given.workers,
        seconds=given.seconds,
        device=given.device,
    )
