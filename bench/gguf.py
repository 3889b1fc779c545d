"""llama.cpp as the engine: its own bare loop, the Lab's stream and transformers with PEFT, side by side.

`python -m bench.gguf [--rounds N] [--json FILE]`
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from bench.engines import NEVER, published, since
from bench.table import middle, show
from chatlab.engines.base import Sampling, Variant
from chatlab.engines.folder import read_adapter
from chatlab.engines.gguf_export.files import write_adapter
from chatlab.engines.llamacpp.engine import LlamaCppEngine
from chatlab.engines.llamacpp.runtime import Runtime
from chatlab.lab import Lab
from chatlab.lab.chat.reply_stream import ReplyOptions
from chatlab.models.base import Base
from chatlab.settings import PACKAGE, Settings

EMBEDDED = PACKAGE / "models" / "embedded"
TOKENS = 128
GREEDY = Sampling(temperature=0.0, repetition_penalty=1.0, max_tokens=TOKENS)
USUAL = Sampling(max_tokens=TOKENS, seed=1)
PROMPT = list(range(400, 432))
M135 = {
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "vocab_size": 49152,
    "tie_word_embeddings": True,
    "max_position_embeddings": 1024,
    "eos_token_id": 0,
}
"""Sizes of a usual model of 135M parameters."""
TARGETS = {
    "Lab's stream / bare loop": ">= 0.95",
    "Lab's stream / transformers + peft": ">= 5",
    "swap, resident, ms": "< 5",
    "swap, from disk, ms": "< 100",
    "135M: adapter to GGUF, ms": "< 1000",
    "first token, 448 of 500 warm, ms": "< 50",
}


def measure(rounds: int = 5, threads: int = 1) -> dict[str, float]:
    """Medians of `rounds`; every round asks each of them once."""
    with tempfile.TemporaryDirectory() as home, opened(Path(home), threads) as runs:
        for once in runs.values():
            once()  # what only a first time costs is not what is measured
        taken: dict[str, list[float]] = {name: [] for name in runs}
        for _ in range(rounds):
            for name, once in runs.items():
                taken[name].append(once())
    figures = {name: middle(values) for name, values in taken.items()}
    figures["Lab's stream / bare loop"] = figures["Lab's stream, greedy, tok/s"] / figures["bare loop, base, tok/s"]
    lab = figures["Lab's stream, adapter, tok/s"]
    figures["Lab's stream / transformers + peft"] = lab / figures["transformers + peft, tok/s"]
    rate = figures["135M: decode, f16, tok/s"] * figures.pop("135M: bytes a token")
    figures["135M: share of the memory's bandwidth"] = rate / (1e9 * figures["memory, GB/s"])
    show([{"": name, "median": value, "target": TARGETS.get(name, "")} for name, value in figures.items()])
    return figures


@contextmanager
def opened(home: Path, threads: int) -> Iterator[dict[str, Callable[[], float]]]:
    """Everything that is measured, ready to be asked."""
    base = Base.open(EMBEDDED)
    variants = [published(base, home, seed) for seed in range(2)]
    lab = Lab(Settings(home=home, cache_folder=home / "cache", threads=threads, engine="llama.cpp"))
    engine = LlamaCppEngine.open(base, home / "gguf", threads)
    bare = Runtime(next((home / "gguf").glob("*.gguf")), 1024, 1, threads, 64)
    large = larger(home / "m135")
    try:
        yield {
            "bare loop, base, tok/s": lambda: pace_bare(bare),
            "Lab's stream, greedy, tok/s": lambda: pace_lab(lab, GREEDY, "base"),
            "Lab's stream, usual sampling, tok/s": lambda: pace_lab(lab, USUAL, "base"),
            "Lab's stream, adapter, tok/s": lambda: pace_lab(lab, GREEDY, variants[0].name),
            "transformers + peft, tok/s": theirs(base, variants[0], threads),
            **swaps(engine, base, variants),
            "first token, 448 of 500 warm, ms": warm_first(engine, variants[0]),
            **of_135m(large, home, threads),
            "memory, GB/s": bandwidth,
        }
    finally:
        lab.close()
        engine.close()
        bare.close()


def pace_bare(runtime: Runtime) -> float:
    """llama.cpp alone: decode, likeliest token, decode; no text, no adapters, nothing kept."""
    scores = runtime.read(PROMPT, 0, 0, None)
    token, began = int(scores.argmax()), time.perf_counter()
    for place in range(TOKENS - 1):
        token = int(runtime.read([token], 0, len(PROMPT) + place, None).argmax())
    return (TOKENS - 1) / (time.perf_counter() - began)


def pace_lab(lab: Lab, sampling: Sampling, variant: str) -> float:
    """From the first token on, through everything that a reply in the chat goes through but the page."""
    chat = lab.chat.new(incognito=True)
    options = ReplyOptions(sampling=sampling, variant=variant)
    reply = lab.chat.reply(chat, "Tell me a long story about the sea.", options)
    times = [(time.perf_counter(), chunk.tokens) for chunk in reply if chunk.tokens]
    if times[-1][1] < 8:
        raise SystemExit("The reply ended at once; choose another prompt.")
    return (times[-1][1] - times[0][1]) / (times[-1][0] - times[0][0])


def theirs(base: Base, variant: Variant, threads: int) -> Callable[[], float]:
    """`generate` with a PEFT adapter beside the base."""
    model: Any = AutoModelForCausalLM.from_pretrained(base.folder, dtype=torch.float32)
    model = PeftModel.from_pretrained(model, str(variant.folder)).eval()

    def run() -> float:
        torch.set_num_threads(threads)
        ids = torch.tensor([PROMPT])
        began = time.perf_counter()
        with torch.inference_mode():
            model.generate(input_ids=ids, do_sample=False, min_new_tokens=TOKENS, max_new_tokens=TOKENS)
        return TOKENS / (time.perf_counter() - began)

    return run


def swaps(engine: LlamaCppEngine, base: Base, variants: list[Variant]) -> dict[str, Callable[[], float]]:
    """Milliseconds that a change of adapter costs: the call, and what the next token takes longer than usual."""

    def token(variant: Variant) -> float:
        engine.load(variant)
        chunks = engine.stream(PROMPT, GREEDY, variant, NEVER)
        times = []
        for _ in range(6):
            began = time.perf_counter()
            next(chunks)
            times.append(since(began))
        chunks.close()  # type: ignore[attr-defined]
        return middle(times[2:])

    def swap(resident: bool) -> float:
        usual = token(variants[0])
        replies = [engine.stream(PROMPT, GREEDY, variant, NEVER) for variant in variants]
        for reply in replies:
            next(reply), next(reply)
        if not resident:
            for variant in variants:
                engine.unload(variant.folder or Path())
        costs = []
        for _ in range(4 if resident else 1):
            for variant, reply in zip(variants, replies, strict=True):
                began = time.perf_counter()
                engine.load(variant)
                next(reply)
                costs.append(since(began) - usual)
        return middle(costs)

    return {"swap, resident, ms": lambda: swap(True), "swap, from disk, ms": lambda: swap(False)}


def warm_first(engine: LlamaCppEngine, variant: Variant) -> Callable[[], float]:
    numbers = iter(range(10**6))

    def run() -> float:
        ids = [300 + (next(numbers) * 31 + place * 7) % 5000 for place in range(500)]
        list(engine.stream(ids[:449], Sampling(max_tokens=1), variant, NEVER))
        began = time.perf_counter()
        next(chunk for chunk in engine.stream(ids, GREEDY, variant, NEVER) if chunk.tokens)
        return since(began)

    return run


def larger(folder: Path) -> Base:
    """Random weights of the usual 135M shape, behind the embedded base's tokenizer."""
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(**M135)).bfloat16()
    model.save_pretrained(folder)
    for paper in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        (folder / paper).write_bytes((EMBEDDED / paper).read_bytes())
    return Base.open(folder)


def of_135m(base: Base, home: Path, threads: int) -> dict[str, Callable[[], float]]:
    engine = LlamaCppEngine.open(base, home / "gguf135", threads)
    file = next((home / "gguf135").glob("*.gguf"))
    bare = Runtime(file, 1024, 1, threads, 64)
    model: Any = LlamaForCausalLM.from_pretrained(base.folder, dtype=torch.float32)
    get_peft_model(
        model, LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", init_lora_weights=False)
    ).save_pretrained(str(home / "lora135"))
    engine.close()

    def convert() -> float:
        began = time.perf_counter()
        write_adapter(base, read_adapter(home / "lora135", None), home / "lora135.gguf")
        return since(began)

    return {
        "135M: decode, f16, tok/s": lambda: pace_bare(bare),
        "135M: bytes a token": lambda: float(file.stat().st_size),
        "135M: adapter to GGUF, ms": convert,
    }


def bandwidth() -> float:
    """Bytes read and written a second while a large array is copied, by one thread for each core."""
    source = torch.from_numpy(np.ones(1 << 27, dtype=np.float32))
    target = torch.empty_like(source)
    target.copy_(source)
    began = time.perf_counter()
    target.copy_(source)
    return 2 * source.nbytes / (time.perf_counter() - began) / 1e9


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    found = measure(given.rounds, given.threads)
    if given.json:
        given.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
