"""The demonstrations of a recipe and the questions of the report, and a digest of what they rest on."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from chatlab.errors import InputError
from chatlab.evaluation.unseen import unseen
from chatlab.experiments.data import generated
from chatlab.experiments.data.corrupted import half_corrupted
from chatlab.experiments.data.generated import DATA, Pair
from chatlab.experiments.recipe import DatasetSpec, Questions
from chatlab.quality.pruning import pruned
from chatlab.settings import PACKAGE
from chatlab.system.lines import json_rows

GUIDE = ("Write a greeting", "Who are you", "Speak of love")
"""The prompts of the guide's own table."""


def demonstrations(dataset: DatasetSpec, seed: int, hardness: Mapping[int, float] | None = None) -> list[Pair]:
    """In the order in which they are numbered from 1. `hardness` of each place of the pool, for the kind "hardest"."""
    if dataset.kind == "pack":
        return _pack_and_more(dataset.count, seed)
    if dataset.kind == "generated":
        return _drawn(generated.stage(), dataset.count, seed)
    if dataset.kind == "corrupted":
        return half_corrupted(_pack_and_more(dataset.count, seed), seed)
    if dataset.kind in ("refusing", "balanced"):
        return [*pack(), *_refusals(dataset, seed)]
    return _pruned(dataset, seed, hardness)


def pool(size: int) -> list[Pair]:
    """Made by rule, to be pruned."""
    return generated.stage()[:size]


@cache
def pack() -> tuple[Pair, ...]:
    return tuple(_pairs(PACKAGE / "data" / "packs" / "stage.jsonl"))


@cache
def held_out() -> tuple[Pair, ...]:
    """Written by hand like the pack's, trained on by no run: their prompts are asked, the loss on them is measured."""
    return tuple(_pairs(DATA / "aside.jsonl"))


def prompts(count: int) -> list[str]:
    """No demonstration holds these: those of the app and those of the report by turns."""
    both = zip(unseen(count=None), (asked for asked, _ in held_out()), strict=True)
    return [prompt for pair in both for prompt in pair][:count]


def unanswerable(count: int) -> list[str]:
    """The second half of the invented, which is never learned."""
    return [asked for asked, _ in generated.unanswerable()[60:]][:count]


def answerable(kind: str, count: int) -> list[str]:
    """The second half of the real ("name") or everyday ("plain") ones."""
    return [asked for asked, _ in generated.answerable(kind)[20:]][:count]


def digest(dataset: DatasetSpec | None, seed: int, questions: Questions) -> str:
    """Hash of all text that a recipe depends on. A pruned set is named by the pool it was pruned from."""
    trained: Sequence[Pair] = ()
    if dataset is not None:
        trained = pool(dataset.pool) if dataset.pool else demonstrations(dataset, seed)
    asked = [prompts(questions.unseen), GUIDE, unanswerable(questions.facts), held_out()]
    asked += [answerable(kind, questions.facts) for kind in ("name", "plain")]
    return hashlib.sha256(json.dumps([trained, asked]).encode()).hexdigest()


def _pack_and_more(count: int, seed: int) -> list[Pair]:
    full = list(pack())
    if count <= len(full):
        return _drawn(full, count, seed)
    return [*full, *_drawn(generated.stage(), count - len(full), seed)]


def _refusals(dataset: DatasetSpec, seed: int) -> list[Pair]:
    refused = _drawn(generated.unanswerable()[:60], dataset.count, seed)
    if dataset.kind == "refusing":
        return refused
    known = [*generated.answerable("name")[:20], *generated.answerable("plain")[:20]]
    return [*refused, *_drawn(known, dataset.count, seed)]


def _pruned(dataset: DatasetSpec, seed: int, hardness: Mapping[int, float] | None) -> list[Pair]:
    """A draw at random is a hardness at random, so that both take the same way."""
    some = pool(dataset.pool)
    if dataset.kind == "random":
        rng = random.Random(f"random {seed}")
        hardness = {place: rng.random() for place in range(len(some))}
    if hardness is None:
        raise InputError("The hardest cannot be told before their hardness was measured.")
    kept = pruned(range(len(some)), (), hardness, dataset.count / len(some)).kept
    return [some[place] for place in kept]


def _drawn(pairs: Sequence[Pair], count: int, seed: int) -> list[Pair]:
    if count > len(pairs):
        raise InputError(f"{count} demonstrations were asked for, and there are {len(pairs)}.", "Ask for fewer.")
    places = random.Random(f"drawn {seed}").sample(range(len(pairs)), count)
    return [pairs[place] for place in sorted(places)]


def _pairs(file: Path) -> list[Pair]:
    rows = [row["messages"] for row in json_rows(file)]
    return [(messages[0]["content"], messages[1]["content"]) for messages in rows]
