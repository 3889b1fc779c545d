"""The settings that a run begins with follow from the trials that were kept."""

import json
from collections import defaultdict
from pathlib import Path
from statistics import mean

import pytest

from chatlab.training.defaults import settings_for

TRIALS = Path(__file__).resolve().parents[2] / "bench" / "results" / "settings.json"
SMOLLM2 = 134_515_008


def trials(model, pack):
    found = json.loads(TRIALS.read_text(encoding="utf-8"))["figures"]["trials"]
    return [trial for trial in found if (trial["model"], trial["pack"]) == (model, pack)]


def test_the_rate_falls_as_the_base_grows():
    sizes = (8_000_000, SMOLLM2, 268_098_176, 600_000_000, 3_000_000_000, 8_000_000_000)
    for layers in (1.0, 0.5):
        rates = [settings_for(40, size, layers=layers).learning_rate for size in sizes]
        assert rates == sorted(rates, reverse=True) and rates[0] == pytest.approx(10 * rates[-1])


def test_the_defaults_for_smollm2_were_tried_and_are_the_best_of_their_layers():
    """With three seeds: nearly always in voice, hardly anything forgotten; lower and higher rates do worse in one."""
    chosen = settings_for(40, SMOLLM2)
    upper = [t for t in trials("smollm2", "stage") if t["settings"] and alike(t["settings"], chosen)]
    by_rate = defaultdict(list)
    for trial in upper:
        by_rate[trial["settings"]["learning_rate"]].append(trial)
    own = by_rate.pop(chosen.learning_rate)
    assert len(own) >= 3 and min(by_rate) < chosen.learning_rate < max(by_rate)
    assert mean(t["in voice"] for t in own) >= 0.9 and mean(t["forgetting"] for t in own) <= 2
    for others in by_rate.values():
        assert mean(t["in voice"] for t in others) < 0.9 or mean(t["forgetting"] for t in others) > 2


def test_the_upper_half_of_smollm2_does_nearly_what_all_layers_do():
    found = trials("smollm2", "stage")
    upper, all_layers = (
        [t for t in found if t["settings"] and alike(t["settings"], chosen, ("seed",))]
        for chosen in (settings_for(40, SMOLLM2, layers=layers) for layers in (0.5, 1.0))
    )
    assert len(upper) == len(all_layers) == 3
    assert mean(t["in voice"] for t in upper) > mean(t["in voice"] for t in all_layers) - 0.1
    assert mean(t["facts"] for t in upper) >= mean(t["facts"] for t in all_layers)
    assert mean(t["seconds"]["steps"] for t in upper) < 0.75 * mean(t["seconds"]["steps"] for t in all_layers)


def test_less_of_the_penalty_forgets_more_and_speaks_no_better():
    all_layers = [t for t in trials("smollm2", "stage") if t["settings"].get("layers") == 1 and "note" in t]
    high = {t["settings"]["kl_weight"]: t for t in all_layers if t["settings"]["learning_rate"] == 1e-3}
    default = high[settings_for(40, SMOLLM2).kl_weight]
    assert all(t["forgetting"] > default["forgetting"] for weight, t in high.items() if weight < 3.5)
    assert all(t["in voice"] <= default["in voice"] for t in high.values())


def alike(settings, chosen, aside=("learning_rate", "seed")):
    return all(value == getattr(chosen, name) for name, value in settings.items() if name not in aside)
