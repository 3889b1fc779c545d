"""Settings that fit the number of demonstrations and the size of the base, and what a run with them will cost."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from chatlab.records import TrainSettings
from chatlab.training.process.runs import write_json

TINY = 30_000_000
"""Parameters below which a base spends its time on starting operations, not on computing them."""
KL_TEXT_TOKENS = 64
"""Length of a text that the base wrote for the KL penalty."""
CORRECTION_STEPS = 6
CORRECTION_RATE = 2.5
"""Peak rate of a correction, in parts of a run's."""
TRAINER_MB, BYTES_A_PARAMETER = 500, 6
"""Of the trainer process's memory: what is the same for every base, and what grows with it."""
FEW = 20
"""With fewer demonstrations none is held out: each is needed more for learning than for measuring."""


WORKERS = 2
"""Micro-batches computed side by side, where there are as many cores."""
FEWEST_EVALUATIONS, MOST_EVALUATIONS = 3, 10
STEPS_AN_EVALUATION = 18
"""Steps between two evaluations, within those limits: one costs what three or four steps do."""


UPPER = 0.5
"""Share of the layers, from the top, that an adapter is on; a tiny base needs all of its few."""
FORWARD = 0.4
"""A forward pass, in parts of a step's."""


class Lengths(NamedTuple):
    """How long demonstrations are under a chat template, in tokens."""

    each: float = 30.0
    """On average."""
    prefix: float = 0.0
    """What all of them begin with, such as the same system message."""


USUAL = Lengths()


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a run will do, in numbers for the sentence above the button."""

    settings: TrainSettings
    demonstrations: int
    learned: int
    held_out: int
    steps: int
    seconds: float
    """Estimate, evaluation and saving included."""
    memory_mb: int
    """Memory of the trainer process, estimate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Throughput:
    """How fast this machine trains one base, measured by the trainer and kept in the cache."""

    per_step: float
    """Seconds that a step costs however few its tokens."""
    per_token: float
    """Seconds for each token computed, those of the KL penalty's texts included."""
    quick: float
    """Seconds of an evaluation while the run goes on."""
    final: float
    """Seconds of the one at its end."""
    save: float = 0.1
    """Seconds spent on writing in a run."""
    threads: int = 1
    bf16: bool = False
    layers: float = 1.0
    """Share of the layers under the adapter that it was measured with."""

    def for_layers(self, share: float) -> Throughput:
        """What to expect with the adapter on another share of the layers. Those below it cost nothing: their results
        are kept.
        """
        factor = share / self.layers
        return replace(
            self,
            per_step=self.per_step * factor,
            per_token=self.per_token * factor,
            quick=self.quick * factor,
            final=self.final * factor,
            layers=share,
        )


def settings_for(demonstrations: int, parameters: int, **overrides: Any) -> TrainSettings:
    """For so many demonstrations on a base of so many parameters. Overrides are TrainSettings' fields; None is none.

    Found on the embedded base with forty demonstrations, by replies to forty unseen prompts, greedy and sampled. Rate
    1e-3, rank 16, means of three seeds and more: weight 2 forgets 1.7 % at 97 % of good form, 3: 1.1 % at 97 %, 3.5:
    0.9 % at 95 to 96 %, 4: 0.7 % at 95 to 96 %, 5: 0.2 % at 90 to 93 %. Rank 8 with weight 2 or 3 keeps 90 % of form,
    rank 32 forgets 4.4 %, seven passes 2.9 %, rate 2e-3 with weight 5 2.7 to 3.1 %.

    On SmolLM2-135M with weight 3.5 (bench/results/settings.json), means of three seeds: the upper half of the layers at
    7e-4 has 92 % of the replies in voice, forgets 0.4 % and keeps 15 of the 25 everyday facts that the base knows, in
    0.6 of the time of all layers at 5e-4, which have 97 %, forget -1.3 % and keep 14. At 1e-3 the upper half forgets
    4.7 %, at 5e-4 it drops the voice more often; two thirds of the layers lie between. On all layers weight 1 at 1e-3
    forgets 12.9 % and reads no better. The rest follows what others report for their sizes.
    """
    layers = overrides.get("layers") or (1.0 if parameters < TINY else UPPER)
    chosen = TrainSettings(
        rank=16 if demonstrations < 2000 else 32,
        layers=layers,
        learning_rate=_learning_rate(parameters, layers),
        epochs=_passes(demonstrations),
        batch_size=4 if demonstrations < 200 else 8 if demonstrations < 1000 else 16,
        kl_weight=3.5,
        kl_samples=1 if demonstrations < 200 else 2,
        held_out=0.1 if demonstrations < 2000 else 0.05,
    )
    return replace(chosen, **{k: v for k, v in overrides.items() if v is not None})


def correction_settings(settings: TrainSettings, parameters: int, seed: int = 0) -> TrainSettings:
    """For a correction of an adapter that was trained with `settings`, whose shape it keeps.

    `epochs` is the number of steps: each reads the new demonstration, and `batch_size` - 1 replayed ones.

    Found on SmolLM2-135M, twenty corrections in a row after a run on forty demonstrations: how many of their prompts
    (of 20) and paraphrases (of 60) are followed at the end, greedy, and forgetting. With the adapter on the upper half
    of the layers and a rate of 4, 2.5 and 1.75 times a run's: 19, 39, 5.2 %; 19, 35, 3.3 %; 19, 33, 3.0 %; right after
    each was learned the middle one is followed by 20 and 49.

    With the adapter on all layers, whose rates these are: Adam's first steps move every
    parameter by the rate, needed or not, unless epsilon is near the size of the gradients: 3e-4 with rate 2e-3 and KL
    weight 10 gives 20, 40, 2.1 %. The usual epsilon at rate 1e-3, weight 3.5: 20, 45, 6.1 %; weight 10 and two texts:
    20, 42, 6.1 %; at 7e-4 falling, weight 10: 19, 28, 1.1 %; at 5e-4 to a loss below 0.2: 20, 35, 0.9 %. Epsilon
    1e-3, rate 3e-3, weight 20: 17, 22, 0.8 %. A run from the base on all sixty: 2, 3, 0.6 %.
    """
    return replace(
        settings,
        learning_rate=CORRECTION_RATE * _learning_rate(parameters, settings.layers),
        lr_scheduler_type="constant",
        epochs=CORRECTION_STEPS,
        batch_size=4,
        grad_accumulation=1,
        kl_weight=12.0,
        adam_epsilon=3e-4,
        kl_samples=1,
        held_out=0.0,
        seed=seed,
        loss="sft",
    )


def plan_correction(
    settings: TrainSettings, parameters: int, lengths: Lengths, throughput: Throughput | None = None
) -> Plan:
    """What a correction with these settings will cost."""
    throughput = replace(throughput or guess_throughput(parameters), quick=0.0, final=0.0)
    planned = plan(settings, settings.batch_size, parameters, lengths=lengths, throughput=throughput)
    return replace(planned, demonstrations=1, learned=1)


def plan(
    settings: TrainSettings,
    demonstrations: int,
    parameters: int,
    *,
    lengths: Lengths = USUAL,
    throughput: Throughput | None = None,
    held_out: int | None = None,
) -> Plan:
    """What a run with these settings will do and cost; `lengths` and `held_out` are guessed if nobody has counted."""
    held_out = held_out_count(demonstrations, settings.held_out) if held_out is None else held_out
    learned = demonstrations - held_out
    steps = math.ceil(learned / settings.batch_size) * settings.epochs
    throughput = (throughput or guess_throughput(parameters)).for_layers(settings.layers)
    measuring = evaluations(steps) * throughput.quick + throughput.final
    training = training_seconds(settings, learned, lengths, throughput)
    return Plan(
        settings=settings,
        demonstrations=demonstrations,
        learned=learned,
        held_out=held_out,
        steps=steps,
        seconds=training + measuring + throughput.save,
        memory_mb=trainer_mb(parameters),
    )


def trainer_mb(parameters: int) -> int:
    """Memory of the trainer process, estimate."""
    return TRAINER_MB + parameters * BYTES_A_PARAMETER // 2**20


def parameters_in(memory_mb: int) -> int:
    """Of the largest model that can be trained in so much memory."""
    return max(0, memory_mb - TRAINER_MB) * 2**20 // BYTES_A_PARAMETER


def training_seconds(settings: TrainSettings, learned: int, lengths: Lengths, throughput: Throughput) -> float:
    """What all steps of a run take; `throughput` was measured with the same share of layers."""
    steps = math.ceil(learned / settings.batch_size) * settings.epochs
    below = (1 - settings.layers) / settings.layers * FORWARD * learned * lengths.each
    tokens = computed_tokens(settings, learned, lengths) + below
    return steps * throughput.per_step + tokens * throughput.per_token


def computed_tokens(settings: TrainSettings, learned: int, lengths: Lengths) -> float:
    """Tokens that all steps of a run compute: a shared prefix once for each worker, and the KL penalty's texts."""
    steps = math.ceil(learned / settings.batch_size) * settings.epochs
    tokens = settings.epochs * learned * (lengths.each - lengths.prefix)
    tokens += steps * min(WORKERS, settings.batch_size) * lengths.prefix
    return tokens + (steps * settings.kl_samples * KL_TEXT_TOKENS if settings.kl_weight else 0)


def evaluations(steps: int) -> int:
    """How often a run of so many steps is evaluated while it goes on."""
    return min(MOST_EVALUATIONS, max(FEWEST_EVALUATIONS, steps // STEPS_AN_EVALUATION))


def is_evaluated(step: int, steps: int) -> bool:
    """Whether a run of so many steps is evaluated after this one; always after the last."""
    count = evaluations(steps)
    return step * count // steps > (step - 1) * count // steps


def held_out_count(demonstrations: int, share: float) -> int:
    """How many of the demonstrations are held out: none of fewer than FEW, else the share, but at least 4."""
    if share <= 0 or demonstrations < FEW:
        return 0
    return min(demonstrations // 2, max(4, round(demonstrations * share)), 200)


def guess_throughput(parameters: int) -> Throughput:
    """Before anything was measured: a core computes about 1e11 operations a second, 4 a parameter and token."""
    per_token = parameters * 4 / 1e11
    return Throughput(per_step=0.03, per_token=per_token, quick=0.1 + 300 * per_token, final=0.1 + 3500 * per_token)


def read_throughput(cache: Path, fingerprint: str) -> Throughput | None:
    """What the trainer measured for this base on this machine; None before its first warm-up."""
    try:
        return Throughput(**json.loads(throughput_file(cache, fingerprint).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def write_throughput(cache: Path, fingerprint: str, throughput: Throughput) -> None:
    """Keep a measurement for the next estimate."""
    write_json(throughput_file(cache, fingerprint), {name: getattr(throughput, name) for name in Throughput.__slots__})


def throughput_file(cache: Path, fingerprint: str) -> Path:
    return cache / "training" / fingerprint[:16] / "pace.json"


def _learning_rate(parameters: int, layers: float) -> float:
    """LoRA's peak rate falls with the size of the base; half the layers take more of it than all do."""
    rates = (rate for limit, rate in ((1e8, 1e-3), (5e8, 5e-4), (4e9, 2e-4)) if parameters < limit)
    rate = next(rates, 1e-4)
    return rate if layers > UPPER else 1.4 * rate


def _passes(demonstrations: int) -> int:
    """At least some fifty steps for a handful, fewer passes the more there is to read."""
    for limit, epochs in ((10, 20), (20, 12), (200, 6), (1000, 4)):
        if demonstrations < limit:
            return epochs
    return 3
