"""Retraining beside a TRL script, on the same rows, epochs, batch and rank: from the press of the button to the first
token of the new voice, the training loops alone, and the loss of one batch.

`python -m bench.training [--rounds N] [--json PATH]`, or as one of `python -m bench`.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

from bench.house import warm_lab
from bench.table import middle, show
from chatlab.engines.base import Sampling
from chatlab.lab import Lab
from chatlab.models.base import Base
from chatlab.records import Message, TrainSettings
from chatlab.system.host import bfloat16_is_faster
from chatlab.system.lines import split_lines
from chatlab.training.process.runs import RunView

SCRIPT = Path(__file__).with_name("trl_script.py")
ONE = Sampling(temperature=0, max_tokens=1)


def measure(rounds: int = 5) -> dict[str, Any]:
    """Of the base that CHATLAB_BASE names, or the embedded one."""
    with warm_lab() as lab:
        return beside_trl(lab, rounds)


def beside_trl(lab: Lab, rounds: int) -> dict[str, Any]:
    """Seconds and tokens a second, medians over `rounds`; in each round one of everything, one after the other."""
    mine: list[dict[str, float]] = []
    theirs: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(rounds):
            times, run = pressed(lab)
            mine.append(times)
            lab.unseen_evaluator.wait()
            theirs.append(fastest(Path(folder), learned(run), run.request.settings, weights_of(lab)))
        losses = same_loss(Path(folder), run, weights_of(lab))
    peak = peak_mb()
    loops = [loop_alone(lab) for _ in range(rounds)]  # last: other layers than the default's are opened anew
    figures = {
        "chatlab": {name: middle([m[name] for m in mine]) for name in mine[0]},
        "trl": {name: middle([t[name] for t in theirs]) for name in theirs[0]},
        "chatlab_loop_without_kl": middle(loops),
        "trl_loop": middle([t["tokens"] / t["steps"] for t in theirs]),
        "peak_mb": peak,
        **losses,
    }
    figures["share_of_trl"] = figures["chatlab"]["total"] / figures["trl"]["total"]
    figures["loop_ratio"] = figures["chatlab_loop_without_kl"] / figures["trl_loop"]
    _print(figures)
    return figures


def peak_mb() -> int:
    """Most memory that the trainer process has held, MB; where the system does not keep that, what it holds now."""
    found = 0
    for child in psutil.Process().children(recursive=True):
        if any("training.process.worker" in part for part in child.cmdline()):
            status = Path(f"/proc/{child.pid}/status")
            lines = status.read_text(encoding="ascii").splitlines() if status.exists() else []
            kept = [int(line.split()[1]) // 1024 for line in lines if line.startswith("VmHWM")]
            found = max(found, *kept, child.memory_info().rss >> 20)
    return found


def pressed(lab: Lab) -> tuple[dict[str, float], RunView]:
    """Retrain with the default settings and ask the new adapter for a token; seconds by part."""
    began = time.perf_counter()
    run = lab.training.retrain()
    lab.training.wait()
    live = time.perf_counter()
    view = lab.training.run(run)
    assert view.result is not None and lab.variants.live != "base", lab.training.news or view.error
    first_token(lab)
    ended = time.perf_counter()
    own = dict(view.result.seconds)
    own["publish, go live"] = live - began - sum(own.values())
    return {**own, "first token": ended - live, "total": ended - began}, view


def first_token(lab: Lab) -> None:
    for panes in lab.compare.ask("Write a greeting", [lab.variants.live], ONE):
        if panes[0].provenance:
            return


def loop_alone(lab: Lab) -> float:
    """Demonstration tokens a second of a run without KL penalty and on all layers, as TRL's; evaluations left out."""
    run = lab.training.retrain(live=False, kl_weight=0.0, layers=1.0)
    lab.training.wait()
    result = lab.training.run(run).result
    assert result is not None
    return result.tokens / result.seconds["steps"]


def learned(run: RunView) -> list[list[dict[str, str]]]:
    """Messages of the demonstrations that a run learned from."""
    assert run.result is not None
    lines = split_lines((run.folder / "snapshot.jsonl").read_text(encoding="utf-8"))
    by_id = {row["id"]: row["messages"] for row in map(json.loads, lines)}
    return [by_id[id] for id in run.result.demonstrations]


def fastest(folder: Path, rows: Sequence[Any], settings: TrainSettings, base: str) -> dict[str, float]:
    """The TRL script's seconds, in float32 or bfloat16, whichever is faster here; where the processor has no
    instructions for bfloat16, which takes thirty times as long there, in float32.
    """
    job = {
        "base": base,
        "rows": rows,
        "rank": settings.rank,
        "alpha": settings.alpha,
        "epochs": settings.epochs,
        "batch": settings.batch_size,
        "learning_rate": settings.learning_rate,
        "out": str(folder / "trl"),
    }
    tried = (False, True) if bfloat16_is_faster() else (False,)
    return min((scripted(folder, job | {"bf16": bf16}) for bf16 in tried), key=lambda times: times["total"])


def scripted(folder: Path, job: Mapping[str, Any]) -> dict[str, float]:
    """Run the TRL script, as polite as our trainer is, which matters on a busy machine only, and read its last line."""
    path = folder / "job.json"
    path.write_text(json.dumps(job), encoding="utf-8")
    began = time.perf_counter()
    polite = ["nice", "-n", "5"] if shutil.which("nice") else []
    command = [*polite, sys.executable, str(SCRIPT), str(path)]
    # Our workers wait asleep; TRL is left to what torch does by itself, which is quicker for it on a quiet machine.
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found | {"total": time.perf_counter() - began}


def weights_of(lab: Lab) -> str:
    """The folder that transformers opens the base from; a GGUF's was unpacked."""
    return str(lab.machine.training_base(lab.machine.base).folder)


def same_loss(folder: Path, run: RunView, base: str) -> dict[str, float]:
    """The loss of one batch under the trained adapter: TRL's, and ours in float32 and as trained.

    TRL is given our ids and labels: left to itself it also learns the newline that ChatML writes after an answer's end.
    """
    rows = learned(run)[: run.request.settings.batch_size]
    encoded = [Base.open(Path(base)).template.encode([Message.of(m) for m in messages])[0] for messages in rows]
    examples = [{"input_ids": list(e.ids), "labels": list(e.labels)} for e in encoded]
    layers = run.request.settings.layers
    job = {"base": base, "examples": examples, "adapter": str(run.adapter), "batch": len(rows), "layers": layers}
    theirs = scripted(folder, job)["loss"]
    code = "import sys; from bench.training import own_loss; print(own_loss(sys.argv[1], sys.argv[2] == 'bf16'))"
    own = {}
    for precision in ("fp32", "bf16"):
        (folder / "job.json").write_text(json.dumps(job), encoding="utf-8")
        command = [sys.executable, "-c", code, str(folder / "job.json"), precision]
        own[precision] = float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return {
        "trl_loss": theirs,
        "loss_fp32": own["fp32"],
        "loss_bf16": own["bf16"],
        "loss_difference_fp32": abs(theirs - own["fp32"]),
    }


def own_loss(job_file: str, bf16: bool) -> float:
    """Ours, computed as the trainer does."""
    from accelerate import Accelerator
    from safetensors.torch import load_file

    from chatlab.training.data import Example
    from chatlab.training.loop import compute_gradients
    from chatlab.training.model import WEIGHTS, LoraModel
    from chatlab.training.sft import SFTLoss

    job = json.loads(Path(job_file).read_text(encoding="utf-8"))
    weights = load_file(Path(job["adapter"]) / WEIGHTS)
    rank = next(t.shape[0] for name, t in weights.items() if "lora_A" in name)
    settings = TrainSettings(rank=rank, layers=job["layers"])
    model = LoraModel(Path(job["base"]), settings, Accelerator(cpu=True), bf16)
    for name, parameter in model.peft.named_parameters():
        if parameter.requires_grad:
            parameter.data.copy_(weights[name.replace(".default", "")])
    model.sync_weights()
    examples = [Example(demonstration=0, ids=tuple(e["input_ids"]), labels=tuple(e["labels"])) for e in job["examples"]]
    return compute_gradients(model, SFTLoss(settings).step(model, examples, 0))["loss"]


def _print(figures: Mapping[str, Any]) -> None:
    own, trl = figures["chatlab"], figures["trl"]
    names = [*own, *(name for name in trl if name not in own and name not in ("tokens", "steps taken"))]
    names.sort(key=lambda name: name == "total")
    show([{"seconds": n, "chatlab": own.get(n, "-"), "trl script": trl.get(n, "-")} for n in names])
    print()
    show(
        [
            {"": "press to first token / TRL", "here": figures["share_of_trl"], "target": "<= 0.6"},
            {"": "press to first token, s", "here": own["total"], "target": "< 10"},
            {"": "loop, tokens/s", "here": figures["chatlab_loop_without_kl"], "target": "-"},
            {"": "TRL's loop, tokens/s", "here": figures["trl_loop"], "target": "-"},
            {"": "loop / TRL's loop", "here": figures["loop_ratio"], "target": ">= 1.3"},
            {"": "loss - TRL's loss, fp32", "here": figures["loss_difference_fp32"], "target": "<= 1e-4"},
        ]
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    found = measure(given.rounds)
    if given.json:
        given.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
