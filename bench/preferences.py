"""Does learning from preferences pay? On SmolLM2, several seeds, beside as many further steps of SFT.

    python -m bench.preferences --work FOLDER [--seeds 3] [--arms stage hh]

*stage*: an adapter that learned ten demonstrations. From it: their answers against the model's own samples ("free
pairs"), 200 pairs of forty demonstrations against its samples, and SFT on the same answers for as many steps. Judged by
the voice of the replies to unseen prompts, forgetting, KL, length and the ranking of held-out pairs.
*hh*: 1,000 pairs of Anthropic's helpful and harmless data, a fifth of them held out by prompt.

FOLDER is that of `bench.settings`, with `smollm2/` and `smollm2.json`; what it has is not computed again.
"""

from __future__ import annotations

import argparse
import json
import re
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from bench.__main__ import machine
from bench.table import show
from bench.trials.judge import judged
from bench.trials.run import Trials, append
from chatlab.records import TrainSettings
from chatlab.settings import PACKAGE
from chatlab.training import metrics
from chatlab.training.data import IGNORED, Example
from chatlab.training.defaults import settings_for
from chatlab.training.loop import Loss, train
from chatlab.training.preferences.defaults import preference_settings
from chatlab.training.preferences.evaluator import PairEvaluator
from chatlab.training.preferences.loss import PreferenceLoss, log_probs
from chatlab.training.preferences.pairs import Pair, read_preferences, split
from chatlab.training.sft import SFTLoss

OUT = Path(__file__).with_name("results") / "preferences.json"
HH = PACKAGE.parent.parent / "shared" / "data" / "chat" / "hh_pairs_1000.jsonl"
FEW = 10
"""Demonstrations of the adapter that everything begins with."""
SAMPLES = 5
"""Of each prompt, at temperature 1."""
ASKED, TOKENS = 40, 96
Arm = Mapping[str, Any]
STAGE: tuple[Arm, ...] = (
    {"pairs": "all"},
    {"pairs": "all", "sft": True},
    {"pairs": "free"},
    {"pairs": "free", "sft": True},
)
"""With the defaults. Further settings are tried with `--try`."""


class Arms:
    """Trains and judges, one model kept open."""

    def __init__(self, work: Path) -> None:
        self._work, self._out = work, work / "preferences.jsonl"
        self._trials = Trials(work, "smollm2")
        self._resources, self._base = self._trials.resources, self._trials.base
        self._pack = self._trials.ids.packs["stage"]
        self._usual = settings_for(FEW, self._base.parameters)

    def rows(self) -> list[dict[str, Any]]:
        """What was measured so far."""
        if not self._out.exists():
            return []
        return [json.loads(line) for line in self._out.read_text(encoding="utf-8").split("\n") if line]

    def stage(self, seed: int, arms: Sequence[Arm]) -> None:
        """One seed: the adapter that learned ten, its samples, and each arm from there."""
        few = [e for e in self._pack.train if e.demonstration < FEW]
        start = self._work / "adapters" / f"ten-{seed}"
        if not (start / "adapter_model.safetensors").exists():
            settings = replace(self._usual, seed=seed, held_out=0.0)
            model = self._resources.model(settings)
            self._run(few, settings, SFTLoss(settings, self._resources.kl_reference()))
            model.save(start, "smollm2")
        pairs = self._samples(start, seed)
        self._arm("stage", seed, {"ten": True}, start, self._usual, pairs[:SAMPLES], pairs)
        for arm in arms:
            chosen = [p for p in pairs if p.chosen.demonstration < FEW] if arm["pairs"] == "free" else pairs
            own = {k: v for k, v in arm.items() if k not in ("pairs", "sft")}
            settings = preference_settings(len(chosen), self._base.parameters, self._usual, seed=seed, **own)
            self._arm("stage", seed, arm, start, settings, *split(chosen, settings))

    def hh(self, seed: int, arms: Sequence[Arm]) -> None:
        """One seed of the 1,000 pairs, from the base."""
        file = self._work / "hh.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in hh_pairs()), encoding="utf-8")
        for arm in arms:
            own = {k: v for k, v in arm.items() if k not in ("pairs", "sft")}
            settings = preference_settings(1000, self._base.parameters, seed=seed, epochs=1, batch_size=8, **own)
            found = read_preferences(file, self._base.template, settings, self._base.context)
            self._arm("hh", seed, arm, None, settings, found.train, found.held_out)

    def _arm(
        self,
        name: str,
        seed: int,
        arm: Arm,
        start: Path | None,
        settings: TrainSettings,
        learned: Sequence[Pair],
        aside: Sequence[Pair],
    ) -> None:
        """Train from `start`, unless it is to be judged as it is, and keep what came of it."""
        key = json.dumps([name, seed, arm], sort_keys=True)
        if key in {row["key"] for row in self.rows()}:
            return
        began = time.perf_counter()
        model = self._resources.model(settings)
        if start is not None:
            model.load(start)
        steps = -(-len(learned) // settings.batch_size) * settings.epochs
        evaluator = PairEvaluator(self._resources, settings, aside, steps)
        made = 0
        if not arm.get("ten"):
            made = self._run(*self._learning(arm, settings, learned))
        trained = time.perf_counter()
        final = evaluator.final(steps)
        assert final.preferences is not None
        folder = self._work / "adapters" / "last"
        model.save(folder, "smollm2")
        prompts = [*self._pack.prompts[:ASKED], *self._trials.ids.facts]
        replies = self._trials.replies(folder, prompts, TOKENS)
        own = len(self._pack.prompts[:ASKED])
        found = judged(self._base, {"pack": "stage", "replies": replies[:own], "facts": replies[own:]})
        found.pop("facts said")
        append(
            self._out,
            {
                "key": key,
                "row": name,
                "seed": seed,
                "arm": dict(arm),
                "settings": asdict(settings),
                "pairs": len(learned),
                "steps": made,
                "seconds": round(trained - began, 1),
                "task_loss": metrics.nll(model, self._pack.task).mean,
                "forgetting": final.forgetting,
                "kl": final.kl,
                "held out": asdict(final.preferences),
                **found,
            },
        )

    def _learning(
        self, arm: Arm, settings: TrainSettings, learned: Sequence[Pair]
    ) -> tuple[Sequence[Any], TrainSettings, Loss[Any]]:
        kl = self._resources.kl_reference()
        if arm.get("sft"):
            settings = replace(settings, learning_rate=self._usual.learning_rate)
            return [pair.chosen for pair in learned], settings, SFTLoss(settings, kl)
        found = log_probs(self._resources.current_model(), learned)
        references = {pair.id: one for pair, one in zip(learned, found, strict=True)}
        return learned, settings, PreferenceLoss(settings, references, kl)

    def _run(self, examples: Sequence[Any], settings: TrainSettings, loss: Loss[Any]) -> int:
        made = train(self._resources.current_model(), examples, settings, loss, lambda step, steps: {})
        return sum(1 for _ in made)

    def _samples(self, adapter: Path, seed: int) -> list[Pair]:
        """Each demonstration against SAMPLES samples of the adapter to its prompt, made once."""
        file = self._work / f"samples-{seed}.json"
        prompts = [e.ids[: next(i for i, label in enumerate(e.labels) if label != IGNORED)] for e in self._pack.train]
        if not file.exists():
            drawn = [self._trials.replies(adapter, prompts, 64, 1.0, 100 * seed + n) for n in range(SAMPLES)]
            file.write_text(json.dumps(drawn), encoding="utf-8")
        pairs = []
        for number, replies in enumerate(json.loads(file.read_text(encoding="utf-8"))):
            for demonstration, prompt, reply in zip(self._pack.train, prompts, replies, strict=True):
                labels = (*[IGNORED] * len(prompt), *reply)
                made = Example(demonstration=demonstration.demonstration, ids=(*prompt, *reply), labels=labels)
                if made.ids != demonstration.ids:
                    id = demonstration.demonstration * SAMPLES + number
                    pairs.append(Pair(id=id, group=str(prompt), chosen=demonstration, rejected=made))
        return pairs


def hh_pairs() -> list[dict[str, Any]]:
    """The transcripts, their last answers apart."""
    rows = []
    for number, line in enumerate(HH.read_text(encoding="utf-8").split("\n")):
        if not line:
            continue
        raw = json.loads(line)
        chosen, rejected = (_turns(raw[side]) for side in ("chosen", "rejected"))
        if chosen[:-1] == rejected[:-1] and chosen[-1]["role"] == rejected[-1]["role"] == "assistant":
            rows.append({"id": number, "messages": chosen, "rejected": rejected[-1]})
    return rows


def _turns(transcript: str) -> list[dict[str, str]]:
    parts = re.split(r"\n\n(Human|Assistant): ?", transcript)[1:]
    roles = {"Human": "user", "Assistant": "assistant"}
    return [{"role": roles[who], "content": said.strip()} for who, said in zip(parts[::2], parts[1::2], strict=True)]


def table(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Means over the seeds of each arm."""
    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        groups[row["row"], json.dumps(row["arm"], sort_keys=True)].append(row)
    found = []
    for (name, arm), own in groups.items():
        columns: dict[str, Callable[[Mapping[str, Any]], float]] = {
            "in voice": lambda row: row["in voice"],
            "form": lambda row: row["form"],
            "facts": lambda row: row["facts"],
            "words": lambda row: row["words"],
            "forgetting, %": lambda row: row["forgetting"],
            "KL to the start": lambda row: row["kl"],
            "by reward": lambda row: row["held out"]["by_reward"] / row["held out"]["pairs"],
            "by log-probability": lambda row: row["held out"]["by_log_prob"] / row["held out"]["pairs"],
            "before": lambda row: row["held out"]["by_log_prob_before"] / row["held out"]["pairs"],
            "by length": lambda row: row["held out"]["by_length"] / row["held out"]["pairs"],
            "margin": lambda row: row["held out"]["margin"],
            "chosen, nats": lambda row: row["held out"]["chosen_after"] - row["held out"]["chosen_before"],
            "steps": lambda row: row["steps"],
            "seconds": lambda row: row["seconds"],
        }
        means = {key: round(mean(column(row) for row in own), 3) for key, column in columns.items()}
        spread = round(stdev(row["in voice"] for row in own), 3) if len(own) > 1 else None
        found.append({"row": name, "arm": arm, "seeds": len(own), **means, "voice spread": spread})
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rows", nargs="*", choices=("stage", "hh"), default=["stage", "hh"])
    parser.add_argument("--try", dest="tried", type=json.loads, action="append", help="an arm of its own, as JSON")
    parser.add_argument("--table", action="store_true", help="only judge what FOLDER has")
    parser.add_argument("--keep", action="store_true", help=f"write {OUT.name}")
    given = parser.parse_args()
    arms = Arms(given.work)
    if not given.table:
        for row in given.rows:
            for seed in range(given.seeds):
                getattr(arms, row)(seed, given.tried or (STAGE if row == "stage" else ({},)))
    found = table(arms.rows())
    show([{k: v for k, v in row.items() if v is not None} for row in found])
    if given.keep:
        told = {"machine": machine(), "figures": {"arms": found}}
        OUT.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
