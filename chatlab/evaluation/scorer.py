"""A process that measures difficulties: `python -m chatlab.evaluation.scorer BASE LEDGER`.

Reads demonstrations from standard input, {"key", "messages"} a line, adds a line to the ledger for each, and says after
every few how many are done. It may be killed at any moment: what it has written stays, and is not measured again.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from accelerate import Accelerator

from chatlab.errors import ChatlabError
from chatlab.evaluation.difficulty import Difficulty, entry
from chatlab.models.base import Base
from chatlab.records import Message, TrainSettings
from chatlab.system.files import private_folder
from chatlab.system.host import bfloat16_is_faster
from chatlab.template import Template
from chatlab.training.data import Example
from chatlab.training.defaults import TINY
from chatlab.training.metrics import nll
from chatlab.training.model import LoraModel

TOGETHER = 8
"""Demonstrations between two words of progress."""

Task = tuple[str, tuple[Message, ...]]


def main() -> None:
    """Says {"done"} on standard output; {"error", "hint"} if the base cannot be used."""
    parser = argparse.ArgumentParser()
    parser.add_argument("base", type=Path)
    parser.add_argument("ledger", type=Path)
    args = parser.parse_args()
    tasks = [_task(line) for line in sys.stdin.buffer]
    try:
        base = Base.open(args.base)
        model = open_model(base)
    except ChatlabError as error:
        print(json.dumps({"error": str(error), "hint": error.hint}), flush=True)
        return
    private_folder(args.ledger.parent)
    with args.ledger.open("a", encoding="utf-8") as ledger:
        for done, lines in score(model, base.template, base.context, tasks):
            ledger.writelines(lines)
            ledger.flush()
            print(json.dumps({"done": done}), flush=True)


def open_model(base: Base) -> LoraModel:
    """The base as training reads it, under an adapter that changes nothing. A small one leaves a core to the chat."""
    cores = torch.get_num_threads()
    torch.set_num_threads(1 if base.parameters < TINY else max(1, cores - 1))
    return LoraModel(base.folder, TrainSettings(rank=1), Accelerator(cpu=True), bfloat16_is_faster())


def score(model: LoraModel, template: Template, context: int, tasks: Sequence[Task]) -> Iterator[tuple[int, list[str]]]:
    """After every few: how many are done, and their lines for the ledger. Tasks of like length go together."""
    ordered = sorted(tasks, key=lambda task: sum(len(m.content) for m in task[1]))
    for start in range(0, len(ordered), TOGETHER):
        some = ordered[start : start + TOGETHER]
        found = difficulties(model, template, context, [messages for _, messages in some])
        lines = [entry(key, each) for (key, _), each in zip(some, found, strict=True)]
        yield start + len(some), lines


def difficulties(
    model: LoraModel, template: Template, context: int, many: Sequence[Sequence[Message]]
) -> list[Difficulty | None]:
    """None where the base cannot read the demonstration."""
    rows: list[Example] = []
    measured: list[int] = []
    for number, messages in enumerate(many):
        pair = [_rows(template, context, 2 * number + i, m) for i, m in enumerate((messages, unprompted(messages)))]
        if all(pair):
            measured.append(number)
            rows += pair[0] + pair[1]
    found: list[Difficulty | None] = [None] * len(many)
    if not rows:
        return found
    found_nll = nll(model, rows)
    losses = (found_nll.nll_sum / found_nll.tokens).reshape(-1, 2)
    for number, (loss, without), tokens in zip(measured, losses.tolist(), found_nll.tokens[::2].tolist(), strict=True):
        found[number] = Difficulty(loss=loss, without=without, tokens=int(tokens))
    return found


def unprompted(messages: Sequence[Message]) -> tuple[Message, ...]:
    """The same conversation in the same frame, with nobody's words in it but the assistant's."""
    return tuple(m if m.role == "assistant" else replace(m, content="") for m in messages)


def _rows(template: Template, context: int, number: int, messages: Sequence[Message]) -> list[Example]:
    """Ids and labels as training has them; nothing where it would leave the demonstration out."""
    try:
        encoded = template.encode(messages)
    except ChatlabError:
        return []
    rows = [Example(demonstration=number, ids=tuple(e.ids), labels=tuple(e.labels)) for e in encoded]
    fits = all(len(row.ids) <= context for row in rows) and any(row.num_labels for row in rows)
    return [row for row in rows if row.num_labels] if fits else []


def _task(line: bytes) -> Task:
    raw = json.loads(line)
    return raw["key"], tuple(map(Message.of, raw["messages"]))


if __name__ == "__main__":
    main()
