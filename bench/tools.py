"""What delegation changes: a base alone, taught to answer by itself, and taught to ask a tool.

`python -m bench.tools [--lessons N] [--asked N] [--base MODEL]`, or as one of `python -m bench`. Both teachings have
the same problems and settings; all three variants are asked through the app's own chat, greedily, with the tools
switched on. The problems are new ones by the same rules, letters counted in words and, where GSM8K is at hand, its
problems of one step.
"""

from __future__ import annotations

import argparse
import json
import re
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.lessons import OFFERED, Problem, demonstration, problems
from bench.table import show
from chatlab.engines.base import Sampling
from chatlab.evaluation.statistics import wilson
from chatlab.lab import Lab
from chatlab.lab.chat.reply_stream import ReplyOptions
from chatlab.records import BASE
from chatlab.settings import PACKAGE, Settings
from chatlab.system.lines import split_lines
from chatlab.tools.calculator import calculate

GSM8K = PACKAGE.parent.parent / "shared" / "data" / "chat" / "gsm8k_train.jsonl"
EMBEDDED = PACKAGE / "models" / "embedded"
GREEDY = Sampling(temperature=0, repetition_penalty=1.0, max_tokens=64)
TEACHING, ASKING = 1, 2
"""Seeds."""
_STEP = re.compile(r"<<([^=<>]+)=([^<>]+)>>")
_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")

Asked = Sequence[tuple[str, str]]
"""(question, value)"""


def measure(
    rounds: int = 1, lessons: int = 400, asked: int = 200, base: Path = EMBEDDED, cache: Path | None = None
) -> dict[str, Any]:
    """Shares of right answers with 95 % intervals. `rounds` is taken for the sake of the others."""
    taught = problems(lessons, TEACHING)
    sets = questions(asked, {problem.question for problem in taught})
    figures: dict[str, Any] = {"lessons": lessons, "voices": {}}
    for variant in ("base", "answers", "delegates"):
        figures["voices"][variant] = _variant(variant, taught, sets, base, cache)
        _print(variant, figures["voices"][variant])
    return figures


def questions(number: int, known: set[str]) -> dict[str, Asked]:
    """By what they are about. None of them was taught."""
    new = [problem for problem in problems(number * 8, ASKING) if problem.question not in known]
    sums = [p for p in new if p.call.name == "calculator"][:number]
    letters = [p for p in new if p.call.name == "count"][:number]
    sets: dict[str, Asked] = {"word problems": _pairs(sums), "letters": _pairs(letters)}
    if GSM8K.exists():
        sets["GSM8K, one step"] = one_step(split_lines(GSM8K.read_text(encoding="utf-8")))[:number]
    return sets


def one_step(lines: Sequence[str]) -> list[tuple[str, str]]:
    """Problems whose answer is worked out in one sum of two numbers that both stand in the question."""
    found = []
    for row in map(json.loads, lines):
        steps = _STEP.findall(row["answer"])
        if len(steps) != 1:
            continue
        numbers = _NUMBER.findall(steps[0][0])
        if len(numbers) == 2 and all(re.search(rf"\b{re.escape(n)}\b", row["question"]) for n in numbers):
            found.append((row["question"], calculate(row["answer"].rpartition("####")[2])))
    return found


def _pairs(some: Sequence[Problem]) -> list[tuple[str, str]]:
    return [(problem.question, problem.value) for problem in some]


def _variant(
    variant: str, taught: Sequence[Problem], sets: dict[str, Asked], base: Path, cache: Path | None
) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as home:
        lab = Lab(Settings(home=Path(home), base=base, cache_folder=cache))
        try:
            found: dict[str, Any] = {}
            if variant != BASE:
                found |= _teach(lab, taught, delegated=variant == "delegates")
            return found | {name: _heard(lab, asked) for name, asked in sets.items()}
        finally:
            lab.close()


def _teach(lab: Lab, taught: Sequence[Problem], delegated: bool) -> dict[str, Any]:
    lab.demonstrations.add([demonstration(problem, delegated) for problem in taught], release=True)
    began = time.perf_counter()
    run = lab.training.retrain()
    lab.training.wait()
    result = lab.training.run(run).result
    assert result is not None, lab.training.news
    lab.variants.go_live(str(lab.training.adapter_of(run)), knowingly=True)
    seconds = round(time.perf_counter() - began)
    return {"seconds": seconds, "steps": result.steps, "forgetting": result.forgetting}


def _heard(lab: Lab, asked: Asked) -> dict[str, Any]:
    """How many answers end on the right number, and how many called a tool, rightly or not."""
    right = called = worked = tokens = 0
    for question, value in asked:
        turn = _answer(lab, question)
        numbers = _NUMBER.findall(turn.content)
        right += bool(numbers) and numbers[-1].replace(",", "").rstrip(".") == value
        called += bool(turn.steps)
        worked += any(step.result == value for step in turn.steps)
        tokens += turn.provenance.tokens if turn.provenance else 0
    low, high = wilson(right, len(asked))
    return {
        "asked": len(asked),
        "right": right,
        "share": round(right / len(asked), 3),
        "interval": [round(low, 3), round(high, 3)],
        "called": called,
        "right call": worked,
        "tokens": round(tokens / len(asked), 1),
    }


def _answer(lab: Lab, question: str) -> Any:
    conversation = lab.chat.new(incognito=True)
    options = ReplyOptions(sampling=GREEDY, tools=tuple(tool.name for tool in OFFERED))
    lab.chat.reply(conversation, question, options).finish()
    turns = lab.chat.get(conversation).turns
    lab.chat.delete(conversation)
    return turns[-1]


def _print(variant: str, found: dict[str, Any]) -> None:
    print(f"\n{variant}: " + ", ".join(f"{k} {v}" for k, v in found.items() if not isinstance(v, dict)), flush=True)
    show([{"asked about": name, **f} for name, f in found.items() if isinstance(f, dict)])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m bench.tools", description=__doc__)
    parser.add_argument("--lessons", type=int, default=400)
    parser.add_argument("--asked", type=int, default=200)
    parser.add_argument("--base", type=Path, default=EMBEDDED)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    given = parser.parse_args()
    result = measure(1, given.lessons, given.asked, given.base)
    if given.json:
        given.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
