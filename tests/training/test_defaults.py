"""The settings that a run begins with follow from the trials that were kept."""

import json
from pathlib import Path

from chatlab.training.defaults import settings_for

TRIALS = Path(__file__).resolve().parents[2] / "bench" / "results" / "settings.json"
SMOLLM2 = 134_515_008
ASIDE = ("learning_rate", "seed")


def trials(model, pack):
    found = json.loads(TRIALS.read_text(encoding="utf-8"))["figures"]["trials"]
    return [trial for trial in found if (trial["model"], trial["pack"]) == (model, pack)]


def test_the_rate_falls_as_the_base_grows():
    sizes = (8_000_000, SMOLLM2, 268_098_176, 600_000_000, 3_000_000_000, 8_000_000_000)
    rates = [settings_for(40, size).learning_rate for size in sizes]
    assert rates == sorted(rates, reverse=True) and rates[0] == 1e-3 and rates[-1] == 1e-4


def test_the_rate_for_smollm2_lies_between_one_too_timid_and_one_that_forgets():
    chosen = settings_for(40, SMOLLM2)
    tried = [t for t in trials("smollm2", "stage") if t["settings"].get("layers") == 1 and alike(t["settings"], chosen)]
    rates = {t["settings"]["learning_rate"]: t for t in tried}
    below = rates[max(rate for rate in rates if rate <= chosen.learning_rate)]
    above = rates[min(rate for rate in rates if rate >= chosen.learning_rate)]
    assert below["forgetting"] <= 2 and below["in voice"] >= 0.7
    assert above["in voice"] >= 0.9 or above["forgetting"] <= 2


def test_less_of_the_penalty_forgets_more_and_speaks_no_better():
    all_layers = [t for t in trials("smollm2", "stage") if t["settings"].get("layers") == 1]
    high = {t["settings"]["kl_weight"]: t for t in all_layers if t["settings"]["learning_rate"] == 1e-3}
    default = high[settings_for(40, SMOLLM2).kl_weight]
    assert all(t["forgetting"] > default["forgetting"] for weight, t in high.items() if weight < 3.5)
    assert all(t["in voice"] <= default["in voice"] for t in high.values())


def alike(settings, chosen):
    return all(value == getattr(chosen, name) for name, value in settings.items() if name not in ASIDE)
