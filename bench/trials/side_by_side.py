"""Trials that differ only in rate, KL weight or layers, run side by side; each result is a line of JSON.

    python -m bench.trials.side_by_side JOBS MODELS OUT [DOCUMENTS]

DOCUMENTS of held-out prose are measured, all 24 unless said otherwise.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import torch

from bench.trials.job import Job, ModelIds, read_jobs
from bench.trials.run import KL_ROWS, append
from bench.trials.sweep import Sweep
from chatlab.system.host import bfloat16_is_faster
from chatlab.training.data import schedule, split
from chatlab.training.loop import learning_rate
from chatlab.training.metrics import forgetting


def run_sweep(
    jobs: Sequence[Job], models: Path, out: Path, *, bf16: bool, prose: int = 24, log: Callable[[str], None] = print
) -> None:
    """Train all `jobs` at once and write a line for each, and one for the base. `prose` documents are measured.

    Jobs that `out` has are left out.
    """
    began = time.perf_counter()
    done = {json.loads(line)["key"] for line in out.read_text("utf-8").splitlines()} if out.exists() else set()
    if not (jobs := [job for job in jobs if job.key not in done]):
        return
    first = jobs[0].train_settings
    ids = ModelIds.read(models / f"{jobs[0].model.split('@')[0]}.json")
    pack = ids.packs[jobs[0].pack]
    model = Sweep(models / jobs[0].model, jobs, bf16)
    texts = models / f"{jobs[0].model.split('@')[0]}.texts.json"
    kl = model.kl_reference(ids.start, texts) if any(j.train_settings.kl_weight for j in jobs) else None
    examples = split(pack.train, first)[0]
    steps = schedule(len(examples), first)
    losses = []
    for number, chosen in enumerate(steps):
        drawn = kl.sample(number, first.kl_samples, first.seed) if kl else []
        rates = [learning_rate(number, len(steps), job.train_settings) for job in jobs]
        losses.append(model.step([examples[i] for i in chosen], kl, drawn, rates))
        log(f"{number + 1}/{len(steps)} {[round(float(x), 3) for x in losses[-1]]}")
    for number, job in enumerate(jobs):
        if job.keep:
            model.save(number, models / "adapters" / job.keep)
    prompts = [*pack.prompts[: jobs[0].asked], *ids.facts]
    asked, spread = len(prompts) - len(ids.facts), ids.prose[:: max(1, len(ids.prose) // prose)]
    said = model.replies(prompts, ids.stop, jobs[0].reply_tokens)
    task, after, before = model.nll(pack.task), model.nll(spread), model.nll(spread, base=True)[0]
    kls = torch.zeros(model.count)
    for example in pack.task[:KL_ROWS]:
        base, own = model.log_probs(example, base=True), model.log_probs(example)
        kls += (base.exp() * (base - own)).sum(-1).mean(1)
    for k, job in enumerate(jobs):
        row = {
            "key": job.key,
            **asdict(job),
            "steps": len(steps),
            "train_loss": float(torch.stack(losses[-8:])[:, k].mean()),
            "task_loss": task[k].mean,
            "kl": float(kls[k]) / len(pack.task[:KL_ROWS]),
            "forgetting": forgetting(before, after[k]),
            "prose_documents": len(spread),
            "replies": said[k][:asked],
            "facts": said[k][asked:],
        }
        append(out, row)
    bare = Job(model=jobs[0].model, pack=jobs[0].pack, asked=jobs[0].asked, reply_tokens=jobs[0].reply_tokens)
    if bare.key in done:
        return
    said_base = model.base_replies(prompts, ids.stop, jobs[0].reply_tokens)
    append(
        out,
        {
            "key": bare.key,
            **asdict(bare),
            "task_loss": model.nll(pack.task, base=True)[0].mean,
            "forgetting": 0.0,
            "kl": 0.0,
            "replies": said_base[:asked],
            "facts": said_base[asked:],
            "seconds": time.perf_counter() - began,
        },
    )


def main(jobs: str, models: str, out: str, documents: str = "24") -> None:
    torch.set_num_threads(1)
    began = time.process_time()

    def log(line: str) -> None:
        print(f"{line} {time.process_time() - began:.0f}", flush=True)

    run_sweep(read_jobs(Path(jobs)), Path(models), Path(out), bf16=bfloat16_is_faster(), prose=int(documents), log=log)


if __name__ == "__main__":
    main(*sys.argv[1:])
