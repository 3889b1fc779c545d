"""The local engine: swapping adapters, the first token, and decoding beside transformers' own `generate`.

`python -m bench.engines [--rounds N] [--json FILE]`
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from threading import Thread
from typing import Any

from bench.table import middle, show
from chatlab.adapters import Adapters
from chatlab.engines.base import Sampling, Variant
from chatlab.engines.transformers.engine import TransformersEngine
from chatlab.models.base import Base
from chatlab.records import AdapterCard
from chatlab.settings import PACKAGE

NEVER: frozenset[int] = frozenset()
TOKENS = 128
GREEDY = Sampling(temperature=0.0, repetition_penalty=1.0, max_tokens=TOKENS)
USUAL = Sampling(max_tokens=TOKENS, seed=1)
TARGETS = {"swap, resident, ms": "< 10", "swap, from disk, ms": "< 250"}


def measure(rounds: int = 5) -> dict[str, float]:
    """Milliseconds and tokens a second, medians of `rounds`. The base is CHATLAB_BASE, or the embedded one."""
    base = Base.open(Path(os.environ.get("CHATLAB_BASE", PACKAGE / "models" / "embedded")))
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        engine = TransformersEngine.open(base)
        figures = {"open, ms": since(began)}
        variants = [published(base, Path(folder), seed) for seed in range(2)]
        runs = {**swaps(engine, base, variants), **paces(engine, base, variants), **theirs(base, variants[0])}
        for once in runs.values():
            once()  # what only a first time costs is not what is measured
        taken: dict[str, list[float]] = {name: [] for name in runs}
        for _ in range(rounds):
            for name, once in runs.items():
                taken[name].append(once())
        engine.close()
    figures |= {name: middle(values) for name, values in taken.items()}
    show([{"": name, "median": value, "target": TARGETS.get(name, "")} for name, value in figures.items()])
    return figures


def swaps(engine: TransformersEngine, base: Base, variants: list[Variant]) -> dict[str, Callable[[], float]]:
    """Milliseconds until another variant could answer, the check of its files included."""
    shelf = Adapters(variants[0].folder.parent) if variants[0].folder else None

    def swap(resident: bool) -> float:
        if not resident:
            for variant in variants:
                engine.unload(variant.folder or Path())
        began = time.perf_counter()
        for variant in variants:
            if shelf:
                shelf.open(variant.name, base.fingerprint)
            engine.load(variant)
        return since(began) / len(variants)

    return {"swap, from disk, ms": lambda: swap(False), "swap, resident, ms": lambda: swap(True)}


def paces(engine: TransformersEngine, base: Base, variants: list[Variant]) -> dict[str, Callable[[], float]]:
    """First tokens in milliseconds, decoding in tokens a second."""
    numbers = iter(range(10**6))

    def prompt(tokens: int) -> list[int]:
        """One that was never read before."""
        return [300 + (next(numbers) * 31 + place * 7) % 5000 for place in range(tokens)]

    def first(ids: list[int], variant: Variant) -> float:
        began = time.perf_counter()
        next(engine.stream(ids, GREEDY, variant, NEVER))
        return since(began)

    def next_turn() -> float:
        ids = prompt(448)
        first(ids, variants[0])
        return first(ids + prompt(64), variants[0])

    return {
        "first token, prompt of 64, ms": lambda: first(prompt(64), variants[0]),
        "first token, prompt of 512, ms": lambda: first(prompt(512), variants[0]),
        "first token, 448 of 512 remembered, ms": next_turn,
        "base, greedy, tok/s": lambda: pace(engine, Variant(), GREEDY),
        "adapter, greedy, tok/s": lambda: pace(engine, variants[0], GREEDY),
        "adapter, usual sampling, tok/s": lambda: pace(engine, variants[0], USUAL),
        "three variants at once, tok/s in all": lambda: stream_batch(engine, [Variant(), *variants]),
    }


def pace(engine: TransformersEngine, variant: Variant, sampling: Sampling) -> float:
    """Tokens a second from the first token on."""
    chunks = engine.stream(list(range(400, 432)), sampling, variant, NEVER)
    times = [(time.perf_counter(), chunk.tokens) for chunk in chunks]
    return (times[-1][1] - times[0][1]) / (times[-1][0] - times[0][0])


def stream_batch(engine: TransformersEngine, variants: list[Variant]) -> float:
    threads = [Thread(target=pace, args=(engine, variant, GREEDY)) for variant in variants]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return len(variants) * TOKENS / (time.perf_counter() - began)


def theirs(base: Base, variant: Variant) -> dict[str, Callable[[], float]]:
    """`generate` of transformers on the same weights and thread, without and with a PEFT adapter beside them."""
    import torch
    from peft import PeftModel

    from chatlab.engines.transformers.network import open_network

    plain: Any = open_network(base.folder, base.parameters)
    adapted: Any = PeftModel.from_pretrained(open_network(base.folder, base.parameters), variant.folder).eval()

    def generate(model: Any) -> float:
        ids = torch.arange(400, 432)[None]
        began = time.perf_counter()
        with torch.inference_mode():
            made = model.generate(input_ids=ids, do_sample=False, min_new_tokens=TOKENS, max_new_tokens=TOKENS)
        return (made.shape[1] - ids.shape[1]) / (time.perf_counter() - began)

    return {
        "generate, base, tok/s": lambda: generate(plain),
        "generate, PEFT adapter beside it, tok/s": lambda: generate(adapted),
    }


def published(base: Base, folder: Path, seed: int) -> Variant:
    """An adapter of the usual size with random numbers in it."""
    import torch
    from peft import LoraConfig, get_peft_model

    from chatlab.engines.transformers.network import open_network

    torch.manual_seed(seed)
    config = LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", init_lora_weights=False)
    model: Any = open_network(base.folder, base.parameters)
    source = folder / f"source-{seed}"
    get_peft_model(model, config).save_pretrained(str(source))
    card = Adapters(folder / "adapters").publish(source, AdapterCard(name=f"voice-{seed}", base=base.fingerprint))
    return Variant(name=card.name, folder=folder / "adapters" / card.name)


def since(began: float) -> float:
    """Milliseconds."""
    return 1000 * (time.perf_counter() - began)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    found = measure(given.rounds)
    if given.json:
        given.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
