"""What a person would write with TRL: load a base, train LoRA on a file of demonstrations, ask for one token.

Run by `bench.training` as a program of its own, once for each measurement: `trl_script.py JOB.json` prints one line of
JSON with the seconds of each part. It is given every advantage: no evaluation, no checkpoints, no progress bars, no
gradient checkpointing (which costs TRL half its speed), and the precision that is faster on this machine.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path

BEGAN = time.perf_counter()


def main(job: dict) -> dict[str, float]:
    clock = Clock()
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    clock.lap("import")
    tokenizer = AutoTokenizer.from_pretrained(job["base"])
    import torch

    model = AutoModelForCausalLM.from_pretrained(job["base"], dtype=torch.float32)
    clock.lap("load")
    rows = Dataset.from_list([{"prompt": m[:-1], "completion": m[-1:]} for m in job["rows"]])
    trainer = SFTTrainer(
        model=model,
        processing_class=tokenizer,
        train_dataset=rows,
        peft_config=LoraConfig(
            r=job["rank"], lora_alpha=job["alpha"], lora_dropout=0.0, target_modules="all-linear", task_type="CAUSAL_LM"
        ),
        args=SFTConfig(
            output_dir=tempfile.mkdtemp(),
            use_cpu=True,
            bf16=job["bf16"],
            gradient_checkpointing=False,
            num_train_epochs=job["epochs"],
            per_device_train_batch_size=job["batch"],
            learning_rate=job["learning_rate"],
            lr_scheduler_type="cosine",
            warmup_steps=0.05,
            completion_only_loss=True,
            save_strategy="no",
            eval_strategy="no",
            logging_strategy="no",
            report_to="none",
            disable_tqdm=True,
            seed=0,
        ),
    )
    clock.lap("tokenise")
    trainer.train()
    clock.lap("steps")
    trainer.save_model(job["out"])
    clock.lap("save")
    prompt = tokenizer.apply_chat_template(job["rows"][0][:-1], add_generation_prompt=True, return_tensors="pt")
    trainer.model.eval()
    trainer.model.generate(**prompt, max_new_tokens=1, do_sample=False)
    clock.lap("first token")
    tokens = sum(len(ids) for ids in trainer.train_dataset["input_ids"]) * job["epochs"]
    return {**clock.laps, "tokens": tokens, "steps taken": trainer.state.global_step}


def loss_of(job: dict) -> dict[str, float]:
    """TRL's loss of the first batch under a given adapter, in float32."""
    import torch
    from datasets import Dataset
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    model = AutoModelForCausalLM.from_pretrained(job["base"], dtype=torch.float32)
    rows = job.get("examples") or [{"prompt": m[:-1], "completion": m[-1:]} for m in job["rows"]]
    trainer = SFTTrainer(
        model=PeftModel.from_pretrained(model, job["adapter"], is_trainable=True),
        processing_class=AutoTokenizer.from_pretrained(job["base"]),
        train_dataset=Dataset.from_list(rows),
        args=SFTConfig(
            output_dir=tempfile.mkdtemp(),
            use_cpu=True,
            bf16=False,
            gradient_checkpointing=False,
            completion_only_loss=True,
            report_to="none",
        ),
    )
    batch = trainer.data_collator([trainer.train_dataset[i] for i in range(job["batch"])])
    with torch.no_grad():
        return {"loss": trainer.compute_loss(trainer.model, batch).item()}


class Clock:
    """Seconds since the last lap, by name."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = BEGAN

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.laps[name], self._last = now - self._last, now


if __name__ == "__main__":
    given = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    print(json.dumps(loss_of(given) if "adapter" in given else main(given)))
