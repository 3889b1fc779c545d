"""Settings that fit a number of preferences, and what a run on them will cost."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from chatlab.records import TrainSettings
from chatlab.training.defaults import (
    FORWARD,
    KL_TEXT_TOKENS,
    Throughput,
    evaluations,
    guess_throughput,
    held_out_count,
    settings_for,
)
from chatlab.training.preferences.names import UNPAIRED

FEW_PAIRS = 20
"""With fewer, learning from them changes nothing that can be told from chance."""
RATE = 0.4
"""Peak learning rate, in parts of a run's on demonstrations."""


def preference_settings(
    pairs: int, parameters: int, start: TrainSettings | None = None, **overrides: Any
) -> TrainSettings:
    """For so many pairs or thumbs on a base of so many parameters, going on from an adapter trained with `start`.

    Overrides are TrainSettings' fields; None is none.
    """
    usual = start or settings_for(40, parameters)
    usual_rate = settings_for(40, parameters, layers=usual.layers).learning_rate
    chosen = replace(
        usual,
        loss="apo_zero",
        beta=0.3 if pairs < 100 else 0.1,
        sft_weight=0.1,
        learning_rate=usual_rate if overrides.get("loss") == "sft" else RATE * usual_rate,
        lr_scheduler_type="cosine",
        adam_epsilon=1e-8,
        epochs=3 if pairs < 100 else 2,
        batch_size=4,
        grad_accumulation=1,
        kl_weight=3.5,
        kl_samples=1,
        held_out=0.0 if overrides.get("loss") in UNPAIRED else 0.2,  # no ranking is to be seen in single answers
        seed=0,
    )
    return replace(chosen, **{k: v for k, v in overrides.items() if v is not None})


def preference_seconds(
    settings: TrainSettings, pairs: int, each: float, parameters: int, throughput: Throughput | None
) -> float:
    """What a run on so many pairs of `each` tokens takes: steps, the reference's forward pass, measurements."""
    throughput = (throughput or guess_throughput(parameters)).for_layers(settings.layers)
    learned = pairs - held_out_count(pairs, settings.held_out)
    steps = math.ceil(learned / settings.batch_size) * settings.epochs
    below = (1 - settings.layers) / settings.layers * FORWARD * pairs * each
    texts = settings.kl_samples * KL_TEXT_TOKENS * steps if settings.kl_weight else 0
    read = settings.epochs * learned * each + FORWARD * pairs * each + below + texts
    held_out = evaluations(steps) * FORWARD * (pairs - learned) * each
    measured = evaluations(steps) * throughput.quick + throughput.final
    return steps * throughput.per_step + (read + held_out) * throughput.per_token + measured + throughput.save
