"""The three data sets of the trials, and all else that is asked, as one model's token ids."""

from __future__ import annotations

import random
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.trials.job import ModelIds, PackIds
from chatlab.engines.gguf_import.validator import GgufValidator
from chatlab.lab.data.packs import Packs
from chatlab.models.base import Base
from chatlab.models.unpacked import UnpackedBases
from chatlab.records import Message
from chatlab.settings import PACKAGE
from chatlab.system.lines import json_rows
from chatlab.template.begin import begin_id
from chatlab.template.codec import codec_of
from chatlab.training.data import Example
from chatlab.training.metrics import windows
from chatlab.training.resources import DOCUMENTS, HELD_OUT_TEXT

DATA = PACKAGE / "data"
DOLLY = PACKAGE.parent.parent / "shared" / "data" / "chat" / "dolly_4300.jsonl"
QUESTIONS = Path(__file__).with_name("questions.toml")
ROWS, ASIDE = 200, 40
LONGEST = 600
"""Characters of a Dolly answer at most, so that a row fits the app's longest demonstration."""
PACKS = ("stage", "triage", "dolly")

Pair = tuple[str, str]


def open_base(file: Path, cache: Path) -> tuple[Base, Path]:
    """A GGUF as the app opens it, and the folder of its weights unpacked for training."""
    base = GgufValidator(cache).open(file)
    return base, UnpackedBases(cache).open(base).folder


def model_ids(base: Base, packs: Sequence[str] = PACKS) -> ModelIds:
    """Everything in this model's tokens."""
    codec = codec_of(base.tokenizer.backend_tokenizer)
    return ModelIds(
        packs={name: _pack(base, name) for name in packs},
        facts=_prompts(base, list(facts())),
        prose=tuple(windows(HELD_OUT_TEXT, codec.encode, DOCUMENTS, begin_id(base.tokenizer))),
        stop=tuple(sorted(base.template.stop_ids)),
    )


def facts() -> Mapping[str, str]:
    """Questions, each with the pattern of a right answer."""
    found: dict[str, str] = tomllib.loads(QUESTIONS.read_text(encoding="utf-8"))["facts"]
    return found


def pairs(name: str) -> tuple[list[Pair], list[Pair], list[str]]:
    """What is learned, what the loss is measured on, and the unseen prompts that are asked."""
    if name == "dolly":
        rows = dolly()
        return rows[:ROWS], rows[ROWS:], [prompt for prompt, _ in rows[ROWS:]]
    learned = [(d.messages[0].content, d.answer) for d in Packs().read(name)]
    unseen = [row["prompt"] for row in _rows(DATA / ("unseen.jsonl" if name == "stage" else "unseen_triage.jsonl"))]
    if name == "stage":
        aside = [row["messages"] for row in _rows(DATA / "report" / "aside.jsonl")]
        return learned, [(m[0]["content"], m[1]["content"]) for m in aside], unseen
    answers = tomllib.loads(QUESTIONS.read_text(encoding="utf-8"))["triage"]["answers"]
    return learned, list(zip(unseen, answers, strict=True)), unseen


def dolly() -> list[Pair]:
    """ROWS + ASIDE rows drawn by a fixed seed, none of them long."""
    rows = [(r["instruction"], r["response"]) for r in _rows(DOLLY)]
    short = [(q.strip(), a.strip()) for q, a in rows if len(a) <= LONGEST and len(q) <= LONGEST and q and a]
    return random.Random(17).sample(short, ROWS + ASIDE)


def _pack(base: Base, name: str) -> PackIds:
    learned, aside, prompts = pairs(name)
    return PackIds(train=_encoded(base, learned), task=_encoded(base, aside), prompts=_prompts(base, prompts))


def _encoded(base: Base, rows: Sequence[Pair]) -> tuple[Example, ...]:
    return tuple(
        Example(demonstration=number, ids=tuple(e.ids), labels=tuple(e.labels))
        for number, (prompt, answer) in enumerate(rows)
        for e in base.template.encode([Message(role="user", content=prompt), Message(role="assistant", content=answer)])
    )


def _prompts(base: Base, prompts: Sequence[str]) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(base.template.prompt([Message(role="user", content=prompt)])) for prompt in prompts)


def _rows(file: Path) -> list[dict]:  # type: ignore[type-arg]
    return json_rows(file)
